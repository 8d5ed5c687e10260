"""Faults below: the n-th call to the store or the database fails, disks are full, the database is locked.

Only what the first part injects needs the application in this process; its database and its store are real files.
"""

import errno
import io
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from devtools.facecloud_emulator.server import EmulatorServer
from service.db.database import Database
from service.errors import NoRoom, Problem, Unavailable
from service.features.faces import operations as faces
from service.features.faces.engines.engine import Detection
from service.features.faces.job import FaceDetection
from service.features.recordings import operations as recordings
from service.http.services import provide, provided
from service.jobs.dispatcher import Dispatcher
from service.jobs.outcome_journal import OutcomeJournal
from service.jobs.outcome_log import OutcomeLog
from service.maintenance.checks import Inventory
from service.maintenance.orphan_files import remove_orphans
from service.storage.storage import Storage
from service.telemetry.metrics import Metrics
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, application, examined, faces_of, inconsistencies, photo, silence, wait_for
from tests.test_processes import check_complete

PASSWORD = ("admin", "unused")
PHOTOS = [photo(number) for number in range(4)]
WAV = silence(0.1)


class Faults:
    """Lets the n-th of the calls that the chosen thread makes fail, and with `onwards` all after it."""

    def __init__(self) -> None:
        self.nth = self.seen = 0
        self.fired = self.onwards = False
        self.thread = ""

    def arm(self, nth: int, thread: str = "", *, onwards: bool = False) -> None:
        self.nth, self.seen, self.fired, self.thread, self.onwards = nth, 0, False, thread, onwards

    def disarm(self) -> None:
        self.nth = 0

    def count(self, error: Callable[[], Exception]) -> None:
        if self.nth and self.thread in ("", threading.current_thread().name):
            self.seen += 1
            if self.seen == self.nth or (self.onwards and self.fired):
                self.fired = True
                raise error()


class FaultyStorage:
    """A store of which single calls fail, some in the middle of a file."""

    def __init__(self, storage: Storage, faults: Faults, code: int) -> None:
        self.storage = storage
        self.faults = faults
        self.code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def fault(self) -> Exception:
        """Return what the disk, too, makes of such an error."""
        full = self.code == errno.ENOSPC
        return NoRoom("The store has no room.") if full else Unavailable("The store is away.")

    def save(self, key: str, stream: BinaryIO, media_type: str = "", *, flushed: bool = True) -> int:
        try:
            self.faults.count(self.fault)
        except Problem:
            error = OSError(self.code, "told to fail")
            return self.storage.save(key, Breaking(stream.read(100), error), media_type)  # type: ignore[arg-type]
        return self.storage.save(key, stream, media_type, flushed=flushed)

    def flush(self, *keys: str) -> None:
        self.faults.count(self.fault)
        self.storage.flush(*keys)

    def open(self, key: str) -> BinaryIO:
        self.faults.count(self.fault)
        return self.storage.open(key)

    def read(self, key: str) -> bytes:
        self.faults.count(self.fault)
        return self.storage.read(key)

    def delete(self, *keys: str) -> None:
        self.faults.count(self.fault)
        self.storage.delete(*keys)

    def delete_prefix(self, prefix: str) -> None:
        self.faults.count(self.fault)
        self.storage.delete_prefix(prefix)


class Breaking(io.RawIOBase):
    """A stream that gives some bytes and then an error."""

    def __init__(self, content: bytes, error: OSError) -> None:
        self.content = content
        self.error = error

    def read(self, _size: int = -1) -> bytes:
        if not self.content:
            raise self.error
        content, self.content = self.content, b""
        return content


class FaultyCursor(sqlite3.Cursor):
    """Executes statements that may fail."""

    connection: "FaultyConnection"

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.connection.count(statement)
        return super().execute(statement, *values)

    def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.connection.count(statement)
        return super().executemany(statement, *values)


class FaultyConnection(sqlite3.Connection):
    """A connection of which single statements fail."""

    faults: Faults

    def count(self, statement: str) -> None:
        if self.in_transaction and not statement.startswith("PRAGMA"):
            self.faults.count(lambda: sqlite3.OperationalError("disk I/O error"))

    def cursor(self, factory: Any = FaultyCursor) -> Any:
        return super().cursor(factory)


