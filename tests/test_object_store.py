"""Files on S3, through the whole service and against a real S3 server, on its bad days too."""

import http.server
import io
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from devtools.facecloud_emulator.server import EmulatorServer
from service.errors import NoRoom, Unavailable
from service.storage.s3 import PART, S3Storage
from service.storage.s3_client import S3Access
from service.storage.signed_urls import Download
from tests.conftest import MakeService, facecloud
from tests.fault_proxy import FaultProxy
from tests.object_store import ObjectStore
from tests.support import Client, Service, free_port, once, photo, refused, run_program, wait_for
from tests.test_processes import check_complete, done


def storage_at(store: ObjectStore, url: str, bucket: str, **more: Any) -> S3Storage:
    key, secret = store.keys["app"]
    return S3Storage(bucket, "media", S3Access(endpoint=url, key_id=key, secret=secret, **more))


@dataclass
class Place:
    """A running service, its bucket, and the emulator that it asks for faces."""

    service: Service
    client: Client
    store: ObjectStore
    bucket: str
    emulator: EmulatorServer

    def keys(self) -> list[str]:
        return self.store.keys_of(self.bucket)


@pytest.fixture(scope="module")
def shared_place(
    object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, migrated: Any, shared_emulator: EmulatorServer
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("on-s3")
    (folder / "service.db").write_bytes(migrated.read_bytes())
    bucket = object_store.bucket()
    service = Service(folder, **facecloud(shared_emulator, **object_store.settings(bucket)))
    yield Place(service, service.start(), object_store, bucket, shared_emulator)
    service.kill()


@pytest.fixture
def place(shared_place: Place) -> Place:
    shared_place.emulator.emulator.forget()
    return shared_place


def test_a_task_runs_on_s3_and_its_deletion_leaves_no_key(place: Place) -> None:
    client, images = place.client, [photo(number) for number in range(60)]
    shown = client.run(*images)
    check_complete(shown, images)
    assert sorted(place.keys()) == sorted(f"media/tasks/{shown['id']}/{image['id']}" for image in shown["images"])
    content = f"/api/v1/tasks/{shown['id']}/images/{shown['images'][7]['id']}/content"
    whole = client.get(content)
    assert (whole.status_code, whole.content, whole.headers["Content-Type"]) == (200, images[7], "image/jpeg")
    part = client.get(content, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, images[7][100:200])
    assert client.get(content, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert client.delete(f"/api/v1/tasks/{shown['id']}").status_code == 204
    assert place.keys() == []
    assert client.get(content).status_code == 404


def test_an_upload_that_is_refused_leaves_no_key(place: Place) -> None:
    task = place.client.task()
    parts = [("image", (f"{number}.jpg", photo(number))) for number in range(20)] + [("image", ("bad.jpg", b"no"))]
    answer = place.client.post(f"/api/v1/tasks/{task}/images", files=parts)
    assert (answer.status_code, "bad.jpg" in answer.json()["detail"]) == (415, True)
    assert place.keys() == []


def test_the_bucket_is_closed_to_everybody_without_a_signature(place: Place) -> None:
    task = place.client.task(photo(1))
    (key,) = place.keys()
    for path in (f"/{place.bucket}/{key}", f"/{place.bucket}", f"/{place.bucket}?list-type=2"):
        assert requests.get(place.store.url + path, timeout=10).status_code == 403
    assert requests.put(f"{place.store.url}/{place.bucket}/{key}", b"x", timeout=10).status_code == 403
    place.client.delete(f"/api/v1/tasks/{task}")


def test_a_presigned_address_gives_one_file_with_its_name_and_type_until_it_ends(object_store: ObjectStore) -> None:
    bucket = object_store.bucket()
    public = f"http://localhost:{object_store.port}"
    # The endpoint that the service itself uses is not asked: signing is computed.
    storage = storage_at(object_store, f"http://127.0.0.1:{free_port()}", bucket, public_endpoint=public)
    storage_at(object_store, object_store.url, bucket).save("tasks/a", io.BytesIO(b"content"))
    url = storage.url("tasks/a", 2, Download("Grüße.jpg", "image/jpeg", inline=True))
    answer = requests.get(url, timeout=10)
    assert url.startswith(f"{public}/{bucket}/media/tasks/a?")
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (200, b"content", "image/jpeg")
    assert answer.headers["Content-Disposition"].startswith("inline; filename=")
    assert "filename*=UTF-8''Gr%C3%BC%C3%9Fe.jpg" in answer.headers["Content-Disposition"]
    assert requests.get(url.replace("tasks/a", "tasks/b"), timeout=10).status_code == 403
    elsewhere = url.replace("//localhost", "//127.0.0.1")
    assert requests.get(elsewhere, timeout=10).status_code == 403  # the host is signed too
    assert requests.delete(url, timeout=10).status_code == 403
    wait_for(lambda: requests.get(url, timeout=10).status_code == 403, 10, "the end of the address")


def test_by_setting_a_file_is_given_out_by_its_presigned_address(
    place: Place, make_service: MakeService, emulator: EmulatorServer
) -> None:
    public = f"http://localhost:{place.store.port}"
    where = place.store.settings(place.bucket, CONTENT_DELIVERY="redirect", S3_PUBLIC_ENDPOINT_URL=public)
    client = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, **where)).start()
    task = client.task(photo(1))
    content = f"/api/v1/tasks/{task}/images/{client.show(task)['images'][0]['id']}/content"
    answer = client.get(content, allow_redirects=False)
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["Location"].startswith(public)
    assert "private" in answer.headers["Cache-Control"]
    fetched = requests.get(answer.headers["Location"], timeout=10)
    assert (fetched.status_code, fetched.content, fetched.headers["Content-Type"]) == (200, photo(1), "image/jpeg")
    assert client.head(content, allow_redirects=False).status_code == 200
    assert requests.get(client.url + content, allow_redirects=False, timeout=10).status_code == 401
    assert client.get(content.replace(task, "none"), allow_redirects=False).status_code == 404
    client.delete(f"/api/v1/tasks/{task}")


