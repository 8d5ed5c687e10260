"""Webhooks against a real receiver: signed, retried, and kept away from private targets."""

import json
import secrets
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.app import create_app
from service.config import Settings
from service.db.database import Database
from service.deadlines import names_resolved_by, resolve
from service.features.faces.webhooks import WAITS, derived_secret
from service.http import outbound as targets
from service.http.services import provided
from service.http.special_addresses import is_public
from tests.conftest import MakeService, facecloud, with_both_executors
from tests.support import Client, Service, photo, wait_for
from tests.test_tasks import problem

numbers = count(800_000)
Script = list[int | tuple[int, dict[str, str]] | Callable[[], int]]


class Receiver(ThreadingHTTPServer):
    """A server that keeps what it is sent and answers by a script; at its end with 204."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.script: Script = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def calls_to(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for called, headers, body in self.calls if called == path]

    def wait(self, path: str, number: int = 1, seconds: float = 20) -> list[tuple[dict[str, str], bytes]]:
        wait_for(lambda: len(self.calls_to(path)) >= number, seconds, f"{number} calls to {path}")
        return self.calls_to(path)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break: some tests break them."""


class _Requests(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        step = self.server.script.pop(0) if self.server.script else 204
        self.server.calls.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if callable(step):
            step = step()
        status, headers = step if isinstance(step, tuple) else (step, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def secret() -> str:
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


@pytest.fixture(scope="module")
def telling(
    tmp_path_factory: pytest.TempPathFactory,
    migrated: Path,
    shared_emulator: EmulatorServer,
    secret: str,
    executor: dict[str, object],
) -> Iterator[Service]:
    """Give a service that may tell receivers on this machine."""
    folder = tmp_path_factory.mktemp("telling")
    (folder / "service.db").write_bytes(migrated.read_bytes())
    settings = {"WEBHOOK_SECRET": secret, "WEBHOOK_ALLOW_PRIVATE": "true", "WORKERS": 2}
    service = Service(folder, **facecloud(shared_emulator, **settings), **executor)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def teller(telling: Service, shared_emulator: EmulatorServer) -> Client:
    shared_emulator.emulator.script.set([])
    return telling.client()


def run(client: Client, url: str, images: int = 1) -> str:
    """Create and start a task that tells this address; return its id."""
    parts = [("image", ("a.jpg", photo(next(numbers)))) for _ in range(images)]
    created = client.post("/api/v1/tasks", data={"webhook_url": url, "start": "true"}, files=parts)
    assert created.status_code == 201, created.text
    task: str = created.json()["id"]
    return task


@with_both_executors
def test_the_end_of_a_task_is_told_signed_and_without_images(teller: Client, receiver: Receiver, secret: str) -> None:
    task = run(teller, f"{receiver.url}/hook?key=1", 2)
    ((headers, body),) = receiver.wait("/hook?key=1")
    told = Webhook(secret).verify(body, headers)
    shown = teller.ended(task)
    shown.pop("images")
    shown.pop("images_next")
    assert told == {"type": "task.completed", "timestamp": shown["finished_at"], "data": shown}
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
    assert headers["webhook-signature"].startswith("v1,")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)


@with_both_executors
def test_a_failed_delivery_is_repeated_with_the_same_id_when_the_receiver_asked_for_it(
    teller: Client, telling: Service, receiver: Receiver, secret: str
) -> None:
    receiver.script = [(503, {"Retry-After": "2"})]
    task = run(teller, f"{receiver.url}/later")
    (first, body), (second, again) = receiver.wait("/later", 2)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) >= 2
    assert body == again
    assert Webhook(secret).verify(again, second)
    log = wait_for(
        lambda: [line for line in telling.log.read_text().splitlines() if "delivered" in line and task in line]
    )
    assert "attempt=2 status=204" in log[0]


