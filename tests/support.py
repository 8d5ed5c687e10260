"""What the tests stand on: a real service in its own processes, photos, and waiting with a deadline."""

import hashlib
import io
import itertools
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import requests
from flask import Flask
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from devtools.facecloud_emulator.faces import derived
from service.app import create_app
from service.cli.database import newest_revision
from service.config import Settings
from service.db.database import Database
from service.features.faces.engines.engine import Detection
from service.http.services import provided
from service.maintenance.doctor import examine
from service.storage.spools import SpoolFolder
from tests.clock import Clock
from tests.fork_server import ROOT, Program, fork_server

T = TypeVar("T")

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is turned to be stored under each EXIF orientation."""
BIN = Path(sys.executable).parent
SPOOLS = SpoolFolder(Path(tempfile.gettempdir()), 100_000_000)
"""Where pictures go that are made without a service."""


def wait_for(condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Return the condition's first true value; fail after the deadline."""
    pauses = _pauses(seconds)
    while not (value := condition()):
        assert next(pauses, False), f"not within {seconds} s: {what or condition}"
    return value


def wait_until_equal(seen: Callable[[], T], expected: T, seconds: float = 60.0) -> None:
    """Wait until what is seen equals what is expected; say after the deadline what was seen last."""
    pauses = _pauses(seconds)
    while (last := seen()) != expected and next(pauses, False):
        pass
    assert last == expected, f"not within {seconds} s"


def _pauses(seconds: float) -> Iterator[bool]:
    """Pause for longer and longer, until the deadline: who asks often takes the time of those who are waited for."""
    deadline = time.monotonic() + seconds
    for tries in itertools.count():
        if time.monotonic() >= deadline:
            return
        time.sleep(min(0.01 * 1.2**tries, 0.05))
        yield True


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder, in order. Folders may be removed meanwhile, at which `Path.rglob` fails."""
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def photo(number: int, size: tuple[int, int] = (64, 48), form: str = "JPEG", **options: Any) -> bytes:
    """Return a small picture, another one for each number."""
    picture = Image.frombytes("RGB", (8, 6), random.Random(number).randbytes(8 * 6 * 3)).resize(size)
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def silence(seconds: float = 1.0) -> bytes:
    """Return a WAV of one channel of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(bytes(2 * round(16_000 * seconds)))
    return file.getvalue()


def faces_of(image: bytes) -> list[Detection]:
    """Return what the emulator makes up for a JPEG that is sent as it is."""
    return derived(hashlib.sha256(image).hexdigest())


def _ports() -> Iterator[int]:
    """Give ports of this test process's own, below those that the kernel gives to whoever connects."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    first, many = 10_000 + 1_000 * number, 1_000
    for offset in itertools.count(random.SystemRandom().randrange(many)):
        yield first + offset % many


_port = _ports()


def free_port() -> int:
    """Return a port that nobody listens on now, and that is given to no other test soon."""
    for port in _port:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always a next port")


def run_program(
    program: str, *arguments: object, given: str = "", root: Path = ROOT, seconds: float = 180, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment to its end, with the code that is there and these settings alone."""
    command = [str(BIN / program), *map(str, arguments)]
    environment = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in settings.items()}}
    return fork_server(program, root).run(command, root, environment, given, seconds)


def flask(database_url: object, *arguments: str, root: Path = ROOT) -> None:
    """Run a `flask …` command on a database, with the code that is there; raise what it says if it fails."""
    ended = run_program("flask", *arguments, root=root, API_PASSWORD="unused", DATABASE_URL=database_url)
    assert ended.returncode == 0, ended.stderr


@contextmanager
def application(folder: Path, database_url: object = None) -> Iterator[Flask]:
    """Give the application on a service's folder, without a server, with the folder of files that a start makes."""
    (folder / "files").mkdir(exist_ok=True)
    settings = Settings(
        api_password="unused",
        secret_key="unused",  # or one is made from the password, slowly
        database_url=str(database_url or f"sqlite:///{folder}/service.db"),
        storage_url=str(folder / "files"),
    )
    app = create_app(settings)
    try:
        yield app
    finally:
        provided(Database, app).close()