def test_while_the_store_is_away_requests_are_503_in_time_and_jobs_wait_without_failing(
    object_store: ObjectStore, make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.1
    with FaultProxy(object_store.port) as proxy:
        where = object_store.settings(object_store.bucket(), S3_ENDPOINT_URL=proxy.url, S3_TIMEOUT=4)
        service = make_service(**facecloud(emulator, WORKERS=4, **where))
        client, images = service.start(), [photo(number) for number in range(100)]
        task, forming = client.task(*images), client.task()
        content = f"/api/v1/tasks/{task}/images/{client.show(task)['images'][0]['id']}/content"
        client.start(task)
        for mode, least in (("hang", 8), ("reset", 40)):
            wait_for(lambda least=least: done(client, task) >= least, what=f"{least} images done")
            proxy.mode = mode
            begin = time.monotonic()
            parts = [("image", ("a", image)) for image in images]
            upload = client.post(f"/api/v1/tasks/{forming}/images", files=parts)
            answers = [upload, once(client, content), refused(client, "/readyz")]
            assert time.monotonic() - begin < 30
            assert [answer.status_code for answer in answers] == [503, 503, 503]
            assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in answers)
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
            assert answers[2].json()["missing"] == ["storage"]
            assert client.get("/healthz").status_code == 200
            told = wait_for(lambda: [i for i in client.show(task)["images"] if i["error"]], what="an image that tells")
            assert {(image["status"], image["error"]["code"]) for image in told} == {
                ("pending", "upstream_unavailable")
            }
            assert "store" in told[0]["error"]["detail"]
            proxy.mode = "ok"
        check_complete(client.ended(task, 60), images)
        wait_for(lambda: once(client, "/readyz").status_code == 200, what="ready again")
        assert client.show(forming)["images"] == []
        key, secret = object_store.keys["app"]
        log = service.log.read_text()
    assert "object store" in log
    assert secret not in log
    assert key not in log


def test_a_deletion_while_the_store_is_away_is_done_and_its_keys_go_when_it_is_back(
    object_store: ObjectStore, make_service: MakeService, emulator: EmulatorServer
) -> None:
    bucket = object_store.bucket()
    with FaultProxy(object_store.port) as proxy:
        where = object_store.settings(bucket, S3_ENDPOINT_URL=proxy.url, S3_TIMEOUT=4)
        service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, **where))
        client = service.start()
        task, forming = client.task(photo(0), photo(1)), client.task(photo(2))
        image = f"/api/v1/tasks/{forming}/images/{client.show(forming)['images'][0]['id']}"
        (file,) = client.post("/api/files/", files={"file": ("a.jpg", photo(3))}).json()["file_ids"]
        assert len(object_store.keys_of(bucket)) == 4
        proxy.mode = "reset"
        for path in (f"/api/v1/tasks/{task}", image, f"/api/files/{file}"):
            assert client.delete(path).status_code == 204
            assert client.delete(path).status_code == 404
        assert len(object_store.keys_of(bucket)) == 4
        proxy.mode = "ok"
        wait_for(lambda: object_store.keys_of(bucket) == [], 30, "the end of the keys")
    assert "files of deleted rows could not be removed; a job will" in service.log.read_text()