def test_deliveries_are_listed_and_sent_again(teller: Client, receiver: Receiver, secret: str) -> None:
    receiver.script = [410]
    task = run(teller, f"{receiver.url}/listed")
    address = f"/api/v1/tasks/{task}/deliveries"

    def only(status: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            items = teller.get(address).json()["items"]
            return next((item for item in items if item["status"] == status), None)

        item: dict[str, Any] = wait_for(found, 20, status)
        return item

    gone = only("failed")
    assert (gone["type"], gone["attempts"], gone["answer"]) == ("task.completed", 1, 410)
    assert gone["detail"] == "127.0.0.1 answered 410."
    assert gone["next_try"] is None
    sent = teller.post(f"{address}/{gone['id']}/redeliver")
    assert sent.status_code == 202, sent.text
    (first, body), (second, again) = receiver.wait("/listed", 2)
    assert first["webhook-id"] == second["webhook-id"] == gone["id"]
    assert body == again
    delivered = only("delivered")
    assert (delivered["attempts"], delivered["answer"], delivered["detail"]) == (2, 204, None)
    problem(teller.post(f"{address}/none/redeliver"), 404)
    problem(teller.get("/api/v1/tasks/none/deliveries"), 404)


def test_a_delivery_that_waits_is_sent_at_once_when_asked_for(teller: Client, receiver: Receiver) -> None:
    receiver.script = [(503, {"Retry-After": "600"})]
    task = run(teller, f"{receiver.url}/waits")
    address = f"/api/v1/tasks/{task}/deliveries"
    (item,) = wait_for(lambda: [one for one in teller.get(address).json()["items"] if one["answer"] == 503], 20)
    assert item["status"] == "pending"
    assert item["next_try"] > item["tried_at"]
    assert teller.post(f"{address}/{item['id']}/redeliver").status_code == 202
    assert len(receiver.wait("/waits", 2)) == 2


def test_deliveries_are_tried_for_three_days() -> None:
    assert 3 * 86_400 <= sum(WAITS) < 3.1 * 86_400


def test_a_command_tries_a_receiver(tmp_path: Path, receiver: Receiver, secret: str) -> None:
    settings = Settings(
        api_password="password",
        webhook_secret=secret,
        webhook_allow_private=True,
        database_url=f"sqlite:///{tmp_path}/service.db",
        storage_url=str(tmp_path),
    )
    app = create_app(settings)
    receiver.script = [204, 500]
    good, bad = (app.test_cli_runner().invoke(args=["webhook", "test", f"{receiver.url}/try"]) for _ in range(2))
    assert (good.exit_code, good.output) == (0, "The receiver answered 204.\n")
    assert bad.exit_code == 1
    assert "answered 500" in bad.output
    headers, body = receiver.calls_to("/try")[0]
    assert Webhook(secret).verify(body, headers)["type"] == "webhook.test"
    provided(Database, app).close()


def test_each_end_is_told_also_after_a_retry(
    teller: Client, receiver: Receiver, shared_emulator: EmulatorServer, secret: str
) -> None:
    shared_emulator.emulator.script.set([Mood(name="status", status=400)])
    task = run(teller, f"{receiver.url}/ends")
    ((first, body),) = receiver.wait("/ends")
    assert json.loads(body)["type"] == "task.error"
    assert json.loads(body)["data"]["progress"]["failed"] == 1
    shared_emulator.emulator.script.set([])
    assert teller.start(task).status_code == 202
    _, (second, body) = receiver.wait("/ends", 2)
    assert Webhook(secret).verify(body, second)["type"] == "task.completed"
    assert first["webhook-id"] != second["webhook-id"]


def test_a_redirect_is_not_followed_and_gone_ends_it(teller: Client, telling: Service, receiver: Receiver) -> None:
    receiver.script = [(302, {"Location": f"{receiver.url}/elsewhere"}), 410]
    task = run(teller, f"{receiver.url}/here")
    receiver.wait("/here", 2)
    wait_for(lambda: f"task={task} attempt=2 code=webhook_gone" in telling.log.read_text(), what="the log of the end")
    assert receiver.calls_to("/elsewhere") == []
    question = "SELECT status, error FROM job WHERE kind = 'webhook' AND task = ?"
    database = sqlite3.connect(telling.folder / "service.db", isolation_level=None)
    # The log is written before the commit.
    wait_for(
        lambda: database.execute(question, (task,)).fetchall() == [("failed", "webhook_gone")], what="the job's end"
    )
    database.close()


def test_a_deleted_task_tells_nothing_more(teller: Client, telling: Service, receiver: Receiver) -> None:
    receiver.script = [500] * 9
    task = run(teller, f"{receiver.url}/deleted")
    receiver.wait("/deleted")
    assert teller.delete(f"/api/v1/tasks/{task}").status_code == 204
    with sqlite3.connect(telling.folder / "service.db") as database:
        left = [
            database.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (task,)).fetchone()[0]
            for table, column in (("webhook_event", "task_id"), ("job", "task"))
        ]
    database.close()
    assert left == [0, 0]


