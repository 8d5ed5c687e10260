"""No secret of a whole run, with good days and bad ones, is in the log, in an answer or among the metrics."""

import base64
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import facecloud
from tests.support import Client, Service, photo, wait_for

EMAIL, PASSWORD = "somebody.secret@example.com", "facecloud-pass-7f3a"
CHOSEN = "chosen-pass-4c1d"
WRONG = "a-wrong-password-91c2"


class Listening(Client):
    """A client that keeps all that it is answered."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.url, service.password)
        self.heard: list[bytes] = []

    def request(self, *args: object, **options: object) -> requests.Response:
        answer = super().request(*args, **options)  # type: ignore[arg-type]
        self.heard += [answer.content, repr(dict(answer.headers)).encode()]
        return answer


def raw(service: Service, request: bytes) -> bytes:
    """Send bytes that need not be HTTP, and return what comes back."""
    with socket.create_connection(("127.0.0.1", int(str(service.settings["PORT"]))), 5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while part := connection.recv(65_536):
            heard += part
        return heard


def good_days_and_bad(service: Service, emulator: Emulator, client: Listening) -> list[str]:
    """Do everything that could make a secret slip out, and return the secrets."""
    moods = [
        Mood(name="status", status=500, message=f"internal {EMAIL} {PASSWORD}"),
        Mood(name="html", status=502),
        Mood(name="status", status=401, message="token expired"),
        Mood(name="half"),
        Mood(name="reset"),
        Mood(name="status", status=400, message=f"account {EMAIL} with {PASSWORD} is odd"),
    ]
    client.run(photo(1), photo(2))
    for number, mood in enumerate(moods):
        emulator.script.set([mood.__class__(**{**as_members(mood), "times": 2})])
        client.run(photo(10 + number), seconds=60)
    emulator.script.set([])
    tokens = set(emulator._tokens)
    emulator.revoke()
    client.run(photo(20))
    tokens |= emulator._tokens
    assert len(tokens) > 1
    user = client.post("/users", json={"name": "Ada"})
    client.heard = client.heard[:-2]  # this answer is meant to have the token, and is the only one
    token = user.json()["token"]
    form = {"user": user.json()["id"], "token": token}
    assert client.post("/records", data=form, files={"audio": b"RIFF"}, auth=None).status_code in (400, 415, 422)
    assert client.post("/records", data=form | {"token": token[::-1]}, files={"audio": b""}).status_code == 401
    assert client.get(f"/record?id={token}&user={token}").status_code == 404
    account = {"email": "ada@example.com", "password": CHOSEN}
    answers = [client.post("/registration", json=account, headers={"Idempotency-Key": "1"}) for _ in range(2)]
    client.heard = client.heard[:-4]  # these are meant to have it, too
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    bearer = answers[0].json()["access_token"]
    changed = account | {"password": CHOSEN[::-1]}
    assert client.post("/registration", json=changed, headers={"Idempotency-Key": "1"}).status_code == 422
    for wrong in (("admin", WRONG), (WRONG, service.password)):
        assert client.get("/api/v1/tasks", auth=wrong).status_code == 401
    login = base64.b64encode(f"admin:{service.password}".encode())
    for broken in (
        b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization Basic %s\r\n\r\n" % login,
        b"GET /api/v1/tasks Authorization: Basic %s\r\n\r\n" % login,
        b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\nContent-Length: %s\r\n\r\n"
        % (login, login),
        b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n\r\n" % login[:-3],
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\nContent-Length: 9\r\n\r\n{" % login,
    ):
        client.heard.append(raw(service, broken))
    client.post("/api/v1/tasks", data=b"{", headers={"Content-Type": "application/json"})
    # A fault of the service itself, which is logged with all that Python knows: a table is gone.
    with closing(sqlite3.connect(service.folder / "service.db")) as database:
        database.execute("ALTER TABLE question RENAME TO gone")
    assert client.get("/questions").status_code == 500
    return [service.password, login.decode(), token, bearer, CHOSEN, CHOSEN[::-1], EMAIL, PASSWORD, WRONG, *tokens]


def as_members(mood: Mood) -> dict[str, object]:
    return {name: getattr(mood, name) for name in ("name", "status", "message")}


def signed_link(service: Service) -> str:
    """Return the link of a copy that was made and fetched."""
    account = {"email": "grace@example.com", "password": WRONG}
    registered = requests.post(f"{service.url}/registration", json=account, timeout=30)
    assert registered.status_code == 201, registered.text
    token = registered.json()["access_token"]
    bearer = {"headers": {"Authorization": f"Bearer {token}"}, "timeout": 30}
    sent = requests.post(f"{service.url}/upload", files={"files": ("a.jpg", photo(90))}, **bearer).json()

    def finished() -> list[dict[str, Any]]:
        shown = requests.get(f"{service.url}/status/{sent['task_id']}", **bearer).json()
        return shown["images"] if shown["status"] == "finished" else []

    link: str = wait_for(finished, 60, "the copies")[0]["rotated"]
    assert requests.get(link, timeout=30).status_code == 200
    return link


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_said_anywhere(form: str, tmp_path: Path, migrated: Path) -> None:
    emulator = Emulator(decode=False, email=EMAIL, password=PASSWORD)
    shutil.copy(migrated, tmp_path / "service.db")
    with EmulatorServer(emulator) as server:
        account = {"FACECLOUD_EMAIL": EMAIL, "FACECLOUD_PASSWORD": PASSWORD}
        service = Service(tmp_path, **facecloud(server) | account | {"LOG_FORMAT": form, "LOG_LEVEL": "DEBUG"})
        try:
            service.start()
            client = Listening(service)
            secrets = good_days_and_bad(service, emulator, client)
            assert client.get("/metrics").status_code == 200
            link = signed_link(service)
            last = client.get("/healthz").headers["X-Request-Id"]
            wait_for(lambda: last in service.log.read_text(), what="the last line")
            service.stop()
        finally:
            service.kill()
    for secret in (urlsplit(link).path.split("/")[2], "JFIF"):
        assert secret.encode() not in service.log.read_bytes()
    told = service.log.read_bytes() + b"\n".join(client.heard)
    assert b"request could not be read" in told
    assert b"request failed" in told
    assert b"Traceback" in told
    assert [secret for secret in secrets if secret.encode() in told] == []
