"""Nobody gets in: other sites, guessers, browsers that guess; over HTTP, against services with two processes."""

import base64
import io
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from PIL import Image, PngImagePlugin

from service.db.database import open_database
from service.http import security
from service.http.login_throttle import ALLOWED_SECONDS, FailedLogin, LoginThrottle
from service.http.openapi_views import template
from tests.browser import chromium_path
from tests.support import Client, Service, application, photo, wait_for
from tests.test_tasks import problem

TASKS = "/api/v1/tasks"
LIMIT, WINDOW = 6, 8
SECRET = "Zäuberwörter-of-many-letters"
PUBLIC = "https://media.example.com"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Service]:
    """Give a service behind one proxy, which allows few tries and has a password beyond ASCII."""
    folder = tmp_path_factory.mktemp("proxied")
    shutil.copy(migrated, folder / "service.db")
    limits = {"MAX_FAILED_TRIES": LIMIT, "FAILED_TRIES_SECONDS": WINDOW, "TRUSTED_PROXIES": 1}
    service = Service(folder, FACE_ENGINE="local", API_PASSWORD=SECRET, PUBLIC_URL=PUBLIC, **limits)
    service.start()
    yield service
    service.kill()


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}, False),
        ({"Origin": "OWN"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "https://media.example.com", "X-Forwarded-Host": "media.example.com"}, False),
    ],
)
def test_another_site_cannot_make_a_browser_act(client: Client, headers: dict[str, str], allowed: bool) -> None:
    sent = {name: client.url if value == "OWN" else value for name, value in headers.items()}
    task = client.task()
    for method, path in (("POST", TASKS), ("DELETE", f"{TASKS}/{task}"), ("POST", "/records"), ("PUT", "/nowhere")):
        answer = client.request(method, path, headers=sent)
        if allowed:
            assert answer.status_code != 403
        else:
            assert "another site" in problem(answer, 403)
    assert client.get(TASKS, headers=sent).status_code == 200
    assert client.get(f"{TASKS}/{task}").status_code == (404 if allowed else 200)


def test_behind_a_proxy_its_host_and_the_public_address_are_the_own_origin(proxied: Service) -> None:
    client = proxied.client()
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "other.example.com"}
    for origin, status in ((PUBLIC, 201), ("https://other.example.com", 201), ("http://other.example.com", 403)):
        assert client.post(TASKS, headers={**forwarded, "Origin": origin}).status_code == status


def at(proxied: Service, address: str, password: str = "wrong") -> requests.Response:
    """Ask from an address, by a connection of its own, so that either process may get it."""
    auth = (b"admin", password.encode())
    url = f"{proxied.url}{TASKS}?limit=1"
    return requests.get(url, auth=auth, headers={"X-Forwarded-For": f"8.8.8.8, {address}"}, timeout=30)


def test_who_fails_too_often_is_refused_for_a_while_also_with_the_right_password(proxied: Service) -> None:
    assert len(proxied.workers()) == 2
    for _ in range(3 * LIMIT):  # neither what is right nor what has no credentials counts
        assert at(proxied, "192.0.2.1", SECRET).status_code == 200
        assert (
            requests.get(proxied.url + TASKS, headers={"X-Forwarded-For": "192.0.2.1"}, timeout=30).status_code == 401
        )
    time.sleep(ALLOWED_SECONDS)  # a process that sees none of the failures takes for so long what was right before
    for _ in range(LIMIT):
        problem(at(proxied, "192.0.2.1"), 401)
    for password in ("wrong", SECRET) * 4:
        refused = at(proxied, "192.0.2.1", password)
        assert "Wait" in problem(refused, 429)
        assert 1 <= int(refused.headers["Retry-After"]) <= WINDOW
    # Nobody else is, and what is open stays so.
    assert at(proxied, "192.0.2.2", SECRET).status_code == 200
    assert (
        requests.get(proxied.url + "/healthz", headers={"X-Forwarded-For": "192.0.2.1"}, timeout=30).status_code == 200
    )
    wait_for(lambda: at(proxied, "192.0.2.1", SECRET).status_code == 200, WINDOW + 5, "the end of the window")
    problem(at(proxied, "192.0.2.1"), 401)


