"""A call ends with its time, whatever the other side does: one byte a second is no sign of life."""

import io
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.server import EmulatorServer
from service.deadlines import deadline, look_up, names_resolved_by
from service.errors import Unavailable
from service.features.faces.engines.facecloud import FaceCloud
from service.features.questions.http_source import JSONClient
from service.features.questions.source import SourceFailed
from service.http import outbound
from service.jobs.operation import Unserved
from service.storage.s3 import S3Storage
from service.storage.s3_client import S3Access
from service.storage.storage import Storage
from service.storage.sts import SecurityTokenService
from tests.support import ROOT, photo

Behaviour = Callable[[socket.socket], None]
PAUSE = 0.1
"""Seconds between two bytes: ten times as fast as the second that a hostile server would take."""


def dripping(begin: bytes, rest: bytes) -> Behaviour:
    """Return a server that sends the begin of an answer at once, and the rest byte by byte."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(begin)
        for byte in rest:
            connection.sendall(bytes((byte,)))
            time.sleep(PAUSE)

    return behave


drips_its_headers = dripping(b"", b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000)
# A TLS handshake, of which a ServerHello of 16,000 bytes never ends.
drips_its_handshake = dripping(b"\x16\x03\x03\x3e\x80\x02\x00\x3e\x7c", b"\x03" * 10_000)


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def takes_nothing(connection: socket.socket) -> None:
    time.sleep(30)


BEHAVIOURS = {
    "drips its headers": drips_its_headers,
    "drips its body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" " * 10_000),
    "drips until it closes": dripping(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" " * 10_000),
    "says nothing": says_nothing,
    "takes nothing": takes_nothing,
    "drips its handshake": drips_its_handshake,
}


@pytest.fixture(params=BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def slow(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a server that keeps its clients waiting."""
    behave: Behaviour = request.param
    with server(behave) as url:
        yield url.replace("http:", "https:") if behave is drips_its_handshake else url


@contextmanager
def server(behave: Behaviour) -> Iterator[str]:
    """Give the address of a server that treats each connection so."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=behave_quietly, args=(connection,), daemon=True).start()

    def behave_quietly(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            behave(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def access(url: str) -> S3Access:
    return S3Access(endpoint=url, key_id="any", secret=secrets.token_hex(6), timeout=0.5)


def test_a_call_of_facecloud_ends_with_its_time(slow: str) -> None:
    client = FaceCloud(slow, "a@example.com", "any", timeout=1.5)
    begun = time.monotonic()
    with pytest.raises(Unserved) as caught:
        client.detect(photo(1))
    assert time.monotonic() - begun < 1.5 + 5
    assert caught.value.detail == "FaceCloud did not answer within 1.5 s."
    client.close()


def test_a_webhook_ends_with_its_time(slow: str) -> None:
    begun = time.monotonic()
    with pytest.raises(outbound.Unreachable):
        outbound.post(slow, b"x" * 100, {}, private_allowed=True, seconds=1.5)
    assert time.monotonic() - begun < 1.5 + 5


def test_a_source_of_questions_ends_with_its_time(slow: str) -> None:
    begun = time.monotonic()
    with pytest.raises(SourceFailed):
        JSONClient(slow).get("/", {}, begun + 0.5)
    assert time.monotonic() - begun < 0.5 + 10


S3_CALLS: dict[str, Callable[[Storage], object]] = {
    "save": lambda storage: storage.save("a", io.BytesIO(b"x" * 1_000)),
    "save in parts": lambda storage: storage.save("a", io.BytesIO(b"x" * 9_000_000)),
    "read": lambda storage: storage.read("a"),
    "delete": lambda storage: storage.delete("a", "b"),
    "list": lambda storage: list(storage.keys()),
    "check": lambda storage: storage.check(),
}


@pytest.mark.parametrize("call", S3_CALLS)
def test_a_call_of_the_object_store_ends_with_its_time(call: str) -> None:
    with server(drips_its_headers) as url:
        ends(S3Storage("bucket", "", access(url)), S3_CALLS[call])


def test_an_upload_to_the_object_store_ends_with_its_time(slow: str) -> None:
    ends(S3Storage("bucket", "", access(slow)), S3_CALLS["save"])


def ends(storage: Storage, call: Callable[[Storage], object]) -> None:
    """See that the call ends with its half second: the margin is for the making of boto3's client."""
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        call(storage)
    assert time.monotonic() - begun < 0.5 + 10


