"""Requests as browsers, curl on Windows, proxies and other programs really send them."""

import base64
import gzip
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import Client, Service, photo

TASKS = "/api/v1/tasks"
TONE = Path(__file__).parent.parent / "postman" / "tone.wav"
FORM = "multipart/form-data; boundary=x"


class Bearer(requests.auth.AuthBase):
    """The token of a user of augmentation."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


@pytest.fixture(scope="module")
def user(shared_service: Service) -> Client:
    """Return a client with the token of a user of augmentation."""
    client = shared_service.client()
    login = {"email": "ada@example.com", "password": "a long password"}
    client.auth = Bearer(client.post("/registration", json=login).json()["access_token"])
    return client


def part(disposition: str | bytes, content: bytes, *headers: str) -> bytes:
    """Return a part of a form, its header as it is."""
    raw = disposition.encode() if isinstance(disposition, str) else disposition
    lines = [b"--x", b"Content-Disposition: form-data; " + raw, *(header.encode() for header in headers), b"", content]
    return b"\r\n".join(lines) + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


def send(client: Client, path: str, body: bytes, content_type: str = FORM, **headers: str) -> requests.Response:
    return client.post(path, data=body, headers={"Content-Type": content_type} | headers)


def problem(answer: requests.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert found["type"].endswith(f"/docs/errors#{found['code']}")
    return found


def exchange(service: Service, sent: bytes) -> bytes:
    """Return all that comes for these bytes until the server closes; fail where it does not within ten seconds."""
    with socket.create_connection(("127.0.0.1", int(str(service.settings["PORT"]))), timeout=10) as sock:
        sock.sendall(sent)
        answer = b""
        try:
            while data := sock.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


def number_of_tasks(client: Client) -> int:
    return len(client.get(TASKS, params={"limit": 100}).json()["items"])


@pytest.mark.parametrize("path", [TASKS, "/upload", "/api/files/", "/images", "/records", "/questions", "/login"])
def test_a_coded_body_is_refused_with_the_codings_that_are_read(client: Client, user: Client, path: str) -> None:
    before = number_of_tasks(client)
    body = gzip.compress(form(part('name="image"; filename="a.jpg"', photo(1)), part('name="start"', b"true")))
    answer = send(user if path == "/upload" else client, path, body, **{"Content-Encoding": "gzip"})
    problem(answer, 415)
    assert answer.headers["Accept-Encoding"] == "identity"
    assert number_of_tasks(client) == before


def test_the_coding_identity_is_no_coding(client: Client) -> None:
    body = form(part('name="image"; filename="a.jpg"', photo(1)))
    made = send(client, TASKS, body, **{"Content-Encoding": "identity"})
    assert made.status_code == 201
    assert made.json()["progress"]["total"] == 1


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "deflate, chunked", "chunked, gzip", "identity"])
def test_a_transfer_coding_other_than_chunked_is_501(shared_service: Service, coding: str) -> None:
    credentials = base64.b64encode(f"admin:{shared_service.password}".encode()).decode()
    head = f"POST {TASKS} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\nTransfer-Encoding: {coding}\r\n"
    answer = exchange(shared_service, f"{head}Content-Type: application/json\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 501 "), answer
    assert b"chunked" in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("header", ["Content-Transfer-Encoding: base64", "Content-Encoding: gzip"])
def test_a_part_in_a_coding_is_refused(client: Client, header: str) -> None:
    body = form(part('name="image"; filename="a.jpg"', base64.b64encode(photo(1)), header))
    assert send(client, TASKS, body).status_code == 415


@pytest.mark.parametrize("header", ["Content-Transfer-Encoding: binary", "Content-Transfer-Encoding: 8bit"])
def test_a_part_that_says_that_it_has_no_coding_is_read(client: Client, header: str) -> None:
    body = form(part('name="image"; filename="a.jpg"', photo(1), header))
    assert send(client, TASKS, body).status_code == 201


def test_a_form_without_any_part_makes_nothing(client: Client) -> None:
    before = number_of_tasks(client)
    assert problem(send(client, TASKS, form()), 422)["code"] == "form_empty"
    assert number_of_tasks(client) == before


def test_a_start_with_a_form_is_refused_since_its_photos_would_be_lost(client: Client) -> None:
    task = client.task(photo(1))
    answer = client.post(f"{TASKS}/{task}/start", files={"image": ("b.jpg", photo(2))})
    problem(answer, 400)
    assert client.show(task)["status"] == "forming"


NAMES = {
    "a code page": (b'name="image"; filename="' + "фото.jpg".encode("cp1251") + b'"', "����.jpg"),
    "UTF-8": ('name="image"; filename="фото.jpg"', "фото.jpg"),
    "a percent-encoded quote": ('name="image"; filename="a%22b.jpg"', 'a"b.jpg'),
    "an escaped quote": (r'name="image"; filename="a\"b.jpg"', 'a"b.jpg'),
    "a path of Windows": (r'name="image"; filename="C:\photos\new.jpg"', "new.jpg"),
    "an escaped path of Windows": (r'name="image"; filename="C:\\photos\\new.jpg"', "new.jpg"),
    "a path of a server": (r'name="image"; filename="\\server\share\new.jpg"', "new.jpg"),
    "a backslash": (r'name="image"; filename="a\b.jpg"', r"a\b.jpg"),
    "an extended name": ("name=\"image\"; filename*=UTF-8''%D1%84.jpg", "ф.jpg"),
    "an extended name in quotes": ('name="image"; filename*="UTF-8\'\'%D1%84.jpg"', "ф.jpg"),
    "an extended name of a code page": ("name=\"image\"; filename*=windows-1251''%F4.jpg", "ф.jpg"),
    "an extended name of an unknown charset": ("name=\"image\"; filename*=nonsense''a%20b.jpg", "a b.jpg"),
    "both names": ('name="image"; filename="f.jpg"; filename*=UTF-8\'\'%D1%84.jpg', "ф.jpg"),
    "no quotes": ("name=image; filename=фото один.jpg", "фото один.jpg"),
    "an empty name": ('name="image"; filename=""', "image"),
    "a name with a semicolon": ('name="image"; filename="a;b=c.jpg"', "a;b=c.jpg"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_name_never_decides_over_a_file(client: Client, kind: str) -> None:
    disposition, name = NAMES[kind]
    answer = send(client, TASKS, form(part(disposition, photo(1))))
    assert answer.status_code == 201, answer.text
    assert [image["name"] for image in answer.json()["images"]] == [name]


def test_every_system_takes_names_in_a_code_page(client: Client, user: Client) -> None:
    name = b'; filename="' + "фото.jpg".encode("cp1251") + b'"'
    for path, field, status in (("/upload", b"files", 202), ("/api/files/", b"file", 201), ("/images", b"image", 202)):
        owner = [part('name="user_id"', b"7")] if path == "/images" else []
        body = form(*owner, part(b'name="%s"' % field + name, photo(1)))
        answer = send(user if path == "/upload" else client, path, body)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("boundary", ["abc/def=ghi", "/x", "a b", "=_Part:1?", '"a;b"'])
def test_a_boundary_without_quotes_may_have_any_character(client: Client, boundary: str) -> None:
    sent = boundary.strip('"').encode()
    body = form(part('name="image"; filename="a.jpg"', photo(1))).replace(b"--x", b"--" + sent)
    answer = send(client, TASKS, body, f"multipart/form-data; boundary={boundary}")
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("path", "field"),
    [(TASKS, "image"), ("/upload", "files"), ("/api/files/", "file"), ("/images", "image"), ("/records", "audio")],
)
def test_an_image_without_a_file_name_is_told_so_everywhere(
    client: Client, user: Client, path: str, field: str
) -> None:
    body = form(part(f'name="{field}"', photo(1), "Content-Type: image/jpeg"))
    told = problem(send(user if path == "/upload" else client, path, body), 422)
    assert "no file name" in told["detail"]
    assert told["errors"][0]["pointer"] == f"#/{field}"


def test_a_text_in_another_charset_is_read_as_its_part_says(client: Client) -> None:
    text = part('name="name"', "команда".encode("cp1251"), "Content-Type: text/plain; charset=windows-1251")
    answer = send(client, TASKS, form(text))
    assert answer.json()["name"] == "команда"


def test_a_tls_handshake_is_closed_at_once(shared_service: Service) -> None:
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(200)
    assert exchange(shared_service, hello) == b""


def test_json_may_begin_with_a_byte_order_mark(client: Client) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"name": "команда"}, ensure_ascii=False).encode()
    first, again = (send(client, TASKS, body, "application/json", **{"Idempotency-Key": "mark"}) for _ in range(2))
    assert first.json()["name"] == "команда"
    assert again.json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    ("charset", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("latin-1", "Latin-1"),
        ("cp1252", "page"),
    ],
)
@pytest.mark.parametrize("path", [TASKS, "/users", "/login", "/registration"])
def test_json_in_another_charset_is_named(client: Client, path: str, charset: str, named: str) -> None:
    told = problem(send(client, path, '{"name": "é"}'.encode(charset), "application/json"), 400)["detail"]
    assert named in told
    assert "UTF-8" in told


@pytest.mark.parametrize(
    ("path", "known"),
    [
        (TASKS, "`name`, `webhook_url`"),
        ("/users", "`name`"),
        ("/questions", "`questions_num`"),
        ("/login", "`email`, `password`"),
        ("/images/credentials", "`owner_type`, `owner_id`, `user_id`, `actions`, `lifetime`"),
    ],
)
def test_an_unknown_member_is_answered_with_those_that_are_known(client: Client, path: str, known: str) -> None:
    told = problem(client.post(path, json={"title": "team"}), 422)
    assert told["detail"].endswith(f"Known are: {known}.")


@pytest.mark.parametrize("path", [TASKS, "/images", "/questions"])
def test_an_unknown_parameter_is_answered_with_those_that_are_known(client: Client, path: str) -> None:
    told = problem(client.get(path, params={"page": "2"}), 422)
    assert "Known are: `" in told["detail"]
    assert "`cursor`" in told["detail"]


def test_start_in_json_is_told_where_it_belongs(client: Client) -> None:
    told = problem(client.post(TASKS, json={"name": "a", "start": True}), 422)
    assert "POST /api/v1/tasks/{id}/start" in told["detail"]
    assert told["errors"][0]["pointer"] == "#/start"


def test_a_slash_at_the_end_makes_no_other_address(client: Client) -> None:
    task = client.post(f"{TASKS}/", json={})
    assert task.status_code == 201
    for path in (
        f"{TASKS}/{task.json()['id']}/",
        f"{TASKS}/",
        "/api/image-processing/",
        "/questions/",
        "/images/",
        "/readyz/",
    ):
        answers = [client.get(one, allow_redirects=False).status_code for one in (path, path[:-1])]
        assert answers == [200, 200], path


def test_processing_answers_under_the_name_that_its_source_writes(client: Client) -> None:
    ids = client.post("/api/files", files={"file": ("a.jpg", photo(1))}).json()["file_ids"]
    order = {"file_ids": ids, "algorithm": "rotate", "params": {"direction": "clockwise"}}
    made = client.post("/api/image_processing/", json=order, allow_redirects=False)
    (number,) = made.json()["task_ids"]
    for name in ("image_processing", "image-processing"):
        assert client.get(f"/api/{name}/{number}", allow_redirects=False).json()["id"] == number
        assert client.get(f"/api/{name}", allow_redirects=False).json()[-1]["id"] == number
        assert client.post(f"/api/{name}/{number + 1}/restart", allow_redirects=False).status_code == 404


def test_uuids_in_capitals_are_the_same_in_every_system(client: Client, user: Client) -> None:
    speaker = client.post("/users", json={"name": "Ada"}).json()
    fields = {"user": speaker["id"].upper(), "token": speaker["token"].upper()}
    made = client.post("/records", data=fields, files={"audio": ("a.wav", TONE.read_bytes())})
    assert made.status_code == 201, made.text
    link = {"id": made.json()["id"].upper(), "user": speaker["id"].upper()}
    assert client.get("/record", params=link).status_code == 200
    image = client.post("/images", data={"user_id": "5"}, files={"image": ("a.jpg", photo(1))}).json()
    assert client.get(f"/images/{image['id'].upper()}").status_code == 200
    key = image["original"]["key"]
    version = key.split("/")[-2]
    capitals = key.replace(version, version.upper())
    assert client.delete("/images", params={"url": capitals}).status_code == 204
    task = user.post("/upload", files={"files": ("a.jpg", photo(1))}).json()["task_id"]
    assert user.get(f"/status/{task.upper()}").status_code == 200


def test_a_token_at_the_main_api_is_answered_by_what_to_do(client: Client, user: Client) -> None:
    told = problem(user.get(TASKS), 401)
    assert "Bearer" in told["detail"]
    assert "HTTP Basic" in told["detail"]
    told = problem(client.post("/upload", files={"files": ("a.jpg", photo(1))}), 401)
    assert "Bearer" in told["detail"]


def test_conflicts_differ_by_their_codes(client: Client) -> None:
    empty, started = client.task(), client.task(photo(1))
    assert problem(client.start(empty), 409)["code"] == "task_has_no_images"
    client.start(started)
    assert problem(client.start(started), 409)["code"] == "task_not_startable"
    added = client.post(f"{TASKS}/{started}/images", files={"image": ("a.jpg", photo(2))})
    assert problem(added, 409)["code"] == "task_not_forming"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (TASKS, b'{"title": "a"}', "unknown_member"),
        (TASKS, b'{"name": 5}', "invalid_member"),
        ("/questions", b"{}", "missing_member"),
        (TASKS, b"{", "not_json"),
        (TASKS, '{"name": "a"}'.encode("utf-16"), "charset_not_utf8"),
    ],
)
def test_a_fault_in_the_body_has_its_code_and_pointers(client: Client, path: str, body: bytes, code: str) -> None:
    answer = send(client, path, body, "application/json")
    told = problem(answer, answer.status_code)
    assert told["code"] == code
    assert all(fault["pointer"].startswith("#/") for fault in told.get("errors", ()))


@pytest.mark.parametrize(
    ("query", "code", "parameter"),
    [
        ({"page": "2"}, "unknown_parameter", "page"),
        ({"limit": "0"}, "invalid_parameter", "limit"),
        ({"cursor": "x"}, "invalid_parameter", "cursor"),
        ({"limit": ["1", "2"]}, "invalid_parameter", "limit"),
    ],
)
def test_a_fault_in_the_query_names_its_parameter(
    client: Client, query: dict[str, Any], code: str, parameter: str
) -> None:
    told = problem(client.get(TASKS, params=query), 422)
    assert told["code"] == code
    (fault,) = told["errors"]
    assert (fault["parameter"], "pointer" in fault) == (parameter, False)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"", 422, "file_empty"), (b"words", 415, "image_type_not_accepted"), (photo(1)[:-20], 422, "image_damaged")],
)
def test_a_refused_file_has_its_code_in_every_system(
    client: Client, user: Client, content: bytes, status: int, code: str
) -> None:
    for sender, path, field in ((client, TASKS, "image"), (user, "/upload", "files"), (client, "/api/files/", "file")):
        answer = sender.post(path, files={field: ("a.jpg", content)})
        assert problem(answer, status)["code"] == code, path


def test_what_is_refused_below_the_application_has_a_code_too(shared_service: Service, client: Client) -> None:
    assert problem(client.get("/nothing"), 404)["code"] == "address_not_found"
    assert problem(client.patch(TASKS), 405)["code"] == "method_not_allowed"
    answer = exchange(shared_service, b"GET / HTTP/1.1\r\nA B: c\r\n\r\n")
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (told["code"], told["type"]) == ("malformed_request", "/docs/errors#malformed_request")