@with_both_executors
def test_receivers_that_hang_hold_up_neither_photos_nor_each_other_for_ever(teller: Client, receiver: Receiver) -> None:
    release = threading.Event()

    def hang() -> int:
        release.wait(30)
        return 204

    receiver.script = [hang] * 12
    try:
        for _ in range(12):
            run(teller, f"{receiver.url}/hang")
        receiver.wait("/hang", 4)
        begin = time.monotonic()
        teller.run(*(photo(next(numbers)) for _ in range(20)))
        assert time.monotonic() - begin < 15
    finally:
        release.set()
    ids = {headers["webhook-id"] for headers, _ in receiver.wait("/hang", 12)}
    assert len(ids) == 12


def test_an_end_is_told_though_the_server_is_killed_before(
    make_service: MakeService, emulator: EmulatorServer, receiver: Receiver
) -> None:
    release = threading.Event()

    def hang() -> int:
        release.wait(30)
        return 204

    receiver.script = [hang]
    service = make_service(**facecloud(emulator, WEBHOOK_ALLOW_PRIVATE="True"))
    client = service.start()
    task = run(client, f"{receiver.url}/killed")
    receiver.wait("/killed")
    assert client.ended(task)["status"] == "completed"
    service.kill()
    release.set()
    service.start()
    (first, _), (second, body) = receiver.wait("/killed", 2)
    assert first["webhook-id"] == second["webhook-id"]
    # No secret was set, so it is the one that follows from the password.
    assert Webhook(derived_secret(service.password)).verify(body, second)["type"] == "task.completed"


def test_the_command_prints_the_secret(tmp_path: Path, secret: str) -> None:
    for given, printed in ((secret, secret), ("", derived_secret("password"))):
        settings = Settings(
            api_password="password",
            webhook_secret=given,
            database_url=f"sqlite:///{tmp_path}/service.db",
            storage_url=str(tmp_path),
        )
        app = create_app(settings)
        assert app.test_cli_runner().invoke(args=["webhook-secret"]).output.strip() == printed
        provided(Database, app).close()


# --- where they may go


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "example.com",
        "//example.com",
        "http://",
        "https://user:word@example.com/",
        "https://user@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://[::1",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://пример.рф/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/" + "a" * 2000,
        "http://localhost/",
        "http://a.localhost:8000/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fd00::1]/",
        "http://[fe80::1%25eth0]/",
    ],
)
def test_an_address_that_may_not_be_called_is_refused_at_once(client: Client, url: str) -> None:
    answer = client.post("/api/v1/tasks", json={"webhook_url": url})
    problem(answer, 422)
    assert [error["pointer"] for error in answer.json()["errors"]] == ["#/webhook_url"]


def test_a_refused_address_is_told_why(client: Client) -> None:
    def told(url: str) -> str:
        return problem(client.post("/api/v1/tasks", json={"webhook_url": url}), 422)

    for host in ("localhost", "10.1.2.3", "224.0.0.1", "240.0.0.1", "192.0.2.1", "2001:db8::1"):
        assert f"{host} is not a public address" in told(f"http://{f'[{host}]' if ':' in host else host}/")
    assert "empty" in (detail := told("")) and "https://example.com/hook" in detail