def test_a_store_that_has_had_its_time_is_not_asked_again() -> None:
    asked = []

    def behave(connection: socket.socket) -> None:
        asked.append(connection)
        says_nothing(connection)

    with server(behave) as url:
        ends(S3Storage("bucket", "", access(url)), S3_CALLS["save"])
    assert len(asked) == 1


@pytest.mark.parametrize("header", ["", "Connection: close\r\n"])
def test_a_download_ends_with_the_time_of_a_piece(header: str) -> None:
    head = f'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 10000\r\n{header}\r\n'
    with (
        server(dripping(head.encode(), b" " * 10_000)) as url,
        S3Storage("bucket", "", access(url)).open("a") as stream,
    ):
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            stream.read()
        assert time.monotonic() - begun < 0.5 + 10


def test_temporary_credentials_end_with_their_time(slow: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        SecurityTokenService("bucket", "arn:aws:iam::1:role/any", slow, access(slow)).issue("a/", ["read"], 900, "any")
    assert time.monotonic() - begun < 0.5 + 10


CALLS: dict[str, tuple[type[Exception], Callable[[str], object]]] = {
    "FaceCloud": (Unserved, lambda url: FaceCloud(url, "a@example.com", "any", timeout=0.5).detect(photo(1))),
    "a webhook": (outbound.Unreachable, lambda url: outbound.post(url, b"", {}, private_allowed=True, seconds=0.5)),
    "a source of questions": (SourceFailed, lambda url: JSONClient(url).get("/", {}, time.monotonic() + 0.5)),
    "the object store": (Unavailable, lambda url: S3_CALLS["save"](S3Storage("bucket", "", access(url)))),
    "temporary credentials": (
        Unavailable,
        lambda url: SecurityTokenService("bucket", "arn:aws:iam::1:role/any", url, access(url)).issue(
            "a/", ["read"], 900, "any"
        ),
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_looking_a_name_up_is_within_the_time_of_a_call(call: str) -> None:
    released = threading.Event()
    asked = []

    def hang(name: str, _: int) -> list[str]:
        asked.append(name)
        released.wait(60)
        return ["127.0.0.1"]

    failure, ask = CALLS[call]
    begun = time.monotonic()
    with names_resolved_by(hang):
        for _ in range(2):
            with pytest.raises(failure):
                ask("http://nowhere.example:8443")
    assert time.monotonic() - begun < 2 * 0.5 + 20
    assert asked == ["nowhere.example"], "the second call waits for the look-up of the first"
    released.set()


def test_a_connection_goes_to_the_next_address_of_a_name_where_the_first_refuses() -> None:
    with EmulatorServer(Emulator(decode=False)) as server, names_resolved_by(lambda *_: ["127.0.0.2", "127.0.0.1"]):
        client = FaceCloud(server.url.replace("127.0.0.1", "face.example"), "a@example.com", "any", timeout=5)
        client.detect(photo(1))
        client.close()


def test_a_name_without_an_address_is_known_as_such_and_an_address_is_not_looked_up() -> None:
    def refuse(name: str, _: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, name)

    with names_resolved_by(refuse):
        assert look_up("::1", 80) == ["::1"]
        for _ in range(2):
            with pytest.raises(socket.gaierror):
                look_up("nowhere.example", 80)


def test_calls_in_time_are_not_touched_and_connections_stay_alive() -> None:
    with EmulatorServer(Emulator(decode=False)) as server:
        client = FaceCloud(server.url, "a@example.com", "any", timeout=0.5)
        for _ in range(3):
            client.detect(photo(1))
            time.sleep(0.4)  # the deadline of the call before falls into a later one
        assert server.accepted == 1
        client.close()


def test_each_megabyte_is_worth_a_second() -> None:
    with deadline(2, size=3_000_000) as bound:
        begun = time.monotonic()
        assert bound.ends_at - begun == pytest.approx(5, abs=0.1)
        bound.extend(2_000_000)
        assert bound.ends_at - begun == pytest.approx(7, abs=0.1)


FORKS = """
import os, signal, sys, threading
from service.deadlines import deadline

def call():
    while True:
        with deadline(5):
            pass

sys.setswitchinterval(1e-6)
for _ in range(4):
    threading.Thread(target=call, daemon=True).start()
for _ in range(5):
    child = os.fork()
    if not child:
        signal.alarm(20)
        with deadline(5):
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_in_the_middle_of_calls_leaves_the_child_its_own() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
