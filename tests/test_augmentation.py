"""Augmentation over HTTP, against one running service with two processes."""

import hashlib
import io
import os
import shutil
import signal
import sqlite3
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jwt
import pytest
import requests
from PIL import Image

from service.config import Settings
from service.db.database import Database
from service.features.augmentation.accounts import Accounts
from service.features.augmentation.files import file_key, file_name
from service.http.login_throttle import LoginThrottle
from service.http.services import provide, provided
from tests.conftest import MakeService
from tests.object_store import ObjectStore
from tests.support import Service, application, photo, wait_for
from tests.test_pictures import EDITS, TYPES, corners, encoded, opened_bytes, stored, unlike, with_gps
from tests.test_tasks import problem

COPIES = {"rotated": "clockwise", "gray": "gray", "scaled": "larger"}
PASSWORD = "correct horse battery"


class Visitor:
    """A client of the slice: nobody, or a user with a token."""

    def __init__(self, service: Service, email: str = "") -> None:
        self.url = service.url
        self.session = service.client()  # a GET that meets a dying process is sent again
        self.session.auth = None
        self.headers: dict[str, str] = {}
        self.id = ""
        if email:
            answer = self.call("POST", "/registration", json={"email": email, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            self.take(answer.json())

    def take(self, token: dict[str, str]) -> None:
        assert sorted(token) == ["access_token", "token_type", "user_id"] and token["token_type"] == "bearer"
        self.headers, self.id = {"Authorization": f"Bearer {token['access_token']}"}, token["user_id"]

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = self.headers | options.pop("headers", {})
        return self.session.request(method, path, headers=headers, **options)

    def send(self, *files: tuple[str, bytes], **options: Any) -> requests.Response:
        return self.call("POST", "/upload", files=[("files", file) for file in files], **options)

    def upload(self, *files: tuple[str, bytes]) -> str:
        answer = self.send(*files)
        assert answer.status_code == 202, answer.text
        task: str = answer.json()["task_id"]
        assert answer.json() == {"task_id": task}
        return task

    def show(self, task: str) -> dict[str, Any]:
        answer = self.call("GET", f"/status/{task}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def ended(self, task: str, seconds: float = 30) -> dict[str, Any]:
        wait_for(lambda: self.show(task)["status"] in ("finished", "error"), seconds, f"the end of task {task}")
        return self.show(task)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("augmentation")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, FACE_ENGINE="local", MAX_IMAGE_BYTES=200_000, MAX_FAILED_TRIES=8, FAILED_TRIES_SECONDS=60)
    service.start()
    yield service
    service.kill()


@pytest.fixture(scope="module")
def ada(service: Service) -> Visitor:
    return Visitor(service, "ada@example.com")


@pytest.fixture(scope="module")
def bob(service: Service) -> Visitor:
    return Visitor(service, "bob@example.com")


def fetched(link: str, media_type: str) -> Image.Image:
    """Fetch a link as it stands, without credentials."""
    answer = requests.get(link, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == media_type
    return opened_bytes(answer.content, media_type)


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png")])
def test_every_image_gets_its_upright_copies_with_links_that_work(ada: Visitor, kind: str, extension: str) -> None:
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    originals = [encoded(stored(turn, corners()), kind, exif=with_gps(turn), **options) for turn in (1, 6, 7)]
    task = ada.upload(*[(f"photo {number}.{extension}", file) for number, file in enumerate(originals)])
    shown = ada.ended(task)
    assert (shown["task_id"], shown["status"], len(shown["images"])) == (task, "finished", 3)
    for number, (image, original) in enumerate(zip(shown["images"], originals, strict=True)):
        assert (image["status"], image["name"], image["error"]) == ("finished", f"photo {number}.{extension}", None)
        assert requests.get(image["img_link"], timeout=60).content == original
        assert image["img_link"].endswith(f"/photo%20{number}_original.{extension}")
        for suffix, edit in COPIES.items():
            assert image[suffix].endswith(f"/photo%20{number}_{suffix}.{extension}")
            assert unlike(fetched(image[suffix], TYPES[kind]), EDITS[edit][1](corners())) < 5, suffix

    answer = ada.call("GET", f"/task/{task}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    with ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(
            f"photo {number}_{suffix}.{extension}" for number in range(3) for suffix in ("original", *COPIES)
        )
        assert archive.read(f"photo 1_original.{extension}") == originals[1]


def test_files_of_one_name_get_a_number_in_the_zip_and_bad_names_are_made_safe(ada: Visitor) -> None:
    task = ada.upload(("a.jpg", photo(1)), ("a.jpg", photo(2)), ("../../etc/passwd", photo(3)), ("CON.jpg", photo(4)))
    assert ada.ended(task)["status"] == "finished"
    with ZipFile(io.BytesIO(ada.call("GET", f"/task/{task}").content)) as archive:
        names = archive.namelist()
        assert len(set(names)) == len(names) == 16
        assert {"a_original.jpg", "a_original (2).jpg", "a_gray.jpg", "a_gray (2).jpg"} <= set(names)
        assert not any("/" in name or name.startswith(".") for name in names)


@pytest.mark.parametrize(
    ("name", "media_type", "expected"),
    [
        ("cat.jpg", "image/jpeg", "cat_gray.jpg"),
        ("cat.JPEG", "image/jpeg", "cat_gray.JPEG"),
        ("cat.png", "image/jpeg", "cat_gray.jpg"),
        ("cat.png", "image/png", "cat_gray.png"),
        ("cat", "image/png", "cat_gray.png"),
        ("v1.2", "image/png", "v1.2_gray.png"),
        ("photo.txt", "image/png", "photo_gray.png"),
        ("x.jpe", "image/jpeg", "x_gray.jpg"),
        ("x.jfif", "image/jpeg", "x_gray.jpg"),
        ("x.PNG", "image/jpeg", "x_gray.jpg"),
        ("my.holiday", "image/jpeg", "my.holiday_gray.jpg"),
        ("my.holiday.jpg", "image/jpeg", "my.holiday_gray.jpg"),
        ("Dr. No", "image/jpeg", "Dr. No_gray.jpg"),
        ("..", "image/png", "image_gray.png"),
        (".jpg", "image/jpeg", "image_gray.jpg"),
        ("x" * 255, "image/png", "x" * 200 + "_gray.png"),
    ],
)
def test_a_copy_is_named_after_its_original_and_its_type(name: str, media_type: str, expected: str) -> None:
    assert file_name(name, "gray", media_type) == expected


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("my holiday.jpg", "my_holiday_gray.jpg"),
        ("../../etc/passwd.jpg", "_.._etc_passwd_gray.jpg"),
        ("C:\\photos\\new.jpg", "C_photos_new_gray.jpg"),
        ("отпуск.jpeg", "отпуск_gray.jpeg"),
        (".hidden.jpg", "hidden_gray.jpg"),
        ("a%2Fb?c#d.jpg", "a_2Fb_c_d_gray.jpg"),
        ("я" * 200 + ".jpg", "я" * 60 + "_gray.jpg"),
        ("\0.jpg", "__gray.jpg"),
        (".jpg", "image_gray.jpg"),
    ],
)
def test_a_key_has_a_safe_form_of_the_name(name: str, key: str) -> None:
    assert file_key("task", 3, name, "gray", "image/jpeg") == f"augmentation/task/3/{key}"


def test_links_and_zips_drop_an_extension_that_is_not_the_types_own(ada: Visitor) -> None:
    task = ada.upload(("photo.txt", photo(1)), ("my.holiday.PNG", photo(2)))
    first, second = ada.ended(task)["images"]
    assert first["img_link"].endswith("/photo_original.jpg") and first["gray"].endswith("/photo_gray.jpg")
    assert second["img_link"].endswith("/my.holiday_original.jpg")
    with ZipFile(io.BytesIO(ada.call("GET", f"/task/{task}").content)) as archive:
        assert {"photo_original.jpg", "my.holiday_gray.jpg"} <= set(archive.namelist())


def test_the_tables_have_their_agreed_columns_and_a_row_for_each_file(ada: Visitor, service: Service) -> None:
    task = ada.upload(("a.jpg", photo(5)))
    assert ada.ended(task)["status"] == "finished"
    with sqlite3.connect(service.folder / "service.db") as database:
        columns = {
            table: [row[1] for row in database.execute(f"PRAGMA table_info('{table}')")]
            for table in ("User", "ImageTask")
        }
        files = database.execute(
            "SELECT img_link, key, id, created_at FROM ImageTask WHERE task_id = ? ORDER BY number", (task,)
        ).fetchall()
        hashed, registered = database.execute(
            "SELECT password, created_at FROM User WHERE email = 'ada@example.com'"
        ).fetchone()
    assert columns == {
        "User": ["id", "email", "password", "created_at", "first_name", "last_name", "token_generation"],
        "ImageTask": ["number", "id", "task_id", "position", "suffix", "img_link", "key", "created_at"],
    }
    names = [f"a_{suffix}.jpg" for suffix in ("original", "rotated", "gray", "scaled")]
    assert [(link, key) for link, key, _, _ in files] == [(name, f"augmentation/{task}/0/{name}") for name in names]
    assert len({uuid.UUID(number) for _, _, number, _ in files}) == 4
    for moment in (registered, *(moment for *_, moment in files)):
        age = datetime.now(UTC) - datetime.fromisoformat(moment).replace(tzinfo=UTC)
        assert timedelta(0) <= age < timedelta(minutes=10)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in service.log.read_text()


def test_a_history_walks_over_all_images_newest_first(service: Service) -> None:
    eve = Visitor(service, "eve@example.com")
    assert eve.call("GET", f"/history/{eve.id}").json() == {"items": [], "next": None}
    tasks = [eve.upload(("a.png", photo(number, form="PNG")), ("b.jpg", photo(number))) for number in range(3)]
    for task in tasks:
        eve.ended(task)
    walked: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = eve.call(
            "GET", f"/history/{eve.id}", params={"limit": 4} | ({"cursor": cursor} if cursor else {})
        ).json()
        walked += page["items"]
        cursor = page["next"]
        if not cursor:
            break
        eve.upload(("late.jpg", photo(9)))
    assert [item["task_id"] for item in walked] == [task for task in reversed(tasks) for _ in range(2)]
    assert fetched(walked[0]["rotated"], "image/jpeg").size == (48, 64)
    assert requests.get(walked[1]["original"], timeout=60).content == photo(2, form="PNG")
    assert all(item[name].startswith("http") for item in walked for name in ("original", *COPIES))
    for query in ({"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"more": 1}):
        problem(eve.call("GET", f"/history/{eve.id}", params=query), 422)


def test_uploads_are_all_or_nothing_and_bad_ones_named(ada: Visitor, service: Service) -> None:
    # Earlier tasks may still be at their copies.
    originals = partial(names_of_originals, service)
    before = originals()
    good = ("good.jpg", photo(6))
    assert "words.jpg" in problem(ada.send(good, ("words.jpg", b"words")), 415)
    told = problem(ada.send(good, ("new.jpg", photo(6, form="WEBP"))), 415)
    assert "new.jpg" in told and "image/png" in told and "image/webp" not in told
    assert "cut.png" in problem(ada.send(good, ("cut.png", photo(6, form="PNG")[:-40])), 422)
    assert "200000" in problem(ada.send(good, ("big.jpg", photo(6) + bytes(200_000))), 413)
    long = ada.send(good, ("long.jpg", encoded(Image.new("L", (33_000, 1)))))
    assert "long.jpg" in problem(long, 413)
    cut = ada.send(good, good, ("cut.jpg", photo(6)[:-40]))
    assert [answer.json()["errors"][0]["pointer"] for answer in (long, cut)] == ["#/files/1", "#/files/2"]
    problem(ada.send(), 422)
    problem(ada.call("POST", "/upload", files=[("image", good)]), 422)
    problem(ada.call("POST", "/upload", data=b"x", headers={"Content-Type": "multipart/form-data"}), 400)
    assert originals() == before
    wait_for(lambda: not any(name.startswith(".new-") for name in service.left_files()), what="the last copies")


def names_of_originals(service: Service) -> list[str]:
    return sorted(name for name in service.left_files() if name.endswith("-original"))


def test_what_is_anothers_is_unknown(ada: Visitor, bob: Visitor) -> None:
    task = ada.upload(("a.jpg", photo(7)))
    ada.ended(task)
    for path in (f"/status/{task}", f"/task/{task}", f"/history/{ada.id}"):
        problem(bob.call("GET", path), 404)
    for path in (f"/status/{uuid.uuid4()}", "/status/x", f"/task/{uuid.uuid4()}", f"/history/{uuid.uuid4()}"):
        problem(ada.call("GET", path), 404)


def forged(claims: dict[str, Any], key: str | bytes = b"k" * 32, algorithm: str = "HS256") -> dict[str, str]:
    return {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm=algorithm)}"}


def test_only_a_token_of_ours_opens_anything(ada: Visitor, service: Service) -> None:
    claims = {"sub": ada.id, "exp": time.time() + 1000}
    good = ada.headers["Authorization"]
    basic = requests.auth._basic_auth_str("admin", service.password)
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": good[:-4] + "AAAA"},
        {"Authorization": good.replace("Bearer ", "")},
        {"Authorization": basic},
        forged(claims),
        forged(claims, "", "none"),
        forged(claims, b"k" * 64, "HS512"),
    ):
        for method, path in (
            ("POST", "/upload"),
            ("GET", "/status/x"),
            ("GET", f"/history/{ada.id}"),
            ("GET", "/task/x"),
        ):
            answer = requests.request(method, service.url + path, headers=headers, timeout=60)
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    lasts = jwt.decode(good.removeprefix("Bearer "), options={"verify_signature": False})
    assert lasts["sub"] == ada.id
    assert lasts["exp"] - time.time() == pytest.approx(24 * 3600, abs=600)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # HS512 would have a longer key
def test_a_token_ends_needs_its_end_and_a_known_user_and_may_come_from_a_clock_ahead(
    ada: Visitor, service: Service
) -> None:
    """Signed with the service's own key, so that nothing but the claims and the algorithm decides."""
    secret = Settings(api_password=service.password).signing_key
    key = hashlib.sha256(b"augmentation token " + secret.encode()).digest()
    moment = time.time()
    good = {"sub": ada.id, "iat": moment, "exp": moment + 100}
    for claims, algorithm, status in (
        (good, "HS256", 200),
        (good | {"iat": moment + 5}, "HS256", 200),
        (good | {"exp": moment - 1}, "HS256", 401),
        (good | {"sub": str(uuid.uuid4())}, "HS256", 401),
        ({"sub": ada.id}, "HS256", 401),
        ({"exp": moment + 100}, "HS256", 401),
        (good, "HS512", 401),
    ):
        headers = forged(claims, key, algorithm)
        answer = requests.get(f"{service.url}/history/{ada.id}", headers=headers, timeout=60)
        assert answer.status_code == status, (claims, algorithm, answer.text)


def test_a_user_logs_in_by_the_email_in_any_case(service: Service) -> None:
    visitor = Visitor(service, "Grace.Hopper@Example.COM")
    known = visitor.id
    for email in ("grace.hopper@example.com", "GRACE.HOPPER@EXAMPLE.COM", " grace.hopper@example.com "):
        answer = visitor.call("POST", "/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        visitor.take(answer.json())
        assert visitor.id == known
        assert visitor.call("GET", f"/history/{known}").status_code == 200
        problem(visitor.call("POST", "/registration", json={"email": email, "password": PASSWORD}), 409)


@pytest.mark.parametrize("host", ["mail.local", "example.test", "localhost", "intranet", "example.invalid"])
def test_an_email_may_be_at_a_name_that_only_ones_own_network_knows(service: Service, host: str) -> None:
    visitor = Visitor(service, f"Ann@{host}")
    answer = visitor.call("POST", "/login", json={"email": f"ann@{host.upper()}", "password": PASSWORD})
    assert (answer.status_code, answer.json()["user_id"]) == (200, visitor.id)


@pytest.mark.parametrize(
    "change",
    [
        {"email": None},
        {"password": None},
        {"email": "no address"},
        {"email": "a@"},
        {"email": "a@b@c"},
        {"email": "a\0@example.com"},
        {"email": f"{'a' * 250}@example.com"},
        {"email": 1},
        {"password": "1234567"},
        {"password": "x" * 1025},
        {"first_name": "x" * 201},
        {"last_name": "\0"},
        {"more": 1},
    ],
)
def test_a_registration_that_cannot_be_is_refused(service: Service, change: dict[str, Any]) -> None:
    body = {"email": "new@example.com", "password": PASSWORD, "first_name": "N", "last_name": None} | change
    told = Visitor(service).call(
        "POST", "/registration", json={name: value for name, value in body.items() if value is not None}
    )
    problem(told, 422)
    assert told.json()["errors"]


def test_all_that_is_wrong_in_a_registration_is_said_at_once(service: Service) -> None:
    told = Visitor(service).call("POST", "/registration", json={"email": "ada", "password": "short"})
    assert problem(told, 422) == (
        "`email` in the body must be an e-mail address: an email address must have an @-sign. "
        "`password` in the body must have at least 8 characters."
    )
    assert [error["pointer"] for error in told.json()["errors"]] == ["#/email", "#/password"]


def test_malformed_bodies_are_400(service: Service) -> None:
    for path in ("/registration", "/login"):
        problem(Visitor(service).call("POST", path, data=b"{"), 400)
        problem(Visitor(service).call("POST", path, json=[]), 422)
        problem(Visitor(service).call("GET", path), 405)


def test_of_registrations_at_once_one_wins(service: Service) -> None:
    body = {"email": "race@example.com", "password": PASSWORD}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: Visitor(service).call("POST", "/registration", json=body), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


def test_a_token_is_revoked_by_logging_out_and_all_by_a_new_password(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="local")
    service.start()
    body = {"email": "dora@example.com", "password": PASSWORD}
    Visitor(service).call("POST", "/registration", json=body)
    tokens = [Visitor(service).call("POST", "/login", json=body).json()["access_token"] for _ in range(3)]
    assert len(set(tokens)) == 3

    def ask(token: str, method: str, path: str, **sent: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.request(method, service.url + path, headers=headers, timeout=30, **sent)

    path = f"/status/{uuid.uuid4()}"
    assert {ask(token, "GET", path).status_code for token in tokens} == {404}
    assert ask(tokens[0], "POST", "/logout").status_code == 204
    problem(ask(tokens[0], "GET", path), 401)
    problem(ask(tokens[0], "POST", "/logout"), 401)
    assert ask(tokens[1], "GET", path).status_code == 404
    problem(ask(tokens[1], "POST", "/password", json={"password": "wrong one", "new_password": "another one"}), 401)
    changed = ask(tokens[1], "POST", "/password", json={"password": PASSWORD, "new_password": "another one"})
    assert changed.status_code == 200
    for token in tokens:
        problem(ask(token, "GET", path), 401)
    assert ask(changed.json()["access_token"], "GET", path).status_code == 404
    problem(Visitor(service).call("POST", "/login", json=body), 401)
    again = Visitor(service).call("POST", "/login", json=body | {"password": "another one"})
    assert again.status_code == 200
    assert ask(again.json()["access_token"], "GET", path).status_code == 404


def test_an_unknown_email_is_told_as_a_wrong_password_and_takes_as_long_and_tries_are_limited(
    service: Service,
) -> None:
    """Tries from one address count together, so this goes last but for the crash, which has a service of its own."""
    Visitor(service, "carl@example.com")
    times: dict[str, list[float]] = {"carl@example.com": [], "nobody@example.com": []}
    told = []
    for _ in range(4):
        for email, seconds in times.items():
            begin = time.perf_counter()
            answer = Visitor(service).call("POST", "/login", json={"email": email, "password": "wrong password"})
            seconds.append(time.perf_counter() - begin)
            told.append(problem(answer, 401))
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert len(set(told)) == 1
    known, unknown = (statistics.median(seconds) for seconds in times.values())
    assert 0.4 < known / unknown < 2.5
    right = Visitor(service).call("POST", "/login", json={"email": "carl@example.com", "password": PASSWORD})
    problem(right, 429)
    assert int(right.headers["Retry-After"]) <= 60


def test_an_upload_sent_again_with_its_key_is_one_task(ada: Visitor, bob: Visitor, service: Service) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first, again = (ada.send(("a.jpg", photo(8)), headers=key) for _ in range(2))
    assert first.json() == again.json()
    assert bob.send(("a.jpg", photo(8)), headers=key).json() != first.json()
    problem(ada.send(("a.jpg", photo(9)), headers=key), 422)


def test_an_image_that_is_lost_ends_its_task_in_error_and_the_others_have_copies(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="local", AUGMENTATION_SCALE=3)
    service.start()
    ada = Visitor(service, "ada@example.com")
    noisy = io.BytesIO()
    Image.effect_noise((800, 800), 90).convert("RGB").save(noisy, "PNG")
    task = ada.upload(*[(f"{number}.png", noisy.getvalue()) for number in range(4)])
    assert ada.call("GET", f"/task/{task}").status_code == 409
    wait_for(lambda: ada.show(task)["status"] == "processing", 20, "the beginning")
    service.kill()
    kept = noisy.getvalue()
    service.start()
    shown = ada.ended(task, 90)
    assert shown["status"] == "finished"
    assert fetched(shown["images"][3]["scaled"], "image/png").size == (2400, 2400)
    assert len(service.left_files()) == 16
    with sqlite3.connect(service.folder / "service.db") as database:
        assert database.execute("SELECT count(*) FROM ImageTask").fetchone() == (16,)

    task = ada.upload(*[("big.png", kept)] * 3, ("small.jpg", photo(1)), ("gone.png", kept))
    (service.files / "augmentation" / task / "4" / "gone_original.png").write_bytes(kept[:-10_000])
    os.kill(service.workers()[0], signal.SIGKILL)
    shown = ada.ended(task, 90)
    assert shown["status"] == "error"
    assert [image["status"] for image in shown["images"]] == ["finished"] * 4 + ["error"]
    assert shown["images"][4]["error"]["code"] == "image_rejected"
    assert shown["images"][4]["rotated"] is None
    problem(ada.call("GET", f"/task/{task}"), 409)
    assert fetched(shown["images"][3]["scaled"], "image/jpeg").size == (192, 144)


def test_on_s3_links_are_presigned_end_and_bear_the_name_and_results_are_files(
    make_service: MakeService, object_store: ObjectStore
) -> None:
    bucket = object_store.bucket()
    settings = object_store.settings(bucket, CONTENT_DELIVERY="redirect")
    service = make_service(FACE_ENGINE="local", WEB_CONCURRENCY=1, **settings)
    client = service.start()
    ada = Visitor(service, "ada@example.com")
    task = ada.upload(("a b.png", encoded(corners(), "PNG")))
    shown = ada.ended(task)
    assert shown["status"] == "finished"
    link = shown["images"][0]["rotated"]
    assert link.startswith(object_store.url) and "X-Amz-Expires=3600" in link
    answer = requests.get(link, timeout=60)
    assert 'filename="a b_rotated.png"' in answer.headers["Content-Disposition"]
    assert unlike(opened_bytes(answer.content, answer.headers["Content-Type"]), EDITS["clockwise"][1](corners())) == 0
    with ZipFile(io.BytesIO(ada.call("GET", f"/task/{task}").content)) as archive:
        assert len(archive.namelist()) == 4

    (file,) = client.post("/api/files/", files=[("file", encoded(corners(), "PNG"))]).json()["file_ids"]
    order = {"file_ids": [file], "algorithm": "flip", "params": {"orientation": "vertical"}}
    (number,) = client.post("/api/image-processing/", json=order).json()["task_ids"]
    path = f"/api/image-processing/{number}"
    wait_for(lambda: client.get(path).json()["status"] == "finished", 30, "the end of the task")
    got = client.get(f"/api/files/{client.get(path).json()['result_id']}")
    assert ([hop.status_code for hop in got.history], got.headers["Content-Type"]) == ([302], "image/png")
    assert got.url.startswith(object_store.url)
    assert unlike(opened_bytes(got.content, "image/png"), EDITS["vertical"][1](corners())) == 0
    problem(client.get("/api/files/999"), 404)
    assert len(object_store.keys_of(bucket)) == 6


def test_users_have_quotas_where_they_are_set(make_service: MakeService) -> None:
    image = photo(1)
    service = make_service(FACE_ENGINE="local", USER_QUOTA_BYTES=5 * len(image), USER_FILES_PER_DAY=4)
    service.start()
    ada, bob = Visitor(service, "ada@example.com"), Visitor(service, "bob@example.com")
    assert ada.send(("a.jpg", image), ("b.jpg", image)).status_code == 202
    refused = ada.send(*((f"{number}.jpg", image) for number in range(3)))
    assert "4 files in 24 hours" in problem(refused, 429)
    assert refused.json()["code"] == "quota_used_up"
    assert int(refused.headers["Retry-After"]) > 0
    large = photo(2, (300, 200))
    assert len(large) > len(image)
    assert ada.send(("c.jpg", image), ("d.jpg", image)).status_code == 202
    assert bob.send(*((f"{number}.jpg", large) for number in range(4))).status_code in (202, 429)
    assert "bytes in all" in problem(bob.send(("e.jpg", large), ("f.jpg", large), ("g.jpg", large)), 429)


def test_registration_can_be_closed(make_service: MakeService) -> None:
    closed = make_service(FACE_ENGINE="local", REGISTRATION="closed", WEB_CONCURRENCY=1)
    closed.start()
    body = {"email": "ada@example.com", "password": PASSWORD}
    refused = Visitor(closed).call("POST", "/registration", json=body)
    problem(refused, 403)
    assert refused.json()["code"] == "registration_closed"
    closed.stop()


def test_registrations_are_limited_by_address(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    with application(tmp_path) as app:
        few = LoginThrottle(provided(Database, app), 4, 60)
        provide(app, {Accounts: replace(provided(Accounts, app), registrations=few)})
        http = app.test_client()
        bodies = [{"email": f"{number}@example.com", "password": PASSWORD} for number in range(6)]
        answers = [http.post("/registration", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [201] * 4 + [429] * 2
    assert answers[-1].json["code"] == "too_many_registrations"
    assert int(answers[-1].headers["Retry-After"]) > 0
