"""Real signals to real processes at random moments of a task's life; `make chaos` makes 200 rounds of it."""

import hashlib
import itertools
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field

import pytest
import requests

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, photo, wait_until_equal
from tests.test_processes import check_complete

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
WORKERS, LATENCY = 4, 0.02
# What two processes may have asked FaceCloud without an answer: a call a thread.
IN_FLIGHT = 2 * WORKERS
IMAGES = [photo(number) for number in range(60)]


@dataclass
class Round:
    """One task, what is done with it when the blow falls, and what the client was told."""

    service: Service
    client: Client
    images: list[bytes]
    task: str = ""
    told: dict[str, int] = field(default_factory=dict)

    def call(self, name: str, send: Callable[[], requests.Response]) -> None:
        """Send a request that may never be answered; note what was."""
        with suppress(requests.RequestException):
            self.told[name] = send().status_code

    def upload(self) -> None:
        for begin in range(0, len(self.images), 10):
            parts = [
                ("image", (f"{number}.jpg", image))
                for number, image in enumerate(self.images[begin : begin + 10], begin)
            ]
            path = f"/api/v1/tasks/{self.task}/images"
            self.call(f"upload {begin}", lambda path=path, parts=parts: self.client.post(path, files=parts))  # type: ignore[misc]

    def start(self) -> None:
        self.call("start", lambda: self.client.start(self.task))

    def delete(self) -> None:
        self.call("delete", lambda: self.client.delete(f"/api/v1/tasks/{self.task}"))


def strike(service: Service, what: str, delay: float) -> None:
    """Do to the service, a moment from now, what the round says."""
    time.sleep(delay)
    if what == "kill":
        service.kill()
    elif what == "terminate":
        service.stop()
    else:
        with suppress(ProcessLookupError):
            worker = service.workers()[0]
            os.kill(worker, signal.SIGKILL if what == "kill one" else signal.SIGSTOP)
            if what == "stop one":
                time.sleep(0.5)
                os.kill(worker, signal.SIGCONT)


def begin(moment: str, now: Round) -> Callable[[], None]:
    """Bring the task to where the blow falls, and return what is being done then."""
    if moment == "upload":
        now.task = now.client.task()
        return now.upload
    now.task = now.client.task(*now.images)
    if moment == "start":
        return now.start
    assert now.client.start(now.task).status_code == 202
    return now.delete if moment == "delete" else lambda: None


def rows(service: Service, task: str) -> tuple[str | None, list[str], int]:
    """Return a task's status, the names of its images and the number of its jobs, as they are stored."""
    with closing(sqlite3.connect(service.folder / "service.db")) as database:
        status = database.execute("SELECT status FROM task WHERE id = ?", (task,)).fetchone()
        names = database.execute("SELECT name FROM image WHERE task_id = ? ORDER BY position", (task,)).fetchall()
        (jobs,) = database.execute("SELECT count(*) FROM job WHERE task = ?", (task,)).fetchone()
        return status and status[0], [name for (name,) in names], jobs


def check_calls(sent: dict[str, int], images: list[bytes], what: str) -> int:
    """Return how many calls were made again: none but those that a killed process had not yet written down."""
    assert set(sent) <= {hashlib.sha256(image).hexdigest() for image in images}
    again = sum(sent.values()) - len(sent)
    if what in ("kill", "kill one"):
        assert max(sent.values(), default=1) <= 2
        assert again <= IN_FLIGHT
    else:
        assert again == 0, "what ends in order, or only stops, repeats nothing"
    return again


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_signals_at_random_moments_lose_nothing_and_double_nothing(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    print(f"CHAOS_SEED={SEED}")  # shown when it fails, to repeat it
    chance = random.Random(SEED)
    emulator.emulator.latency = LATENCY
    service = make_service(**facecloud(emulator, WORKERS=WORKERS))
    client = service.start()
    moments = list(
        itertools.product(("start", "upload", "save", "delete"), ("kill", "kill one", "terminate", "stop one"))
    )
    total = repeated = 0
    for number in range(ROUNDS):
        if number % len(moments) == 0:
            chance.shuffle(moments)
        moment, what = moments[number % len(moments)]
        now = Round(service, client, IMAGES[: chance.randint(1, 60)])
        emulator.emulator.forget()
        action = begin(moment, now)
        # A start or a deletion takes some 20 ms, an upload up to 0.2 s, a task of n images n × 20 ms / 8: the blow
        # falls before, during or just after it.
        delay = chance.random() * {"start": 0.06, "delete": 0.06, "upload": 0.25, "save": 0.3}[moment]
        blow = threading.Thread(target=strike, args=(service, what, delay))
        blow.start()
        time.sleep(0.02)
        action()
        blow.join()
        service.stop()
        status, names, jobs = rows(service, now.task)
        if status is None:
            assert moment == "delete"
            assert (names, jobs) == ([], 0), "what was deleted is gone with all its rows"
        else:
            assert now.told.get("delete") != 204, "what was answered is not forgotten"
            assert jobs == (0 if status == "forming" else len(names)), "a task and its jobs are one transaction"
        client = service.start()
        if status is not None:
            finish(client, now, status, names)
        wait_until_equal(service.inconsistencies, [])
        sent = emulator.emulator.counters()["images"]
        repeated += check_calls(sent, now.images, what)
        total += len(sent)
        client.delete(f"/api/v1/tasks/{now.task}")
        assert service.left_files() == []
        print(f"round {number}: {moment}, {what}, told {now.told}, {len(sent)} images, {repeated} calls again so far")
    assert service.inconsistencies() == []
    assert "Traceback" not in service.log.read_text()
    print(f"{ROUNDS} rounds, {total} images, {repeated} calls made again, nothing lost")


def finish(client: Client, now: Round, status: str, names: list[str]) -> None:
    """Check what is stored against what was answered, start the task if nobody has, and see it complete."""
    stored = [now.images[int(name.removesuffix(".jpg"))] for name in names]
    for call, code in now.told.items():
        if call.startswith("upload"):
            first = call.split()[1] + ".jpg"
            assert (first in names) >= (code == 201), "what was answered is not forgotten"
    if status == "forming":
        assert now.told.get("start") != 202, "what was answered is not forgotten"
        if not names:
            return
        assert client.start(now.task).status_code == 202
    check_complete(client.ended(now.task, 60), stored)