def test_a_server_that_is_killed_in_the_middle_loses_nothing_on_s3(
    object_store: ObjectStore, make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.05
    bucket = object_store.bucket()
    service = make_service(**facecloud(emulator, LEASE_SECONDS=2, WORKERS=4, **object_store.settings(bucket)))
    client, images = service.start(), [photo(number) for number in range(100)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 20, what="20 images done")
    service.kill()
    client = service.start()
    check_complete(client.ended(task), images)
    assert len(object_store.keys_of(bucket)) == 100


def test_a_call_that_is_cut_off_is_made_again_and_a_download_goes_on_where_it_broke(object_store: ObjectStore) -> None:
    content = os.urandom(3_000_000)
    with FaultProxy(object_store.port) as proxy:
        storage = storage_at(object_store, proxy.url, object_store.bucket(), timeout=5)
        proxy.cut_after = 0
        storage.save("tasks/a", io.BytesIO(content))
        assert proxy.cut_after is None
        proxy.cut_after = 1_500_000
        assert storage.read("tasks/a") == content
        assert proxy.cut_after is None


def test_parts_of_an_upload_that_nobody_ended_are_found_by_age(object_store: ObjectStore) -> None:
    bucket = object_store.bucket()
    with FaultProxy(object_store.port) as proxy:
        storage = storage_at(object_store, proxy.url, bucket, timeout=2)

        def stream() -> Iterator[bytes]:
            yield bytes(PART)
            proxy.mode = "reset"
            yield bytes(100)

        with pytest.raises(Unavailable):
            storage.save("tasks/long", Pieces(stream()))  # type: ignore[arg-type]
        proxy.mode = "ok"
        assert list(storage.keys(-60)) == []
        assert storage.drop_unfinished(3600) == 0
        assert storage.drop_unfinished(-60) == 1
        assert "Uploads" not in object_store.client().list_multipart_uploads(Bucket=bucket)


class Pieces:
    """A stream that gives one piece a read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def read(self, size: int) -> bytes:
        return next(self.pieces, b"")


class Full(http.server.BaseHTTPRequestHandler):
    """An object store without room."""

    answer = (507, "InsufficientStorage")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, code = self.answer
        body = f"<Error><Code>{code}</Code><Message>full</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("answer", [(507, "InsufficientStorage"), (403, "QuotaExceeded"), (507, "XMinioStorageFull")])
def test_a_store_that_is_full_is_no_room(object_store: ObjectStore, answer: tuple[int, str]) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Full,), {"answer": answer}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(NoRoom):
        storage_at(object_store, f"http://127.0.0.1:{server.server_port}", "full").save("tasks/a", io.BytesIO(b"x"))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"STORAGE_URL": "s3://not-there/media"}, "The bucket 'not-there' does not exist."),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "The object store refuses access"),
        ({"AWS_ACCESS_KEY_ID": "UNKNOWN"}, "The object store refuses access"),
    ],
)
def test_a_bucket_that_cannot_be_used_keeps_the_server_from_starting_with_one_sentence(
    object_store: ObjectStore, make_service: MakeService, wrong: dict[str, str], told: str
) -> None:
    service = make_service(**{**object_store.settings(object_store.bucket()), **wrong})
    ended = run_program("gunicorn", **service.settings)
    assert ended.returncode != 0
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "wrong-secret" not in ended.stderr


def test_a_store_that_is_not_there_yet_lets_the_server_start_and_it_is_ready_with_the_store(
    object_store: ObjectStore, make_service: MakeService, emulator: EmulatorServer
) -> None:
    with FaultProxy(object_store.port) as proxy:
        proxy.mode = "reset"
        where = object_store.settings(object_store.bucket(), S3_ENDPOINT_URL=proxy.url, S3_TIMEOUT=4)
        service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, **where))
        starting = threading.Thread(target=service.start)
        starting.start()
        client = service.client()
        wait_for(lambda: reached(client, "/healthz") == 200, what="the start of the server")
        assert reached(client, "/readyz") == 503
        proxy.mode = "ok"
        starting.join(30)
        assert reached(client, "/readyz") == 200


def test_a_command_makes_the_bucket_once_and_it_is_private(object_store: ObjectStore, tmp_path: Path) -> None:
    bucket = f"made-{uuid.uuid4().hex[:12]}"
    key, secret = object_store.keys["admin"]
    account = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    where = {"API_PASSWORD": "used by nobody", **object_store.settings(bucket, **account)}

    def create(**more: str) -> subprocess.CompletedProcess[str]:
        return run_program("flask", "bucket", "create", **{**where, **more})

    assert create().stdout == f"The bucket {bucket} was made.\n"
    assert create().stdout == f"The bucket {bucket} is there already.\n"
    assert requests.get(f"{object_store.url}/{bucket}", timeout=10).status_code == 403
    for wrong in ({"STORAGE_URL": str(tmp_path)}, {"AWS_SECRET_ACCESS_KEY": "another"}):
        refused = create(**wrong)
        assert refused.returncode == 1
        assert refused.stderr.startswith("Error: ")
        assert len(refused.stderr.splitlines()) == 1


def reached(client: Client, path: str) -> int:
    try:
        return once(client, path).status_code
    except requests.ConnectionError:
        return 0
