"""The time of day is set in the middle of a task: nothing hangs, and nothing runs twice at once."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from tests.clock import Clock
from tests.conftest import DATABASES, FULL_MATRIX, MakeService, facecloud
from tests.support import Client, faces_of, photo, wait_for
from tests.test_processes import calls, check_complete, done

HOUR, DAY = 3600, 86_400
JUMPS = (-10 * DAY, -HOUR, HOUR, 10 * DAY)
IN_TURN = zip(["postgresql", "sqlite"] * 2, JUMPS, strict=True)
CASES = list(itertools.product(DATABASES, JUMPS) if FULL_MATRIX else IN_TURN)

at_each_jump = pytest.mark.parametrize(("new_database", "jump"), CASES, indirect=["new_database"])


class Slow:
    """An engine behind the emulator that takes a while, and counts how often an image is looked at twice at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.twice = 0
        self._under_way: Counter[bytes] = Counter()
        self._lock = threading.Lock()

    def detect(self, image: bytes, *_: object) -> Sequence[Detection]:
        with self._lock:
            self._under_way[image] += 1
            self.twice += self._under_way[image] > 1
        time.sleep(self.seconds)
        with self._lock:
            self._under_way[image] -= 1
        return faces_of(image)

    def close(self) -> None: ...


@at_each_jump
def test_a_clock_that_is_set_in_mid_run_neither_hangs_nor_doubles_a_photo(
    make_service: MakeService, emulator: EmulatorServer, tmp_path: Path, jump: int
) -> None:
    clock = Clock(tmp_path / "clock")
    emulator.emulator.engine = slow = Slow(3.0)
    service = make_service(clock=clock, **facecloud(emulator, WORKERS=3, LEASE_SECONDS=40))
    client = service.start()
    images = [photo(number) for number in range(24)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: len(calls(emulator)) >= 6, what="calls of both processes")
    clock.set(jump)
    check_complete(client.ended(task, 60), images)
    assert slow.twice == 0
    assert set(calls(emulator).values()) == {1}
    check_new_work(client)
    assert service.inconsistencies() == []


@at_each_jump
def test_a_clock_that_is_set_in_an_outage_costs_no_photo_its_patience_and_delays_none(
    make_service: MakeService, emulator: EmulatorServer, tmp_path: Path, jump: int
) -> None:
    clock = Clock(tmp_path / "clock")
    emulator.emulator.script.set([Mood(name="status", status=503)])
    client = make_service(clock=clock, **facecloud(emulator)).start()
    images = [photo(number) for number in range(12)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: client.show(task)["waiting_for"], what="a task that waits")
    clock.set(jump)
    time.sleep(4)
    assert client.show(task)["progress"]["failed"] == 0
    assert done(client, task) == 0
    emulator.emulator.script.set([])
    check_complete(client.ended(task, 30), images)


def test_a_clock_that_is_set_locks_out_nobody_and_right_credentials_go_on(
    make_service: MakeService, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    service = make_service(clock=clock, FACE_ENGINE="local", MAX_FAILED_TRIES=3, WEB_CONCURRENCY=1)
    service.start()

    def ask(password: str) -> int:
        return requests.get(f"{service.url}/api/v1/tasks", auth=("admin", password), timeout=20).status_code

    for jump in (*JUMPS, 0):
        assert [ask("wrong") for _ in range(4)] == [401] * 3 + [429]
        assert ask(service.password) == 429
        clock.set(jump)
        assert ask(service.password) == 200


def check_new_work(client: Client) -> None:
    images = [photo(900), photo(901)]
    check_complete(client.run(*images, seconds=30), images)
