"""Celery's workers: what holds with threads holds with them, and neither they nor the broker can lose work."""

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis as client_library

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import FULL_MATRIX, MakeService, facecloud, on_database
from tests.fork_server import Program
from tests.redis import RedisServer
from tests.support import Service, photo, refused, run_program, wait_for
from tests.test_processes import calls, check_complete, done

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
def make_serving(make_service: MakeService, emulator: EmulatorServer, redis: RedisServer) -> Callable[..., Service]:
    """Give a function that makes services whose work is Celery's; no worker runs yet."""

    def make(**settings: object) -> Service:
        given = {"EXECUTOR": "celery", "BROKER_URL": redis.new_url(), "WEB_CONCURRENCY": 1, "WORKERS": 4, **settings}
        return make_service(**facecloud(emulator, **given))

    return make


@pytest.fixture
def broker() -> Iterator[RedisServer]:
    """Give a Redis server that a test may kill."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


def messages(service: Service, queue: str = "faces") -> list[bytes]:
    """Return the messages that wait in a queue."""
    with closing(client_library.Redis.from_url(str(service.settings["BROKER_URL"]))) as redis:
        found: list[bytes] = redis.lrange(queue, 0, -1)
        return found


def test_a_start_of_ten_thousand_images_is_answered_in_a_second_and_published_in_batches(
    make_serving: Callable[..., Service],
) -> None:
    service = make_serving()
    client = service.start()
    task = client.task(photo(0))
    with closing(sqlite3.connect(service.folder / "service.db")) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(image)")]
        copied = ", ".join({"id": "id || '-' || n", "position": "n"}.get(name, name) for name in columns)
        numbers = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 9999)"
        database.execute(
            f"INSERT INTO image ({', '.join(columns)}) {numbers} SELECT {copied} FROM number, image WHERE task_id = ?",
            (task,),
        )
        database.execute("UPDATE task SET total = 10000, next_position = 10000")
    begin = time.monotonic()
    assert client.start(task).status_code == 202
    assert time.monotonic() - begin < 3  # a few tenths on a quiet machine
    wait_for(lambda: len(messages(service)) >= 200, what="the messages")
    assert len(messages(service)) == 200
    assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    # What the messages speak of is gone: the next image does not wait for them.
    service.begin_work(1)
    begin = time.monotonic()
    assert client.run(photo(1))["status"] == "completed"
    assert time.monotonic() - begin < 5
    wait_for(lambda: not messages(service), what="the end of the messages")
    assert "Traceback" not in service.log.read_text()


def test_messages_that_come_twice_double_nothing(
    make_serving: Callable[..., Service], emulator: EmulatorServer
) -> None:
    service = make_serving()
    client = service.start()
    images = [photo(number) for number in range(60)]
    task = client.task(*images)
    client.start(task)
    sent = wait_for(lambda: len(messages(service)) == 8 and messages(service), what="the messages")
    with closing(client_library.Redis.from_url(str(service.settings["BROKER_URL"]))) as redis:
        redis.rpush("faces", *sent, *sent)
    service.begin_work(2)
    check_complete(client.ended(task), images)
    wait_for(lambda: not messages(service), what="the end of the messages")
    assert set(calls(emulator).values()) == {1}


@on_database("postgresql")
def test_a_deletion_stops_all_calls_within_a_second_and_a_large_task_holds_up_no_small_one(
    make_serving: Callable[..., Service], emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.1
    service = make_serving()
    client = service.start()
    service.begin_work(2)
    large = [photo(number) for number in range(600)]
    task = client.task(*large)
    client.start(task)
    wait_for(lambda: done(client, task) >= 16, what="16 images done")
    begin = time.monotonic()
    assert client.run(photo(1000))["status"] == "completed"
    assert time.monotonic() - begin < 5
    assert client.show(task)["status"] == "processing"
    assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    deleted_at = time.time()
    following = [photo(number) for number in range(700, 710)]
    check_complete(client.run(*following), following)
    wait_for(lambda: time.time() > deleted_at + 2, 3, "two seconds")
    late = [begin for begin in emulator.emulator.counters()["begins"] if begin > deleted_at + 1]
    assert len(late) <= len(following)
    assert not (service.files / "tasks" / task).exists()


@on_database("sqlite")
def test_a_killed_worker_loses_no_work(make_serving: Callable[..., Service], emulator: EmulatorServer) -> None:
    emulator.emulator.latency = 0.05
    service = make_serving(LEASE_SECONDS=2)
    client = service.start()
    first, _ = service.begin_work(2)
    images = [photo(number) for number in range(200)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 20, what="20 images done")
    first.kill()
    check_complete(client.ended(task, 30), images)
    sent = calls(emulator)
    assert set(sent) == {hashlib.sha256(image).hexdigest() for image in images}
    # What was in flight, or finished and not yet written, in the one that was killed: a call more each.
    assert sum(sent.values()) <= len(images) + 8
    assert "Traceback" not in service.log.read_text()


def test_the_only_worker_is_killed_and_the_next_one_goes_on(
    make_serving: Callable[..., Service], emulator: EmulatorServer, redis: RedisServer
) -> None:
    emulator.emulator.latency = 0.05
    service = make_serving(LEASE_SECONDS=2)
    client = service.start()
    (worker,) = service.begin_work(1)
    images = [photo(number) for number in range(100)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 20, what="20 images done")
    worker.kill()
    service.begin_work(1)
    check_complete(client.ended(task, 30), images)


@pytest.mark.parametrize("pool", ["threads", "prefork"] if FULL_MATRIX else ["prefork"])
def test_sigterm_ends_a_worker_in_order_and_repeats_no_call(
    make_serving: Callable[..., Service], emulator: EmulatorServer, pool: str
) -> None:
    emulator.emulator.latency = 0.2
    service = make_serving()
    client = service.start()
    (worker,) = service.begin_work(1, "--pool", pool, "--concurrency", 2)
    images = [photo(number) for number in range(80)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 10, what="10 images done")
    worker.send_signal(signal.SIGTERM)
    told_at = time.time()
    assert worker.wait(10) == 0
    assert done(client, task) < len(images)
    assert not [begin for begin in emulator.emulator.counters()["begins"] if begin > told_at + 0.5]
    service.begin_work(1)
    check_complete(client.ended(task), images)
    assert sum(calls(emulator).values()) == len(images)
    assert "Traceback" not in service.log.read_text()


def test_a_worker_process_that_is_killed_is_replaced(
    make_serving: Callable[..., Service], emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.1
    service = make_serving(LEASE_SECONDS=2)
    client = service.start()
    (worker,) = service.begin_work(1, "--pool", "prefork", "--concurrency", 2)
    images = [photo(number) for number in range(150)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 20, what="20 images done")
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    check_complete(client.ended(task, 30), images)
    assert emulator.emulator.counters()["max_in_flight"] == 8


@on_database("postgresql")
def test_a_broker_that_is_emptied_or_dies_in_the_middle_of_a_task_loses_nothing(
    make_serving: Callable[..., Service], emulator: EmulatorServer, broker: RedisServer
) -> None:
    emulator.emulator.latency = 0.05
    service = make_serving(BROKER_URL=broker.new_url())
    client = service.start()
    service.begin_work(2)
    images = [photo(number) for number in range(400)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 20, what="20 images done")
    broker.ask("FLUSHALL")
    wait_for(lambda: done(client, task) >= 150, what="150 images done")
    broker.kill()
    broker.start()
    check_complete(client.ended(task, 40), images)
    assert set(calls(emulator).values()) == {1}


def test_a_broker_that_is_away_at_the_start_of_a_task_delays_it_only(
    make_serving: Callable[..., Service], broker: RedisServer
) -> None:
    service = make_serving(BROKER_URL=broker.new_url())
    client = service.start()
    service.begin_work(1)
    broker.kill()
    image = photo(1)
    task = client.task(image)
    begin = time.monotonic()
    assert client.start(task).status_code == 202
    assert time.monotonic() - begin < 3  # a few tenths on a quiet machine
    wait_for(lambda: "the broker is away" in service.log.read_text(), what="a line about it")
    assert refused(client, "/readyz").json()["missing"] == ["broker"]
    broker.start()
    check_complete(client.ended(task, 30), [image])
    assert client.get("/readyz").status_code == 200


def test_workers_together_never_make_more_calls_at_once_than_the_bound(
    make_serving: Callable[..., Service], emulator: EmulatorServer
) -> None:
    latency, bound = 0.1, 6
    emulator.emulator.latency = latency
    service = make_serving(FACECLOUD_MAX_CONCURRENCY=bound)
    client = service.start()
    service.begin_work(3)
    images = [photo(number) for number in range(150)]
    check_complete(client.run(*images, seconds=60), images)
    seen = emulator.emulator.counters()
    assert seen["max_in_flight"] == bound
    assert max(seen["begins"]) - min(seen["begins"]) < 1.5 * latency * len(images) / bound, "it is made use of"


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_workers_and_brokers_that_die_at_random_moments_lose_nothing_and_double_nothing(
    make_serving: Callable[..., Service], emulator: EmulatorServer, broker: RedisServer
) -> None:
    print(f"CHAOS_SEED={SEED}")  # shown when it fails, to repeat it
    chance = random.Random(SEED)
    emulator.emulator.latency = 0.02
    service = make_serving(BROKER_URL=broker.new_url(), LEASE_SECONDS=2)
    client = service.start()
    workers = service.begin_work(2)
    images = [photo(number) for number in range(100)]
    for _ in range(ROUNDS):
        task = client.task(*images[: chance.randint(1, 100)])
        chosen = len(client.show(task)["images"])
        assert client.start(task).status_code == 202
        time.sleep(chance.random() * 0.3)
        what = chance.choice(["kill", "terminate", "stop", "empty the broker", "kill the broker"])
        worker = workers.pop(0)
        workers.append(worker)
        strike(what, worker, broker)
        if what in ("kill", "terminate"):
            workers[-1:] = [service.start_work()]
        check_complete(client.ended(task, 60), images[:chosen])
        client.delete(f"/api/v1/tasks/{task}")
    assert not service.left_files()


def strike(what: str, worker: Program, broker: RedisServer) -> None:
    """Do to a worker or to the broker what the round says."""
    if what == "kill":
        worker.kill()
    elif what == "terminate":
        worker.terminate()
    elif what == "stop":
        worker.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        worker.send_signal(signal.SIGCONT)
    elif what == "empty the broker":
        broker.ask("FLUSHALL")
    else:
        broker.kill()
        broker.start()


def test_each_command_says_when_the_other_is_meant(make_serving: Callable[..., Service], migrated: Path) -> None:
    service = make_serving()
    where = {"API_PASSWORD": "long enough", "DATABASE_URL": f"sqlite:///{migrated}"}

    def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return run_program(*command, **where, **settings)

    said = run("celery", "-A", "wsgi.celery", "worker")
    assert said.returncode != 0
    assert "EXECUTOR is not celery" in said.stderr
    celery = {"EXECUTOR": "celery", "BROKER_URL": str(service.settings["BROKER_URL"])}
    said = run("flask", "jobs", "work", **celery)
    assert said.returncode != 0
    assert "celery -A wsgi.celery worker" in said.stderr
    said = run("celery", "-A", "wsgi.celery", "worker", "--pool", "solo", **celery)
    assert said.returncode != 0
    assert "--pool threads or --pool prefork" in said.stderr + said.stdout
    said = run("flask", "jobs", "work", EXECUTOR="celery")
    assert "BROKER_URL must be set" in said.stderr