@pytest.mark.parametrize(
    ("port", "taken"), [(80, True), (443, True), (8443, True), (25, False), (22, False), (1023, False)]
)
def test_a_receiver_listens_on_a_port_of_the_web_or_above_1023(port: int, taken: bool) -> None:
    url = f"https://example.com:{port}/hook"
    targets.check_url(url, private_allowed=True)
    if taken:
        assert targets.check_url(url, private_allowed=False).port == port
    else:
        with pytest.raises(targets.Refused, match="80, 443, or 1024"):
            targets.check_url(url, private_allowed=False)


def test_a_name_that_leads_to_this_machine_is_refused_at_delivery(client: Client, shared_service: Service) -> None:
    name = socket.gethostname()
    assert not all(map(is_public, resolve(name, 80)))
    task = run(client, f"http://{name}:{shared_service.settings['PORT']}/")
    wait_for(lambda: f"task={task} attempt=1 code=webhook_refused" in shared_service.log.read_text())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        *((address, True) for address in ("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.32.0.0")),
        *((address, True) for address in ("192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2600::1")),
        *((address, False) for address in ("192.0.0.1", "192.0.0.9", "192.0.0.171", "192.31.196.1", "192.52.193.1")),
        *((address, False) for address in ("192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255")),
        *((address, False) for address in ("198.51.100.7", "203.0.113.9", "0.1.2.3", "100.127.255.255")),
        *((address, False) for address in ("2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "3fff::1")),
        *(
            (address, False)
            for address in ("2620:4f:8000::1", "5f00::1", "100::1", "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8")
        ),
        ("2001:200::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:93.184.215.14", False),
        ("::93.184.215.14", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:db8::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("ff0e::1", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_the_connection_goes_to_the_address_that_was_checked_under_the_names_own_name(receiver: Receiver) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = f"http://hook.example:{receiver.server_port}/pinned"
    with names_resolved_by(resolve):
        assert targets.post(url, b"{}", {}, private_allowed=True) == targets.Answer(204, None)
    assert asked == ["hook.example"]
    assert receiver.calls_to("/pinned")[0][0]["host"] == f"hook.example:{receiver.server_port}"


def test_one_private_address_among_public_ones_refuses_the_name(receiver: Receiver) -> None:
    url = f"http://hook.example:{receiver.server_port}/mixed"
    with pytest.raises(targets.Refused), names_resolved_by(lambda *_: ["93.184.215.14", "127.0.0.1"]):
        targets.post(url, b"", {}, private_allowed=False)
    assert receiver.calls == []


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a certificate and key for hook.example, which the system trusts during the test."""
    path = tmp_path / "hook.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hook.example"
    extension = ["-addext", "subjectAltName=DNS:hook.example", "-keyout", path, "-out", tmp_path / "certificate.pem"]
    subprocess.run([*command.split(), *extension], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write((tmp_path / "certificate.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    targets._trust.cache_clear()
    yield path
    targets._trust.cache_clear()


def test_over_tls_the_certificate_must_be_the_names(receiver: Receiver, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)

    def post(host: str) -> int:
        url = f"https://{host}:{receiver.server_port}/tls"
        with names_resolved_by(lambda *_: ["127.0.0.1"]):
            return targets.post(url, b"{}", {}, private_allowed=True).status

    assert post("hook.example") == 204
    with pytest.raises(targets.Unreachable, match=r"not valid for 'other\.example'"):
        post("other.example")
    assert len(receiver.calls) == 1


def test_an_answer_that_drips_is_cut_off() -> None:
    done = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not done.wait(0.05):
                try:
                    connection.sendall(b"X-Drop: 1\r\n")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        begin = time.monotonic()
        with pytest.raises(targets.Unreachable):
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            targets.post(url, b"", {}, private_allowed=True, seconds=0.4)
        assert time.monotonic() - begin < 10
        done.set()
        thread.join()
