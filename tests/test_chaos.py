"""Real signals to real processes at random moments around a start; `make chaos` makes 200 rounds of it."""

import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress

import pytest
import requests

from service.faces.emulator_server import EmulatorServer
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, photo
from tests.test_processes import check_complete

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "12"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


def strike(service: Service, what: str, chance: random.Random) -> None:
    """Do to the service, a moment from now, what the round says."""
    time.sleep(chance.random() * 0.3)
    if what == "kill":
        service.kill()
    elif what == "terminate":
        service.stop()
    else:
        with suppress(ProcessLookupError):
            worker = chance.choice(service.workers())
            os.kill(worker, signal.SIGKILL if what == "kill one" else signal.SIGSTOP)
            if what == "stop one":
                time.sleep(0.5)
                os.kill(worker, signal.SIGCONT)


def status_and_jobs(service: Service, task: str) -> tuple[str, int]:
    with closing(sqlite3.connect(service.folder / "service.db")) as database:
        (status,) = database.execute("SELECT status FROM task WHERE id = ?", (task,)).fetchone()
        (jobs,) = database.execute("SELECT count(*) FROM job WHERE task = ?", (task,)).fetchone()
        return status, jobs


def stored_images(client: Client) -> list[str]:
    tasks = client.get("/api/v1/tasks?limit=100").json()["items"]
    return [image["id"] for task in tasks for image in client.show(task["id"])["images"]]


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_signals_at_random_moments_lose_nothing_and_double_nothing(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    print(f"CHAOS_SEED={SEED}")  # shown when it fails, to repeat it
    chance = random.Random(SEED)
    emulator.emulator.latency = 0.02
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(60)]
    for _ in range(ROUNDS):
        chosen = images[: chance.randint(1, 60)]
        what = chance.choice(["kill", "kill one", "terminate", "stop one"])
        task = client.task(*chosen)
        striking = threading.Thread(target=strike, args=(service, what, chance))
        striking.start()
        answered = None
        with suppress(requests.RequestException):
            answered = client.start(task).status_code
        striking.join()
        if what in ("kill", "terminate"):
            client = service.start()
        status, jobs = status_and_jobs(service, task)
        assert jobs == (0 if status == "forming" else len(chosen)), "a task and its jobs are one transaction"
        if status == "forming":
            assert answered != 202, "what was answered is not forgotten"
            assert client.start(task).status_code == 202
        check_complete(client.ended(task, 60), chosen)
        stored = stored_images(client)
        assert sorted(stored) == sorted(service.left_files())
        client.delete(f"/api/v1/tasks/{task}")
    assert "Traceback" not in service.log.read_text()