def test_one_ipv6_network_of_64_bits_counts_as_one_address_and_a_mapped_ipv4_as_itself(proxied: Service) -> None:
    for number in range(LIMIT):
        problem(at(proxied, f"2001:db8:0:1::{number:x}"), 401)
    problem(at(proxied, "2001:db8:0:1:ffff::1", SECRET), 429)
    assert at(proxied, "2001:db8:0:2::1", SECRET).status_code == 200
    for number in range(LIMIT):
        problem(at(proxied, "::ffff:192.0.2.3" if number % 2 else "192.0.2.3"), 401)
    problem(at(proxied, "192.0.2.3", SECRET), 429)


def test_many_guesses_at_once_are_not_more_than_the_limit_and_what_was_under_way(proxied: Service) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = [answer.status_code for answer in pool.map(lambda _: at(proxied, "192.0.2.4"), range(60))]
    assert set(codes) == {401, 429}
    assert LIMIT <= codes.count(401) <= LIMIT + 8


def test_wrong_tokens_of_recordings_are_counted_too_and_by_themselves(proxied: Service) -> None:
    def send(token: str) -> requests.Response:
        form = {"user": user["id"], "token": token}
        return requests.post(
            proxied.url + "/records", data=form, files={"audio": ("a", b"x")}, headers=forwarded, timeout=30
        )

    user = proxied.client().post("/users", json={"name": "Ada"}).json()
    forwarded = {"X-Forwarded-For": "192.0.2.5"}
    problem(send(user["token"]), 415)
    for _ in range(LIMIT):
        problem(send("wrong"), 401)
    problem(send(user["token"]), 429)
    assert at(proxied, "192.0.2.5", SECRET).status_code == 200


def test_one_address_cannot_lock_an_account_but_several_can(proxied: Service) -> None:
    account = {"email": "ada@example.com", "password": "correct horse battery"}

    def log_in(address: str, password: str) -> requests.Response:
        headers = {"X-Forwarded-For": address}
        sent = account | {"password": password}
        return requests.post(proxied.url + "/login", json=sent, headers=headers, timeout=30)

    assert requests.post(proxied.url + "/registration", json=account, timeout=30).status_code == 201
    with ThreadPoolExecutor(8) as pool:  # what is under way at the bound does not count for the account
        codes = [answer.status_code for answer in pool.map(lambda _: log_in("192.0.2.6", "wrong"), range(4 * LIMIT))]
    assert set(codes) == {401, 429}
    problem(log_in("192.0.2.6", account["password"]), 429)
    problem(log_in("192.0.2.7", "wrong"), 401)
    assert log_in("192.0.2.8", account["password"]).status_code == 200  # and what was counted is forgotten
    codes = [log_in(f"198.51.100.{number}", "wrong").status_code for number in range(6 * LIMIT)]
    assert codes.index(429) >= 2 * LIMIT
    # From where the owner has logged in before, it goes on.
    assert log_in("192.0.2.8", account["password"]).status_code == 200


def test_without_a_trusted_proxy_nobody_can_say_where_he_comes_from(client: Client) -> None:
    for number in range(3):
        headers = {
            "X-Forwarded-For": f"192.0.2.{number}",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "a.example",
        }
        user = client.post("/users", json={"name": "Ada"}).json()
        form = {"user": user["id"], "token": user["token"]}
        sound = (Path(__file__).parent.parent / "postman" / "tone.wav").read_bytes()
        answer = requests.post(
            client.url + "/records", data=form, files={"audio": ("a.wav", sound)}, headers=headers, timeout=30
        )
        assert answer.json()["url"].startswith(client.url)


