"""Fixtures: a migrated database made once, services and the emulator of FaceCloud."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.faces.emulator import Emulator
from service.faces.emulator_server import EmulatorServer
from tests.object_store import ObjectStore
from tests.support import Client, Service, flask

MakeService = Callable[..., Service]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database file with all tables and no row."""
    path = tmp_path_factory.mktemp("migrated") / "service.db"
    flask(f"sqlite:///{path}", "database", "upgrade")
    return path


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
def make_service(tmp_path: Path, migrated: Path) -> Iterator[MakeService]:
    """Give a function that makes services; all are ended after the test."""
    made: list[Service] = []

    def make(**settings: object) -> Service:
        folder = tmp_path / f"service-{len(made)}"
        folder.mkdir()
        shutil.copy(migrated, folder / "service.db")
        made.append(Service(folder, **settings))
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
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, shared_emulator: EmulatorServer
) -> Iterator[Service]:
    """Give one running service to all tests of a module."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, **facecloud(shared_emulator, MAX_IMAGES_PER_TASK=200, MAX_IMAGE_BYTES=200_000))
    service.start()
    yield service
    service.kill()


@pytest.fixture
def client(shared_service: Service, shared_emulator: EmulatorServer) -> Client:
    """Give a client of the shared service; its FaceCloud has forgotten what tests before told it."""
    emulator = shared_emulator.emulator
    emulator.script.set([])
    emulator.faces, emulator.faces_of, emulator.latency = None, {}, 0.0
    emulator.forget()
    return shared_service.client()
