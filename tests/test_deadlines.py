"""A call ends with its time, whatever the other side does: one byte a second is no sign of life."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.server import EmulatorServer
from service.deadlines import deadline
from service.features.faces.engines.facecloud import FaceCloud
from service.http import outbound
from service.jobs.operation import Unserved
from tests.support import photo

Behaviour = Callable[[socket.socket], None]
PAUSE = 0.1
"""Seconds between two bytes: ten times as fast as the second that a hostile server would take."""


def drips_its_headers(connection: socket.socket) -> None:
    connection.recv(65_536)
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
        connection.sendall(bytes((byte,)))
        time.sleep(PAUSE)


def drips_its_body(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b" ")
        time.sleep(PAUSE)


def says_nothing(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def takes_nothing(connection: socket.socket) -> None:
    time.sleep(30)


@pytest.fixture(params=[drips_its_headers, drips_its_body, says_nothing, takes_nothing], ids=lambda one: one.__name__)
def slow(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a server that keeps its clients waiting."""
    behave: Behaviour = request.param
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


def test_a_call_of_facecloud_ends_with_its_time(slow: str) -> None:
    client = FaceCloud(slow, "a@example.com", "any", timeout=1.5)
    begun = time.monotonic()
    with pytest.raises(Unserved) as caught:
        client.detect(photo(1))
    assert time.monotonic() - begun < 1.5 + 1.5
    assert caught.value.detail == "FaceCloud did not answer within 1.5 s."
    client.close()


def test_a_webhook_ends_with_its_time(slow: str) -> None:
    begun = time.monotonic()
    with pytest.raises(outbound.Unreachable):
        outbound.post(slow, b"x" * 100, {}, private_allowed=True, seconds=1.5)
    assert time.monotonic() - begun < 1.5 + 1.5


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