@pytest.mark.parametrize("days", [-10, 10], ids=["expired", "of a clock that was ahead"])
def test_under_an_attack_from_many_addresses_the_table_does_not_grow(migrated: Path, tmp_path: Path, days: int) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    database = open_database(f"sqlite:///{tmp_path}/service.db")

    def names() -> int:
        with database.read() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(FailedLogin)) or 0

    throttle = LoginThrottle(database, 3, 300, most=50)
    for number in range(320):
        throttle.record_failure(str(number))
    assert 50 <= names() <= 150
    throttle.forget("319")
    before = names()
    with database.write() as session:
        session.execute(sa.update(FailedLogin).values(expires_at=time.time() + days * 86_400))
    for number in range(before // 10):
        throttle.record_failure(f"later {number}")
    assert names() == before // 10
    database.close()


def odd(credentials: bytes) -> bytes:
    return b"Basic " + base64.b64encode(credentials)


@pytest.mark.parametrize(
    "header",
    [
        *(b"Basic", b"Basic !!!", b"Bearer x", b"Digest username=admin", b"\xff\xfe", b"Basic " + b"A" * 5_000),
        *(odd(b"admin"), odd(b":"), odd(b"admin:"), odd(b"\xff\xfe:\xff"), odd(b"\xed\xa0\x80:x"), odd(b"a\0:b\0")),
        *(odd("ädmin:wröng".encode()), odd(b"admin:" + b"x" * 4_000), odd(b"admin:x:y")),
    ],
)
def test_odd_credentials_are_401_and_never_a_fault(client: Client, header: bytes) -> None:
    answer = requests.get(client.url + TASKS, headers={"Authorization": header}, timeout=30)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="service", charset="UTF-8"'


def test_the_right_password_counts_under_its_own_scheme_alone(shared_service: Service) -> None:
    pair = base64.b64encode(f"admin:{shared_service.password}".encode())
    for scheme, status in ((b"Basic", 200), (b"basic", 200), (b"Bearer", 401), (b"Negotiate", 401)):
        headers = {"Authorization": scheme + b" " + pair}
        assert requests.get(shared_service.url + TASKS, headers=headers, timeout=30).status_code == status, scheme


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_password_beyond_ascii_is_taken_in_both_encodings_that_clients_use(proxied: Service, encoding: str) -> None:
    header = odd(f"admin:{SECRET}".encode(encoding))
    assert requests.get(proxied.url + TASKS, headers={"Authorization": header}, timeout=30).status_code == 200


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("app")
    with application(folder) as made:
        yield made


def test_every_endpoint_wants_credentials_but_those_that_are_described_as_open(client: Client, app: Flask) -> None:
    client.auth = None
    seen = set()
    for rule in app.url_map.iter_rules():
        is_open = app.view_functions[rule.endpoint].described.open  # type: ignore[attr-defined]
        seen.add(is_open)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            for value in ("1", "00000000-0000-0000-0000-000000000000"):
                answer = client.request(method, re.sub(r"<[^>]*>", value, rule.rule), allow_redirects=False)
                if is_open:
                    assert answer.status_code != 401, rule
                else:
                    problem(answer, 401)
                    assert answer.headers["WWW-Authenticate"], rule
    assert seen == {True, False}


def test_every_answer_tells_browsers_what_not_to_do(client: Client) -> None:
    (image,) = [photo(77)]
    task = client.task(image)
    stored = client.show(task)["images"][0]["id"]
    content = f"{TASKS}/{task}/images/{stored}/content"
    tag = client.get(content).headers["ETag"]
    answers = {
        "page": client.get("/docs"),
        "script": client.get("/docs/docs.js"),
        "JSON": client.get(f"{TASKS}/{task}"),
        "content": client.get(content),
        "part": client.get(content, headers={"Range": "bytes=0-1"}),
        "unchanged": client.get(content, headers={"If-None-Match": tag}),
        "head": client.head(content),
        "options": client.options(TASKS),
        "redirect": client.get("/", allow_redirects=False),
        "created": client.post(TASKS, headers={"Idempotency-Key": "headers"}),
        "replayed": client.post(TASKS, headers={"Idempotency-Key": "headers"}),
        "wrong": client.get(TASKS + "?limit=x"),
        "unauthorized": requests.get(client.url + TASKS, timeout=30),
        "other site": client.post(TASKS, headers={"Origin": "null"}),
        "unknown": client.get("/nowhere"),
        "method": client.put(TASKS),
        "deleted": client.delete(f"{TASKS}/{task}"),
    }
    for name, answer in answers.items():
        for header, value in security.HEADERS.items():
            assert answer.headers[header] == value, name
        page = name in ("page", "redirect", "options")  # the last two have no content
        assert answer.headers["Content-Security-Policy"] == (security.PAGE if page else security.CONTENT), name
        assert not re.search(r"\d", answer.headers.get("Server", "")), "no version is told"
    for policy in (security.PAGE, security.CONTENT):
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    assert security.CONTENT.endswith("; sandbox")


def test_an_answer_without_content_has_no_type(client: Client, app: Flask) -> None:
    task, formed = client.task(photo(78)), client.task(photo(79))
    image = client.show(formed)["images"][0]["id"]
    tag = client.get(f"{TASKS}/{task}").headers["ETag"]
    unchanged = client.get(f"{TASKS}/{task}", headers={"If-None-Match": tag})
    file = client.post("/api/files/", files={"file": ("a.jpg", photo(78))}).json()["file_ids"][0]
    owners = [{"user_id": number} for number in (781, 782)]
    made = [client.post("/images", data=owner, files={"image": ("a.jpg", photo(78))}) for owner in owners]
    assert [answer.status_code for answer in made] == [202, 202]
    account = {"email": "ada78@example.com", "password": "correct horse battery"}
    token = client.post("/registration", json=account).json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    done = f"{TASKS}/{client.run(photo(80))['id']}"
    checked = client.get(done).json()["images"][0]["id"]
    missed = {"bbox": {"x": 1, "y": 1, "width": 9, "height": 9}, "gender": "female", "age": 30}
    number = client.post(f"{done}/images/{checked}/faces", json=missed).json()["number"]
    review = client.post(f"{done}/reviews", json={"photos": 1}).json()["id"]
    of_task, reviewed = "/api/v1/tasks/{task_id}", f"{done}/reviews/{review}/images/{checked}"
    marked = client.put(reviewed)
    deleted = {
        f"{of_task}/images/{{image_id}}/faces/{{number}}": client.delete(f"{done}/images/{checked}/faces/{number}"),
        f"{of_task}/reviews/{{review_id}}/images/{{image_id}}": client.delete(reviewed),
        f"{of_task}/reviews/{{review_id}}": client.delete(f"{done}/reviews/{review}"),
        "/logout": requests.post(client.url + "/logout", headers=bearer, timeout=30),
        "/api/v1/tasks/{task_id}": client.delete(f"{TASKS}/{task}"),
        "/api/v1/tasks/{task_id}/images/{image_id}": client.delete(f"{TASKS}/{formed}/images/{image}"),
        "/api/files/{file_id}": client.delete(f"/api/files/{file}"),
        "/images": client.delete("/images", params=owners[0]),
        "/images/{image_id}": client.delete(f"/images/{made[1].json()['id']}"),
    }
    views = ((template(rule.rule), app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules())
    assert set(deleted) == {path for path, view in views if 204 in view.described.answers}  # type: ignore[attr-defined]
    for path, answer in {"unchanged": unchanged, "marked": marked, **deleted}.items():
        assert answer.status_code == (304 if path == "unchanged" else 204), path
        assert "Content-Type" not in answer.headers, path
        assert answer.content == b"", path


def test_a_photo_with_a_page_in_it_is_served_as_a_photo(client: Client) -> None:
    page = "<!doctype html><html><script>alert(1)</script></html>"
    jpeg = photo(5, comment=page.encode())
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", page)
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG", pnginfo=text)
    for image, media_type in ((jpeg, "image/jpeg"), (file.getvalue(), "image/png")):
        assert page.encode() in image
        task = client.task()
        parts = {"image": ("page.html", image, "text/html")}
        stored = client.post(f"{TASKS}/{task}/images", files=parts).json()["items"][0]
        content = client.get(f"{TASKS}/{task}/images/{stored['id']}/content")
        assert content.content == image
        assert content.headers["Content-Type"] == media_type
        assert content.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in content.headers["Content-Security-Policy"]
        assert "filename=" not in content.headers.get("Content-Disposition", "") or not re.search(
            r'\.html?"', content.headers["Content-Disposition"]
        )


def test_the_page_to_try_the_interface_works_under_the_strict_policy(client: Client, tmp_path: Path) -> None:
    chromium = chromium_path()

    def shown(url: str) -> tuple[str, list[str]]:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--no-first-run", "--enable-logging=stderr", f"--user-data-dir={tmp_path}/profile"]
        command += ["--virtual-time-budget=8000", "--dump-dom", url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
        return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]

    page, complaints = shown(client.url + "/docs")
    assert "Create a task" in page
    assert complaints == []
    assert shown("data:text/html,<script>console.log('heard')</script>")[1], "complaints would be heard"