def inconsistencies(folder: Path, database_url: object = None) -> list[str]:
    """Return what `flask doctor` finds in a service's folder when all is quiet: then no file is too young."""
    with application(folder, database_url) as app:
        return examined(app)


def examined(app: Flask) -> list[str]:
    """Return what `flask doctor` finds for this application when all is quiet."""
    return list(examine(app, newest_revision(), orphan_age=0))


class Client(requests.Session):
    """A client with the service's address and credentials."""

    def __init__(self, url: str, password: str) -> None:
        super().__init__()
        self.url = url
        self.auth = ("admin", password)
        self.trust_env = False
        # A server process that dies resets its connections; a client that only reads tries again.
        self.mount("http://", HTTPAdapter(max_retries=Retry(5, backoff_factor=0.05, allowed_methods=["GET"])))

    def request(self, method: str, path: str, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send a request to a path of the service."""
        options.setdefault("timeout", 60)
        return super().request(method, self.url + path if path.startswith("/") else path, *args, **options)

    def task(self, *images: bytes, **members: Any) -> str:
        """Create a task with these images and return its id."""
        answer = self.post("/api/v1/tasks", json=members)
        assert answer.status_code == 201, answer.text
        task: str = answer.json()["id"]
        for begin in range(0, len(images), 100):
            parts = [
                ("image", (f"{begin + number}.jpg", image)) for number, image in enumerate(images[begin : begin + 100])
            ]
            assert self.post(f"/api/v1/tasks/{task}/images", files=parts).status_code == 201
        return task

    def start(self, task: str) -> requests.Response:
        """Ask for the start of a task."""
        return self.post(f"/api/v1/tasks/{task}/start")

    def show(self, task: str, *, images: bool = True) -> dict[str, Any]:
        """Return a task; without its images it costs the service much less, for who asks often."""
        answer = self.get(f"/api/v1/tasks/{task}", params={} if images else {"images": "false"})
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def ended(self, task: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a task has ended, and return it."""

        def end() -> dict[str, Any] | None:
            # A process that dies in the middle of an answer cuts it off, which no adapter tries again.
            with suppress(requests.exceptions.ChunkedEncodingError):
                if self.show(task, images=False)["status"] in ("completed", "error"):
                    return self.show(task)
            return None

        shown: dict[str, Any] = wait_for(end, seconds, f"the end of task {task}")
        return shown

    def run(self, *images: bytes, seconds: float = 60.0) -> dict[str, Any]:
        """Create and start a task with these images, wait for its end, and return it."""
        task = self.task(*images)
        assert self.start(task).status_code == 202
        return self.ended(task, seconds)


def is_running(group: int) -> bool:
    """Whether a process of a group runs. One that ended does not, though nobody has asked for its status yet."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has gone meanwhile
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def once(client: Client, path: str) -> requests.Response:
    """GET without the client's patience, which waits as `Retry-After` says and comes again."""
    return requests.get(client.url + path, auth=client.auth, timeout=60)  # type: ignore[arg-type]


def refused(client: Client, path: str) -> requests.Response:
    """Wait for a 503 and return it: for a second a process gives its last verdict again."""

    def ask() -> list[requests.Response]:
        answer = once(client, path)
        return [answer] if answer.status_code == 503 else []

    (answer,) = wait_for(ask, 10, f"{path} refused")
    return cast(requests.Response, answer)


class Service:
    """A service of its own: gunicorn with its processes, a folder, a free port. Made from a migrated database.

    `root` is where its code is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        celery_workers: int = 0,
        clock: Clock | None = None,
        root: Path = ROOT,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.root = root
        self.clock = clock
        self.celery_workers = celery_workers
        self.files = folder / "files"
        self.password = secrets.token_urlsafe(12)
        self.log = folder / "log"
        self.settings = {
            "API_PASSWORD": self.password,
            "DATABASE_URL": f"sqlite:///{folder}/service.db",
            "STORAGE_URL": self.files,
            "PORT": free_port(),
            "METRICS_FOLDER": folder / "metrics",
            **settings,
        }
        self.process: Program | None = None
        self.work: list[Program] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['PORT']}"

    def client(self) -> Client:
        """Return a new client."""
        return Client(self.url, str(self.settings["API_PASSWORD"]))

    @property
    def environment(self) -> dict[str, str]:
        """What its programs run with: every setting, if as empty, so that a developer's own .env does not reach in."""
        defaults = dict.fromkeys((name.upper() for name in Settings.model_fields), "")
        defaults["WEB_CONCURRENCY"] = "2"  # gunicorn reads it too, and wants a number
        given = {name: str(value) for name, value in self.settings.items()}
        return {"PATH": os.environ["PATH"], **defaults, **given}

    def _popen(self, program: str, *arguments: object) -> Program:
        command = [str(BIN / program), *map(str, arguments)]
        with self.log.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            server = fork_server(program, self.root, clocked=bool(self.clock))
            files = {"given": nothing, "output": log, "errors": log}
            clock = self.clock.path if self.clock else None
            return server.start(command, self.root, self.environment, **files, clock=clock)

    def start_work(self, *pool: object) -> Program:
        """Start a process that works on jobs without serving, as EXECUTOR says; it ends with `kill`."""
        if self.settings.get("EXECUTOR") != "celery":
            self.work.append(self._popen("flask", "jobs", "work"))
        else:
            quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--hostname", f"{uuid4()}@test"]
            work = self._popen("celery", "-A", "wsgi.celery", "worker", *quiet, *(pool or ["--pool", "threads"]))
            self.work.append(work)
        return self.work[-1]

    def start(self) -> Client:
        """Start the server and wait until it is ready."""
        self.process = self._popen("gunicorn")
        try:
            return self._ready()
        except BaseException:
            self.kill()
            raise

    def _ready(self) -> Client:
        client = self.client()

        def ready() -> bool:
            assert self.process
            assert self.process.poll() is None, self.log.read_text()
            try:
                return once(client, "/readyz").status_code == 200
            except requests.ConnectionError:
                return False

        wait_for(ready, 60, "the start of the service")
        # The first process may be ready before the others are there.
        wait_for(lambda: len(self.workers()) == int(str(self.settings.get("WEB_CONCURRENCY", 2))), 30, "all processes")
        if self.celery_workers:
            self.begin_work(self.celery_workers)
        return client

    def begin_work(self, number: int, *pool: object) -> list[Program]:
        """Start so many processes that work, and wait until they do."""

        def beginnings() -> int:
            return self.log.read_text().count("working on jobs")

        before = beginnings()
        processes = [self.start_work(*pool) for _ in range(number)]
        wait_for(lambda: beginnings() >= before + number, 60, "the processes that work")
        return processes

    def workers(self) -> list[int]:
        """Return the ids of the server's worker processes."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """End the whole server at once, as a power cut would."""
        for process in self.work:
            process.kill()
            process.wait(10)
        if self.process and self.process.poll() is None:
            group = self.process.pid
            os.killpg(group, signal.SIGKILL)
            self.process.wait(10)
            wait_for(lambda: not is_running(group), 10, "the end of the workers")

    def stop(self, seconds: float = 25) -> None:
        """End the server in order."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(seconds)

    def inconsistencies(self) -> list[str]:
        """Return what `flask doctor` finds."""
        return inconsistencies(self.folder, self.settings["DATABASE_URL"])

    def left_files(self) -> list[str]:
        """Return the names of all stored files, in order of their paths."""
        return [path.name for path in files_below(self.files) if path.name != ".lock"]
