"""Fixtures: a migrated database made once, services and the emulator of FaceCloud."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.server import EmulatorServer
from tests.browser import Visit, chromium, visiting
from tests.object_store import ObjectStore
from tests.postgresql import PostgreSQLServer
from tests.redis import RedisServer
from tests.support import Client, Service, flask

MakeService = Callable[..., Service]

DATABASE = os.environ.get("TEST_DATABASE", "sqlite")
"""Where the tests run that do not run on both; `TEST_DATABASE=postgresql make chaos`, for example."""
DATABASES = ["sqlite", "postgresql"]
on_both_databases = pytest.mark.parametrize("new_database", DATABASES, indirect=True)
"""Runs a test, or a module by `pytestmark`, on SQLite and on PostgreSQL; without it, on `DATABASE`."""

FULL_MATRIX = bool(os.environ.get("FULL_MATRIX"))
"""Whether long tests run in all their cases, as in `make chaos`; otherwise in the few that they name."""

EXECUTOR = os.environ.get("TEST_EXECUTOR", "threads")
"""Who works in the tests that do not run with both."""
EXECUTORS = ["threads", "celery"]
with_both_executors = pytest.mark.parametrize("executor", EXECUTORS, indirect=True)
"""Runs a test, or a module, with threads and with Celery."""
in_the_matrix = pytest.mark.parametrize(
    ("new_database", "executor"),
    list(itertools.product(DATABASES, EXECUTORS) if FULL_MATRIX else zip(DATABASES, EXECUTORS, strict=True)),
    indirect=True,
)
"""Runs a module on each database and with each executor, and in the full matrix with each on each."""


def on_database(name: str) -> pytest.MarkDecorator:
    """Run a long test on this database, and in the full matrix on both."""
    return pytest.mark.parametrize("new_database", DATABASES if FULL_MATRIX else [name], indirect=True)


def with_executor(name: str) -> pytest.MarkDecorator:
    """Run a long test with this executor, and in the full matrix with both."""
    return pytest.mark.parametrize("executor", EXECUTORS if FULL_MATRIX else [name], indirect=True)


SERVERS = frozenset(
    ("migrated", "new_database", "make_service", "headcount", "postgresql", "redis", "object_store", "browser", "copy")
)
"""Fixtures of what a server, a browser or a broker stands on."""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that need a server, a browser or a broker, which `make test-fast` leaves out."""
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if SERVERS.intersection(item.fixturenames) or "postgresql" in parameters:
            item.add_marker("server")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database file with all tables and no row."""
    path = tmp_path_factory.mktemp("migrated") / "service.db"
    flask(f"sqlite:///{path}", "database", "upgrade")
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """Give a running PostgreSQL server; it starts with the first test that wants one."""
    server = PostgreSQLServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def new_database(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """Give a function that makes a database with all tables, in a folder where it is a file; returns the address."""
    if getattr(request, "param", DATABASE) == "postgresql":
        server: PostgreSQLServer = request.getfixturevalue("postgresql")
        return lambda folder: server.new_database()
    migrated: Path = request.getfixturevalue("migrated")
    return lambda folder: f"sqlite:///{shutil.copy(migrated, folder / 'service.db')}"


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """Give a running Redis server to all tests; each takes a database of its own."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def executor(request: pytest.FixtureRequest) -> dict[str, object]:
    """Give the settings of an executor: the threads of the server, or a Celery worker beside it."""
    if getattr(request, "param", EXECUTOR) == "threads":
        return {}
    redis: RedisServer = request.getfixturevalue("redis")
    return {"EXECUTOR": "celery", "BROKER_URL": redis.new_url(), "celery_workers": 1}


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """Give a real S3 server to all tests; a test makes buckets of its own."""
    with ObjectStore() as store:
        yield store


@pytest.fixture
def emulator() -> Iterator[EmulatorServer]:
    """Give an emulator of FaceCloud that makes faces up."""
    with EmulatorServer(Emulator(decode=False)) as server:
        yield server


@pytest.fixture
def make_service(
    tmp_path: Path, new_database: Callable[[Path], str], executor: dict[str, object]
) -> Iterator[MakeService]:
    """Give a function that makes services; all are ended after the test."""
    made: list[Service] = []

    def make(**settings: object) -> Service:
        folder = tmp_path / f"service-{len(made)}"
        folder.mkdir()
        made.append(Service(folder, **{"DATABASE_URL": new_database(folder), **executor, **settings}))
        return made[-1]

    yield make
    for service in made:
        service.kill()


def facecloud(emulator: EmulatorServer, **settings: object) -> dict[str, object]:
    """Return the settings that point a service at the emulator."""
    account = {"FACECLOUD_EMAIL": "developer@example.com", "FACECLOUD_PASSWORD": "any"}
    return {"FACECLOUD_URL": emulator.url, **account, **settings}


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[EmulatorServer]:
    """Give one emulator to all tests of a module, behind `shared_service`."""
    with EmulatorServer(Emulator(decode=False)) as server:
        yield server


@pytest.fixture(scope="module")
def shared_service(
    tmp_path_factory: pytest.TempPathFactory,
    new_database: Callable[[Path], str],
    shared_emulator: EmulatorServer,
    executor: dict[str, object],
) -> Iterator[Service]:
    """Give one running service to all tests of a module."""
    folder = tmp_path_factory.mktemp("shared")
    limits = {"MAX_IMAGES_PER_TASK": 200, "MAX_IMAGE_BYTES": 200_000}
    service = Service(folder, DATABASE_URL=new_database(folder), **facecloud(shared_emulator, **limits), **executor)
    service.start()
    yield service
    service.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give the browser of this machine to all tests of a module."""
    with chromium() as started:
        yield started


@pytest.fixture
def window() -> dict[str, Any]:
    """Return what the window of `visit` is like; a module may have its own."""
    return {"viewport": {"width": 1280, "height": 860}}


@pytest.fixture
def visit(browser: Browser, shared_service: Service, client: Client, window: dict[str, Any]) -> Iterator[Visit]:
    """Give somebody who knows the password, at a window on the shared service."""
    with visiting(browser, shared_service, **window) as visit:
        yield visit


@pytest.fixture
def client(shared_service: Service, shared_emulator: EmulatorServer) -> Client:
    """Give a client of the shared service; its FaceCloud has forgotten what tests before told it."""
    emulator = shared_emulator.emulator
    emulator.script.set([])
    emulator.faces, emulator.faces_of, emulator.latency = None, {}, 0.0
    emulator.forget()
    return shared_service.client()
