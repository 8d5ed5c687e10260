"""What only a database server can do to a service, and what only many writers at once can do to a task."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from devtools.facecloud_emulator.server import EmulatorServer
from service.db.database import ANY, Database, News, is_away, notify, open_database
from service.features.faces.engines.engine import Detections
from service.features.faces.job import FaceDetection
from service.features.faces.models import Image, Task
from service.jobs import models
from service.jobs.models import Job
from tests import test_recordings
from tests.conftest import MakeService, facecloud
from tests.postgresql import PostgreSQLServer
from tests.support import free_port, photo, refused, wait_for
from tests.test_processes import calls, check_complete, done
from tests.test_settings import refusal_to_start

ROUNDS = 40
CHAOS_ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))
CHAOS_SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
def url(postgresql: PostgreSQLServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def two(url: str) -> Iterator[tuple[Database, Database]]:
    """Give one database as two processes see it."""
    both = open_database(url), open_database(url)
    yield both
    for database in both:
        database.close()


def queue_jobs(database: Database, number: int, task: str = "t") -> None:
    rows = [{"kind": "face", "subject": f"{task}{n}", "task": task, "position": n} for n in range(number)]
    with database.write() as session:
        session.execute(sa.insert(Job), rows)


def claim(session: sa.orm.Session, count: int) -> list[models.Run]:
    now = time.time()
    return models.claim(session, "face", count, owner="me", now=now, latest=now + 60, until=now + 30)


def test_a_claim_skips_what_another_one_is_just_taking_and_never_takes_more_than_it_asks_for(
    two: tuple[Database, Database],
) -> None:
    queue_jobs(two[0], 10)
    with two[0].write() as first, two[1].write() as second:
        runs = [[run.position for run in claim(session, 4)] for session in (first, second, first)]
    assert runs == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_last_two_images_finished_by_two_workers_at_once_end_the_task(two: tuple[Database, Database]) -> None:
    detection = FaceDetection(None, None, "test", 60)  # type: ignore[arg-type] - saving needs neither storage nor engine
    for number in range(ROUNDS):
        task = f"task-{number}"
        with two[0].write() as session:
            session.add(Task(id=task, created_at="x", status="processing", total=2))
            session.flush()
            for n in range(2):
                measures = {"media_type": "image/jpeg", "size": 1, "width": 1, "height": 1}
                session.add(Image(id=f"{task}{n}", task_id=task, position=n, name="x", **measures))
        queue_jobs(two[0], 2, task)
        with two[0].write() as session:
            runs = claim(session, 2)
        both_are_ready = threading.Barrier(2)

        def finish(database: Database, run: models.Run, ready: threading.Barrier = both_are_ready) -> None:
            with database.write() as session:
                ready.wait()
                assert models.finish(session, [run])
                detection.save(session, [(run, Detections([]))])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(finish, two, runs))
        with two[0].read() as session:
            ended = session.get_one(Task, task)
            assert (ended.status, ended.done, ended.version) == ("completed", 2, 3)


def test_only_a_database_without_processes_at_work_is_alone(two: tuple[Database, Database]) -> None:
    with two[0].alone() as alone:
        assert alone
    two[1].listen(lambda _: None)
    wait_for(lambda: not is_alone(two[0]), 5, "the listener")
    two[1].close()
    wait_for(lambda: is_alone(two[0]), 5, "the end of the other's connection")


def is_alone(database: Database) -> bool:
    with database.alone() as alone:
        return alone


def test_a_listener_that_lost_its_connection_is_told_that_it_missed_something_and_hears_again(
    two: tuple[Database, Database], postgresql: PostgreSQLServer, url: str
) -> None:
    heard: list[News] = []
    two[0].listen(heard.append)
    wait_for(lambda: {ANY: ()} in heard, what="the first connection")
    heard.clear()
    assert postgresql.terminate_backends(url) == 1
    wait_for(lambda: {ANY: ()} in heard and not is_alone(two[1]), 5, "the new connection")
    with two[1].write() as session:
        notify(session, "faces")
    wait_for(lambda: {"faces": ()} in heard, what="the word after it")


def test_a_connection_that_is_cut_in_mid_job_costs_no_result(
    make_service: MakeService, emulator: EmulatorServer, postgresql: PostgreSQLServer, url: str
) -> None:
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, WORKERS=4, DATABASE_URL=url))
    client = service.start()
    images = [photo(number) for number in range(160)]
    task = client.task(*images)
    client.start(task)
    for share in (10, 50, 100):
        wait_for(lambda share=share: done(client, task) >= share, what=f"{share} images done")
        assert postgresql.terminate_backends(url) > 0
    check_complete(client.ended(task, 60), images)
    assert sum(calls(emulator).values()) == len(images), "no result was lost, so no call was made again"
    assert "Traceback" not in service.log.read_text()


@pytest.fixture
def own_server() -> Iterator[PostgreSQLServer]:
    """Give a server that a test may stop."""
    server = PostgreSQLServer()
    server.start()
    yield server
    server.remove()


def test_a_database_server_that_goes_away_in_mid_job_is_waited_for(
    make_service: MakeService, emulator: EmulatorServer, own_server: PostgreSQLServer
) -> None:
    emulator.emulator.latency = 0.1
    service = make_service(**facecloud(emulator, WORKERS=4, DATABASE_URL=own_server.new_database()))
    client = service.start()
    images = [photo(number) for number in range(80)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 16, what="16 images done")
    own_server.stop()
    for path in (f"/api/v1/tasks/{task}", "/readyz"):
        away = refused(client, path)
        assert int(away.headers["Retry-After"]) >= 1
        assert away.headers["Content-Type"] == "application/problem+json"
    assert client.get("/healthz").status_code == 200
    own_server.start()
    check_complete(client.ended(task, 60), images)
    assert sum(calls(emulator).values()) == len(images)


def test_who_waits_too_long_for_a_lock_is_told_to_come_again(
    make_service: MakeService, emulator: EmulatorServer, url: str
) -> None:
    impatient = f"{url}?options=-c%20lock_timeout%3D300ms"
    service = make_service(**facecloud(emulator, DATABASE_URL=impatient))
    client = service.start()
    task = client.task(photo(1))
    database = open_database(url)
    with database.write() as session:
        database.lock(session, [task])
        busy = client.start(task)
    database.close()
    assert busy.status_code == 503
    assert busy.headers["Retry-After"] == "1"
    assert client.start(task).status_code == 202
    assert client.ended(task)["status"] == "completed"


def test_no_free_connection_and_no_server_are_times_to_wait_for_and_a_wrong_name_is_not(
    postgresql: PostgreSQLServer, url: str
) -> None:
    postgresql.execute("CREATE ROLE nobody_more LOGIN CONNECTION LIMIT 0")
    for address, away in (
        (url.replace("app@", "nobody_more@"), True),
        (url.replace(f":{postgresql.port}/", ":1/"), True),
        (f"{url}_is_not_there", False),
    ):
        database = open_database(address)
        with pytest.raises(sa.exc.OperationalError) as caught, database.read() as session:
            session.execute(sa.text("SELECT 1"))
        database.close()
        assert is_away(caught.value) is away, caught.value


def test_without_tables_or_without_its_database_the_server_says_so(postgresql: PostgreSQLServer) -> None:
    postgresql.execute("CREATE DATABASE empty_one")
    assert "make migrate" in refusal_to_start(postgresql.url("empty_one"))
    missing = refusal_to_start(postgresql.url("no_such_one"))
    assert 'database "no_such_one" does not exist' in missing
    assert "Traceback" not in missing


def test_of_two_servers_on_one_database_the_second_leaves_the_firsts_jobs_alone(
    make_service: MakeService, emulator: EmulatorServer, url: str
) -> None:
    """Each has a folder of its own, so that only the database can tell that somebody is at work."""
    emulator.emulator.latency = 2.0
    first = make_service(**facecloud(emulator, DATABASE_URL=url, WEB_CONCURRENCY=1))
    second = make_service(**facecloud(emulator, DATABASE_URL=url, WEB_CONCURRENCY=1))
    client = first.start()
    images = [photo(number) for number in range(4)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: len(calls(emulator)) == 4, what="all four calls")
    second.start()
    check_complete(client.ended(task), images)
    assert sum(calls(emulator).values()) == 4


def test_two_servers_work_together_and_a_start_wakes_both_at_once(
    make_service: MakeService, emulator: EmulatorServer, url: str
) -> None:
    emulator.emulator.latency = 0.2
    first = make_service(**facecloud(emulator, DATABASE_URL=url, WEB_CONCURRENCY=1, WORKERS=4))
    second = make_service(**{**first.settings, "PORT": free_port()})
    client, other = first.start(), second.start()
    images = [photo(number) for number in range(16)]
    task = client.task(*images)
    assert client.start(task).status_code == 202
    check_complete(client.ended(task), images)
    begins = sorted(emulator.emulator.counters()["begins"])
    assert begins[7] - begins[0] < 0.15, "nobody waited for its next look, once a second"
    assert emulator.emulator.counters()["max_in_flight"] == 8
    assert other.show(task)["status"] == "completed"


def test_recordings_are_made_at_once(make_service: MakeService, url: str, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    service = make_service(DATABASE_URL=url, TMPDIR=temporary)
    test_recordings.test_many_at_once_all_come_out_right(test_recordings.made_stage(service, temporary))


@pytest.mark.timeout(60 + 15 * CHAOS_ROUNDS)
def test_processes_killed_and_connections_cut_at_random_moments_lose_nothing(
    make_service: MakeService, emulator: EmulatorServer, postgresql: PostgreSQLServer, url: str
) -> None:
    print(f"CHAOS_SEED={CHAOS_SEED}")  # shown when it fails, to repeat it
    chance = random.Random(CHAOS_SEED)
    emulator.emulator.latency = 0.02
    service = make_service(**facecloud(emulator, WORKERS=4, DATABASE_URL=url))
    client = service.start()

    def strike(what: str, delay: float) -> None:
        time.sleep(delay)
        if what == "kill":
            service.kill()
        elif what == "kill one":
            os.kill(chance.choice(service.workers()), signal.SIGKILL)
        else:
            postgresql.terminate_backends(url)

    for _ in range(CHAOS_ROUNDS):
        images = [photo(number) for number in range(chance.randint(20, 60))]
        task, answered = client.task(*images), None
        what = chance.choice(["cut", "cut", "kill one", "kill"])
        striking = threading.Thread(target=strike, args=(what, chance.random() * 0.3))
        striking.start()
        with suppress(requests.RequestException):
            answered = client.start(task).status_code
        striking.join()
        if what == "kill":
            client = service.start()
        if client.show(task)["status"] == "forming":
            assert answered != 202, "what was answered is not forgotten"
            wait_for(lambda client=client, task=task: client.start(task).status_code == 202, 10, "the start")
        check_complete(client.ended(task, 60), images)
        assert len(service.left_files()) == len(images)
        assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    assert "Traceback" not in service.log.read_text()


def test_texts_with_the_character_that_postgresql_has_not_are_refused(
    make_service: MakeService, emulator: EmulatorServer, url: str
) -> None:
    client = make_service(**facecloud(emulator, DATABASE_URL=url)).start()

    def statuses(*answers: requests.Response) -> list[int]:
        return [answer.status_code for answer in answers]

    assert statuses(
        client.post("/api/v1/tasks", json={"name": "a\0b"}), client.post("/users", json={"name": "a\0b"})
    ) == [422, 422]
    assert statuses(client.get("/api/v1/tasks/a%00b"), client.delete("/api/v1/tasks/%00")) == [404, 404]
    assert statuses(client.get("/record?id=%00&user=%00")) == [404]
    named = client.post(f"/api/v1/tasks/{client.task()}/images", files={"image": ("a\0.jpg", photo(1))})
    assert named.status_code == 201
