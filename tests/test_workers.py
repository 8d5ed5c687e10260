"""Work without serving: `flask jobs work`, and the bound on calls over all processes."""

import signal
import time
from collections.abc import Callable

import pytest

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService, facecloud, on_database
from tests.support import Service, photo, wait_for
from tests.test_processes import calls, check_complete, done


@pytest.fixture
def make_serving(make_service: MakeService, emulator: EmulatorServer) -> Callable[..., Service]:
    """Give a function that makes services whose server only serves."""
    return lambda **settings: make_service(**facecloud(emulator, WEB_CONCURRENCY=1, WEB_WORKS="false", **settings))


@on_database("sqlite")
def test_the_server_serves_and_the_work_is_done_elsewhere(
    make_serving: Callable[..., Service], emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.1
    service = make_serving(WORKERS=4)
    client = service.start()  # is ready without a dispatcher
    images = [photo(number) for number in range(8)]
    waiting = client.task(*images)
    assert client.start(waiting).status_code == 202
    (worker,) = service.begin_work(1)
    check_complete(client.ended(waiting), images)

    # A start in the server's process wakes the worker's at once.
    task = client.task(*(photo(number) for number in range(100, 300)))
    emulator.emulator.forget()
    begin = time.time()
    client.start(task)
    wait_for(lambda: done(client, task) >= 4, what="4 images done")
    assert min(emulator.emulator.counters()["begins"]) - begin < 1.9
    # A deletion reaches it within a second.
    assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    deleted_at = time.time()
    check_complete(client.run(*images), images)
    begins = emulator.emulator.counters()["begins"]
    assert len([begin for begin in begins if begin > deleted_at + 1]) <= len(images)

    # It ends in order, and the next one goes on.
    emulator.emulator.forget()
    images = [photo(number) for number in range(400, 440)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 8, what="8 images done")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(25) == 0
    assert done(client, task) < len(images)
    (second,) = service.begin_work(1)
    check_complete(client.ended(task), images)
    assert sum(calls(emulator).values()) == len(images)
    second.send_signal(signal.SIGINT)
    assert second.wait(25) == 0
    assert "Traceback" not in service.log.read_text()


@on_database("postgresql")
def test_four_processes_together_never_make_more_calls_at_once_than_the_bound(
    make_serving: Callable[..., Service], emulator: EmulatorServer
) -> None:
    latency, bound = 0.2, 6
    emulator.emulator.latency = latency
    service = make_serving(WORKERS=4, FACECLOUD_MAX_CONCURRENCY=bound, LEASE_SECONDS=3)
    client = service.start()
    processes = service.begin_work(4)
    images = [photo(number) for number in range(150)]
    check_complete(client.run(*images, seconds=60), images)
    seen = emulator.emulator.counters()
    assert seen["max_in_flight"] == bound
    assert max(seen["begins"]) - min(seen["begins"]) < 1.5 * latency * len(images) / bound, "it is made use of"

    # What a killed process had taken is free again when its lease has run out.
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 12, what="12 images done")
    for process in processes[:3]:
        process.kill()
    check_complete(client.ended(task, 60), images)
    assert emulator.emulator.counters()["max_in_flight"] == bound
    assert "Traceback" not in service.log.read_text()
