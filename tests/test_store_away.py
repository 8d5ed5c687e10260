"""The folder of files, gone or replaced or read-only under a running service: what clients are told, and what waits."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, once, photo, silence, wait_for, wait_until_equal
from tests.test_processes import check_complete

PHOTOS = [photo(number) for number in range(6)]


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """Move the folder away."""
    away = folder.rename(folder.with_name("away"))
    yield
    away.rename(folder)


@contextmanager
def replaced(folder: Path) -> Iterator[None]:
    """Put a file in the folder's place."""
    with gone(folder):
        folder.write_bytes(b"")
        yield
        folder.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount the folder over itself so that nothing can be written, where mounting is allowed."""
    if shutil.which("mount") is None or _run("mount", "--bind", folder, folder):
        pytest.skip("mounting a folder needs root")
    try:
        assert _run("mount", "-o", "remount,ro,bind", folder) == 0
        yield
    finally:
        assert _run("umount", "-l", folder) == 0


def _run(*command: object) -> int:
    return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode


AWAY = {"gone": gone, "replaced by a file": replaced, "read-only": read_only}
Away = Callable[[Path], Any]
in_every_way = pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, shared_emulator: EmulatorServer
) -> Iterator[tuple[Service, Client]]:
    folder = tmp_path_factory.mktemp("store-away")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, **facecloud(shared_emulator))
    yield service, service.start()
    service.kill()


def check_away(answer: requests.Response, service: Service) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert "folder of files" in answer.json()["detail"]
    assert str(service.folder) not in answer.text


@in_every_way
def test_while_the_folder_cannot_be_used_requests_are_503_and_jobs_wait(
    stage: tuple[Service, Client], away: Away
) -> None:
    service, client = stage
    task, forming = client.task(*PHOTOS), client.task(PHOTOS[0])
    user = client.post("/users", json={"name": "x"}).json()
    before = sorted(service.left_files())
    content = f"/api/v1/tasks/{forming}/images/{client.show(forming)['images'][0]['id']}/content"
    reads = away is read_only
    with away(service.files):
        wait_for(lambda: once(client, "/readyz").status_code == 503, what="that it is not ready")
        for number in (1, 3):
            parts = [("image", ("a.jpg", image)) for image in PHOTOS[:number]]
            check_away(client.post(f"/api/v1/tasks/{forming}/images", files=parts), service)
        check_away(client.post("/api/files/", files={"file": ("a.jpg", PHOTOS[0])}), service)
        owner = {"owner_type": "product", "owner_id": "1"}
        check_away(client.post("/images", data=owner, files={"image": ("a.jpg", PHOTOS[0])}), service)
        form = {"user": user["id"], "token": user["token"]}
        check_away(client.post("/records", data=form, files={"audio": ("a.wav", silence(0.1))}), service)
        if reads:
            assert once(client, content).content == PHOTOS[0]
            assert once(client, content.replace("content", "thumbnail")).status_code == 200
        else:
            check_away(once(client, content), service)
            check_away(once(client, content.replace("content", "thumbnail")), service)
        assert client.start(task).status_code == 202
        if not reads:
            told = wait_for(lambda: [i for i in client.show(task)["images"] if i["error"]], what="an image that tells")
            assert {(image["status"], image["error"]["code"]) for image in told} == {
                ("pending", "upstream_unavailable")
            }
            assert "folder of files" in told[0]["error"]["detail"]
    check_complete(client.ended(task), PHOTOS)
    assert client.get("/readyz").status_code == 200
    wait_until_equal(lambda: sorted(service.left_files()), before)
    assert len(client.show(forming)["images"]) == 1
    assert service.inconsistencies() == []
    assert "request failed" not in service.log.read_text()


@in_every_way
def test_a_deletion_while_the_folder_cannot_be_used_is_done_and_its_files_go_when_it_can(
    stage: tuple[Service, Client], away: Away
) -> None:
    service, client = stage
    before = sorted(service.left_files())
    task, forming = client.task(*PHOTOS), client.task(PHOTOS[0])
    image = f"/api/v1/tasks/{forming}/images/{client.show(forming)['images'][0]['id']}"
    (file,) = client.post("/api/files/", files={"file": ("a.jpg", PHOTOS[0])}).json()["file_ids"]
    owner = {"owner_type": "product", "owner_id": "1"}
    owned = [client.post("/images", data=owner, files={"image": ("a.jpg", PHOTOS[0])}).json()["id"] for _ in range(2)]
    for shown in owned:
        wait_for(lambda shown=shown: client.get(f"/images/{shown}").json()["status"] == "done", what="its renditions")
    paths = [f"/api/v1/tasks/{task}", image, f"/api/files/{file}", f"/images/{owned[0]}"]
    stored = len(service.left_files())
    with away(service.files):
        for path in paths:
            assert client.delete(path).status_code == 204
            assert once(client, path).status_code in (404, 405)
            assert client.delete(path).status_code == 404
        assert client.delete("/images", params=owner).status_code == 204
        assert away is not read_only or len(service.left_files()) == stored
    assert "files of deleted rows could not be removed; a job will" in service.log.read_text()
    wait_until_equal(lambda: sorted(service.left_files()), before, 30)
    assert service.inconsistencies() == []
    assert client.delete(f"/api/v1/tasks/{forming}").status_code == 204


def test_what_no_job_knows_of_goes_with_the_next_start(make_service: MakeService, emulator: EmulatorServer) -> None:
    service = make_service(**facecloud(emulator, WEB_WORKS="false"))
    client = service.start()
    task = client.task(*PHOTOS)
    with gone(service.files):
        assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    assert len(service.left_files()) == len(PHOTOS)
    service.kill()
    service.start()
    wait_until_equal(service.left_files, [], 30)