@contextmanager
def faulty_database(faults: Faults) -> Iterator[None]:
    """Let statements and commits count as calls, of connections that are opened from now on."""

    def connect(_dialect: sa.Dialect, _record: Any, given: list[Any], options: dict[str, Any]) -> FaultyConnection:
        made = sqlite3.connect(*given, factory=FaultyConnection, **options)
        made.faults = faults
        return made

    def commit(_connection: sa.Connection) -> None:
        faults.count(lambda: sa.exc.OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error")))

    listeners = (("do_connect", connect), ("commit", commit))
    for name, listener in listeners:
        sa.event.listen(sa.Engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners:
            sa.event.remove(sa.Engine, name, listener)


@dataclass
class Patient:
    """An application on real files, below which faults can be armed."""

    folder: Path
    app: Flask
    http: FlaskClient
    faults: Faults
    has_faulty_store: bool = False

    def task(self, *images: bytes) -> str:
        task: str = self.http.post("/api/v1/tasks", auth=PASSWORD).json["id"]
        if images:
            assert self.upload(task, *images).status_code == 201
        return task

    def upload(self, task: str, *images: bytes) -> TestResponse:
        parts = [(io.BytesIO(image), f"{number}.jpg") for number, image in enumerate(images)]
        return self.http.post(f"/api/v1/tasks/{task}/images", data={"image": parts}, auth=PASSWORD)

    def check_whole(self) -> None:
        """After the sweep of a start nothing is half done."""
        storage = provided(Storage, self.app)
        remove_orphans(provided(Database, self.app), storage, provided(Inventory, self.app).known_keys, 0)
        assert examined(self.app) == []


@pytest.fixture(params=["database", "store", "full store"])
def patient(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> Iterator[Patient]:
    """Give an application whose database or whose store can be told to fail."""
    shutil.copy(migrated, tmp_path / "service.db")
    faults = Faults()
    with application(tmp_path) as app:
        patient = Patient(tmp_path, app, app.test_client(), faults)
        if request.param == "database":
            with faulty_database(faults):
                yield patient
            return
        storage = FaultyStorage(provided(Storage, app), faults, errno.EIO if request.param == "store" else errno.ENOSPC)
        for kind in (faces.Services, recordings.Services):
            provide(app, {kind: replace(provided(kind, app), storage=storage)})
        patient.has_faulty_store = True
        yield patient


Act = Callable[[], TestResponse]


def create(here: Patient) -> Act:
    return lambda: here.http.post("/api/v1/tasks", json={"name": "x"}, auth=PASSWORD)


def upload(here: Patient) -> Act:
    task = here.task()
    return lambda: here.upload(task, *PHOTOS[:2])


def upload_one(here: Patient) -> Act:
    task = here.task()
    return lambda: here.upload(task, PHOTOS[0])


def start(here: Patient) -> Act:
    task = here.task(*PHOTOS)
    return lambda: here.http.post(f"/api/v1/tasks/{task}/start", auth=PASSWORD)


def delete(here: Patient) -> Act:
    task = here.task(*PHOTOS)
    return lambda: here.http.delete(f"/api/v1/tasks/{task}", auth=PASSWORD)


def first_image(here: Patient) -> str:
    task = f"/api/v1/tasks/{here.task(*PHOTOS[:2])}"
    return f"{task}/images/{here.http.get(task, auth=PASSWORD).json['images'][0]['id']}"


def remove(here: Patient) -> Act:
    image = first_image(here)
    return lambda: here.http.delete(image, auth=PASSWORD)


def download(here: Patient) -> Act:
    image = first_image(here)
    return lambda: here.http.get(f"{image}/content", auth=PASSWORD)


def add_user(here: Patient) -> Act:
    return lambda: here.http.post("/users", json={"name": "x"}, auth=PASSWORD)


def record(here: Patient) -> Act:
    user = add_user(here)().json
    form = {"user": user["id"], "token": user["token"]}
    return lambda: here.http.post("/records", data={**form, "audio": (io.BytesIO(WAV), "a.wav")})


@pytest.mark.parametrize("onwards", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    "prepare",
    [create, upload, upload_one, start, remove, download, delete, add_user, record],
    ids=lambda it: it.__name__,
)
def test_whichever_call_below_fails_the_answer_is_clean_and_nothing_is_left_half_done(
    patient: Patient, prepare: Callable[[Patient], Act], onwards: bool
) -> None:
    for nth in range(1, 100):
        act = prepare(patient)
        patient.faults.arm(nth, onwards=onwards)
        with act() as answer:
            patient.faults.disarm()
            if not patient.faults.fired:
                assert answer.status_code < 300, answer.text
                return
            if answer.status_code >= 300:
                assert answer.content_type == "application/problem+json"
                assert answer.status_code in ((503, 507) if patient.has_faulty_store else (500, 503, 507))
                assert not (patient.has_faulty_store and prepare in (remove, delete)), "the row is gone by then"
                assert "told to" not in answer.text
                assert "disk I/O" not in answer.text
        patient.check_whole()
        # A second try succeeds, or is told that the first one did.
        with act() as again:
            assert again.status_code < 300 or again.status_code in (404, 409), again.text
    pytest.fail("the operation makes a hundred calls")


class Seeing:
    """An engine that sees at once what the emulator would make up."""

    def detect(self, image: bytes, *_: object) -> list[Detection]:
        return faces_of(image)

    def limit(self) -> None: ...

    def close(self) -> None: ...


def test_whichever_call_below_fails_while_results_are_saved_each_image_counts_once(
    patient: Patient, tmp_path: Path
) -> None:
    database, services = provided(Database, patient.app), provided(faces.Services, patient.app)
    outcome_log = OutcomeLog(provided(Metrics, patient.app))
    operations = [FaceDetection(services.storage, Seeing(), "test", 60)]
    journal = OutcomeJournal(lambda: tmp_path, operations)
    executor = Dispatcher(database, operations, outcome_log, journal, workers=2)
    provide(patient.app, {faces.Services: replace(services, executor=executor)})
    failing = "" if isinstance(services.storage, FaultyStorage) else "dispatcher"
    executor.start()
    try:
        for nth in range(1, 100):
            task = patient.task(*PHOTOS[:2])
            patient.faults.arm(nth, failing)
            assert patient.http.post(f"/api/v1/tasks/{task}/start", auth=PASSWORD).status_code == 202
            check_complete(wait_for(lambda task=task: ended(patient, task), 30, "the end"), PHOTOS[:2])
            fired = patient.faults.fired
            patient.faults.disarm()
            assert examined(patient.app) == []
            if not fired:
                return
        pytest.fail("saving two results makes a hundred calls")
    finally:
        executor.stop()


def ended(patient: Patient, task: str) -> Any:
    shown = patient.http.get(f"/api/v1/tasks/{task}", auth=PASSWORD).json
    return shown if shown["status"] in ("completed", "error") else None


# Full disks


def test_a_database_without_room_is_told_as_such_and_goes_on_when_there_is_some(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    with closing(sqlite3.connect(tmp_path / "service.db")) as database:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
    full = True

    def limit(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages if full else 10**6}")

    sa.event.listen(sa.pool.Pool, "checkout", limit)
    try:
        with application(tmp_path) as app:
            here = Patient(tmp_path, app, app.test_client(), Faults())
            answers = [create(here)() for _ in range(200)]
            codes = [answer.status_code for answer in answers]
            stored = codes.count(201)
            assert set(codes) == {201, 507}
            assert "disk is full" in answers[-1].json["detail"]
            assert inconsistencies(tmp_path) == []
            full = False
            assert create(here)().status_code == 201
            with closing(sqlite3.connect(tmp_path / "service.db")) as database:
                assert database.execute("SELECT count(*) FROM task").fetchone() == (stored + 1,)
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", limit)


def small_disk(folder: Path) -> bool:
    """Mount a disk of two megabytes, where that is allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    return (
        shutil.which("mount") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte of a disk."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(1024))
    return disk / "ballast"


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if allowed := small_disk(Path(folder)):
            unmount(Path(folder))
        return allowed


if can_mount():  # Where it is not allowed, what stands above tests the same, without a disk of its own.

    @pytest.fixture
    def on_small_disk(make_service: MakeService, emulator: EmulatorServer) -> Iterator[Callable[[str], Service]]:
        """Give a function that makes a service whose files or whose database are on a small disk."""
        disks: list[Path] = []
        services: list[Service] = []

        def make(what: str) -> Service:
            service = make_service(**facecloud(emulator))
            disks.append(service.folder / ("files" if what == "store" else "disk"))
            assert small_disk(disks[0])
            if what == "database":
                shutil.move(service.folder / "service.db", disks[0] / "service.db")
                (service.folder / "service.db").symlink_to(disks[0] / "service.db")
            services.append(service)
            return service

        yield make
        for service in services:
            service.kill()
        for disk in disks:
            unmount(disk)

    def test_a_full_store_is_told_as_such_and_goes_on_when_there_is_room(
        on_small_disk: Callable[[str], Service],
    ) -> None:
        service = on_small_disk("store")
        client = service.start()
        task = client.task(photo(1))
        before = service.left_files()
        ballast = fill(service.files)
        for images in ([photo(2)], [photo(3), photo(4)]):
            answer = client.post(
                f"/api/v1/tasks/{task}/images", files=[("image", ("a.jpg", image)) for image in images]
            )
            assert (answer.status_code, answer.headers["Content-Type"]) == (507, "application/problem+json")
        ballast.unlink()
        assert service.left_files() == before
        assert client.post(f"/api/v1/tasks/{task}/images", files={"image": photo(2)}).status_code == 201
        assert client.start(task).status_code == 202
        check_complete(client.ended(task), [photo(1), photo(2)])
        assert service.inconsistencies() == []

    def test_a_disk_that_fills_up_under_the_database_holds_the_work_up_and_loses_none(
        on_small_disk: Callable[[str], Service], emulator: EmulatorServer
    ) -> None:
        emulator.emulator.latency = 0.2
        service = on_small_disk("database")
        client = service.start()
        images = [photo(number) for number in range(48)]
        task = client.task(*images)
        assert client.start(task).status_code == 202
        ballast = fill(service.folder / "disk")
        # What room the log of the database has already, it may still use.
        wait_for(lambda: client.post("/api/v1/tasks").status_code == 507, 30, "an answer that the disk is full")
        answer = client.post("/api/v1/tasks")
        assert (answer.status_code, answer.headers["Content-Type"]) == (507, "application/problem+json")
        assert client.show(task)["status"] == "processing"
        ballast.unlink()
        check_complete(client.ended(task, 30), images)
        assert sum(emulator.emulator.counters()["images"].values()) == len(images)
        assert client.post("/api/v1/tasks").status_code == 201
        assert service.inconsistencies() == []

    def test_a_deletion_succeeds_on_a_full_disk(on_small_disk: Callable[[str], Service]) -> None:
        service = on_small_disk("database")
        client = service.start()
        task = client.task(*(photo(number) for number in range(50)))
        fill(service.folder / "disk")
        # What room the log of the database has already, it may still use.
        wait_for(lambda: {client.post("/api/v1/tasks").status_code for _ in range(9)} == {507}, 30, "a full disk")
        assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
        assert "takes what was kept free" in service.log.read_text()


# A database that is moved away


@pytest.mark.parametrize("left", ["nothing", "a copy"])
def test_a_database_that_is_moved_away_under_the_service_is_told_and_takes_no_writes_that_would_be_lost(
    make_service: MakeService, tmp_path: Path, migrated: Path, left: str
) -> None:
    path = Path(shutil.copy(migrated, tmp_path / "service.db"))
    service = make_service(DATABASE_URL=f"sqlite:///{path}", FACE_ENGINE="local")
    client = service.start()
    task = client.task(photo(1))
    files = service.left_files()
    away = path.rename(tmp_path / "away.db")
    if left == "a copy":
        shutil.copy(away, path)
    for _ in range(4):  # by either process
        # For a second either process gives its last verdict again.
        wait_for(lambda: requests.get(f"{client.url}/readyz", timeout=10).status_code == 503, 10, "not ready")
        assert requests.get(f"{client.url}/healthz", timeout=10).status_code == 200
        for answer in (
            client.post("/api/v1/tasks"),
            client.post(f"/api/v1/tasks/{task}/images", files={"image": photo(2)}),
            client.delete(f"/api/v1/tasks/{task}"),
        ):
            assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
            assert "moved away" in answer.json()["detail"]
    assert service.left_files() == files
    assert path.exists() == (left == "a copy"), "no empty database was made in its place"
    away.rename(path)
    wait_for(lambda: requests.get(f"{client.url}/readyz", timeout=10).status_code == 200, 10, "ready again")
    assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    assert "request failed" not in service.log.read_text()


# A locked database


@contextmanager
def locked(service: Service) -> Iterator[None]:
    """Hold the place of the one who writes, as a copying program might."""
    with closing(sqlite3.connect(service.folder / "service.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_database_is_waited_for_and_then_answered_with_503(shared_service: Service, client: Client) -> None:
    with ThreadPoolExecutor(1) as pool, locked(shared_service):
        waiting = pool.submit(client.post, "/api/v1/tasks")
        assert client.get("/api/v1/tasks").status_code == 200, "readers wait for nobody"
        with pytest.raises(TimeoutError):
            waiting.result(1)
    assert waiting.result().status_code == 201
    with locked(shared_service):
        begin = time.monotonic()
        answer = client.post("/api/v1/tasks")
        assert 10 <= time.monotonic() - begin < 30
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert client.post("/api/v1/tasks").status_code == 201
