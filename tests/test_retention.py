"""RETENTION_DAYS: finished tasks go with their files, once, whoever is at work; all else stays."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from devtools.facecloud_emulator.server import EmulatorServer
from service.db.database import Database, days_ago, open_database
from service.features.faces.models import Face, Image, Task, image_key
from service.features.faces.operations import Services
from service.features.faces.retention import Retention
from service.http.services import provided
from service.jobs.models import Job, Share
from tests.conftest import MakeService, facecloud, on_database
from tests.object_store import ObjectStore
from tests.support import Service, application, photo, wait_for


def age(service: Service, task: str, days: float) -> None:
    """Let a task have ended so many days ago."""
    with opened(str(service.settings["DATABASE_URL"])) as database, database.write() as session:
        moments = {"created_at": days_ago(days), "finished_at": days_ago(days)}
        session.execute(sa.update(Task).where(Task.id == task).values(moments))


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


def add_tasks(database: Database, number: int, days: float, images: int = 1, files: Path | None = None) -> list[str]:
    """Write completed tasks with images, faces and jobs as they are after so many days."""
    ids = [str(uuid.uuid4()) for _ in range(number)]
    moment = days_ago(days)
    tasks, rows, faces, jobs = [], [], [], []
    for task in ids:
        tasks.append({"id": task, "status": "completed", "created_at": moment, "finished_at": moment, "total": images})
        for position in range(images):
            image = str(uuid.uuid4())
            measures = {"media_type": "image/jpeg", "size": 1, "width": 1, "height": 1, "status": "done"}
            rows.append({"id": image, "task_id": task, "position": position, "name": "a", **measures})
            faces.append({"image_id": image, "number": 1, "x": 0, "y": 0, "width": 1, "height": 1, "gender": "male"})
            jobs.append({"kind": "face", "subject": image, "task": task, "position": position, "status": "succeeded"})
            if files:
                path = files / image_key(task, image)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
    with database.write() as session:
        for table, values in ((Task, tasks), (Image, rows), (Face, faces), (Job, jobs)):
            session.execute(sa.insert(table), values)
    return ids


def counts(database: Database) -> tuple[int, ...]:
    with database.read() as session:
        return tuple(session.scalar(sa.select(sa.func.count()).select_from(one)) for one in (Task, Image, Face, Job))


def stored(service: Service) -> set[str]:
    """Return the tasks that have files; folders may go meanwhile."""
    return {Path(folder).name for folder, _, files in os.walk(service.files / "tasks") if files}


@on_database("postgresql")
def test_what_is_old_enough_goes_with_its_files_and_nothing_else(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator, RETENTION_DAYS=30, WEB_CONCURRENCY=2))
    client = service.start()
    old, failed, young = (client.run(photo(number), photo(number + 1))["id"] for number in range(3))
    forming, again = client.task(photo(5)), client.run(photo(6))["id"]
    assert client.get(f"/api/v1/tasks/{old}/images/{client.show(old)['images'][0]['id']}/thumbnail").ok
    service.stop()
    for task, days in ((old, 30.1), (failed, 400), (young, 29.9), (forming, 400), (again, 400)):
        age(service, task, days)
    url = str(service.settings["DATABASE_URL"])
    with opened(url) as database, database.write() as session:
        session.execute(sa.update(Task).where(Task.id == failed).values(status="error", done=1, failed=1))
        session.execute(sa.update(Task).where(Task.id == forming).values(finished_at=None))
        session.execute(sa.update(Task).where(Task.id == again).values(status="processing", finished_at=None))
    client = service.start()
    wait_for(lambda: {one["id"] for one in client.get("/api/v1/tasks").json()["items"]} == {young, forming, again})
    wait_for(lambda: stored(service) == {young, forming, again}, what="the files of what was deleted are gone")
    with opened(url) as database:
        assert counts(database)[:2] == (3, 4)
        wait_for(lambda: shares(database) == 0, what="the turn was given back")
    assert client.show(young)["images"][0]["faces"] is not None
    assert "Traceback" not in service.log.read_text()


def shares(database: Database) -> int:
    with database.read() as session:
        return session.scalar(sa.select(sa.func.count()).where(Share.kind == "retention")) or 0


def test_nothing_goes_where_no_days_are_set_and_a_worker_alone_does_it_too(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator, WEB_WORKS="false", WEB_CONCURRENCY=1))
    with opened(str(service.settings["DATABASE_URL"])) as database:
        add_tasks(database, 150, 4000, files=service.files)
        client = service.start()  # keeps all: RETENTION_DAYS is not set
        service.settings["RETENTION_DAYS"] = 1
        service.start_work()
        wait_for(lambda: counts(database) == (0, 0, 0, 0), 40, "the worker's deletion")
        wait_for(lambda: not stored(service), what="no file is left")
        assert client.get("/api/v1/tasks").json()["items"] == []
        deleted = [line for line in service.log.read_text().splitlines() if "deleted tasks" in line]
        assert len(deleted) == 2
        assert {line.partition("pid=")[2].partition(" ")[0] for line in deleted} == {str(service.work[0].pid)}


def test_a_server_that_only_serves_deletes_what_lies_on_s3(
    make_service: MakeService, emulator: EmulatorServer, object_store: ObjectStore
) -> None:
    bucket = object_store.bucket()
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, **object_store.settings(bucket)))
    old = service.start().run(photo(1), photo(2))["id"]
    service.stop()
    age(service, old, 2)
    service.settings |= {"RETENTION_DAYS": 1, "WEB_WORKS": "false"}
    client = service.start()
    wait_for(lambda: client.get(f"/api/v1/tasks/{old}").status_code == 404, what="the deletion")
    wait_for(lambda: object_store.keys_of(bucket) == [], what="an empty bucket")


@pytest.fixture
def retentions(new_database: Callable[[Path], str], tmp_path: Path) -> Iterator[list[Retention]]:
    """Give what three processes have, on one database and one folder."""
    url = new_database(tmp_path)
    with ExitStack() as ends:
        apps = [ends.enter_context(application(tmp_path, url)) for _ in range(3)]
        yield [Retention(provided(Services, app), 30, f"host:{number}") for number, app in enumerate(apps)]


@on_database("postgresql")
def test_of_many_processes_one_at_a_time_deletes_and_each_task_once(
    retentions: list[Retention], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    database = retentions[0]._services.database
    add_tasks(database, 250, 31, images=3)
    kept = add_tasks(database, 5, 29)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda one: one.delete_all(), retentions))
    # Who found it was another one's turn has gone; the one whose turn it was has deleted all.
    assert counts(database) == (5, 5, 5, 5)
    with database.read() as session:
        assert sorted(session.scalars(sa.select(Task.id))) == sorted(kept)
    deleted = [record.lines[0]["tasks"] for record in caplog.records if "deleted tasks" in record.message]
    assert sum(deleted) == 250
    assert max(deleted) <= 100
    assert shares(database) == 0


def test_others_write_while_ten_thousand_images_of_old_tasks_go(retentions: list[Retention]) -> None:
    database = retentions[0]._services.database
    add_tasks(database, 500, 31, images=20)
    thread = threading.Thread(target=retentions[0].delete_all)
    longest = 0.0
    thread.start()
    while thread.is_alive():
        begin = time.perf_counter()
        with database.write() as session:
            session.execute(sa.update(Job).where(Job.id == 0).values(error="x"))
        longest = max(longest, time.perf_counter() - begin)
        time.sleep(0.002)  # a pace, not a wait for anything
    thread.join()
    assert counts(database) == (0, 0, 0, 0)
    assert longest < 2


def test_a_crash_between_rows_and_files_leaves_only_what_the_next_start_sweeps(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator, RETENTION_DAYS=1, WEB_CONCURRENCY=1))
    with opened(str(service.settings["DATABASE_URL"])) as database:
        # Many files, so that the kill comes while they are being removed and their rows are gone already.
        add_tasks(database, 2, 2, images=3_000, files=service.files)
        service.start()
        wait_for(lambda: counts(database)[0] < 2, what="the first deletion")
        service.kill()
        client = service.start()
        wait_for(lambda: counts(database) == (0, 0, 0, 0), 40, "the rest")
        wait_for(lambda: not stored(service), what="no file is left")
        assert client.get("/api/v1/tasks").json()["items"] == []
