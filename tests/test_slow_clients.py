"""Clients that send or take a byte a second, over real sockets: they hold no thread, and others are served."""

import base64
import contextlib
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from service.server.min_data_rate import MAX_PAUSE_UNDER_PRESSURE, MinDataRate, MinRateSocket, is_over_total
from tests.conftest import MakeService
from tests.support import Service, photo, wait_for

DRIBBLERS = 40
"""More than both processes have threads."""
SECONDS = 5
LARGE_FILE = "/docs/js/swagger-ui-bundle.js"
"""Thirty times this is more than the buffers of both ends take."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("slow")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, FACE_ENGINE="local", WORKERS=1)
    service.start()
    yield service
    service.kill()


def connected(service: Service, *parts: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", int(str(service.settings["PORT"]))), timeout=60)
    for part in parts:
        sock.sendall(part)
    return sock


def head(service: Service, line: str, *headers: str, allowed: bool = True) -> bytes:
    secret = base64.b64encode(f"admin:{service.password}".encode()).decode()
    authorization = [f"Authorization: Basic {secret}"] if allowed else []
    return "\r\n".join([f"{line} HTTP/1.1", "Host: a", *authorization, *headers, "", ""]).encode()


def answer_of(sock: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(65536):
            answer += data
    return answer


@contextlib.contextmanager
def dribbling(socks: list[socket.socket]) -> Iterator[None]:
    """Send a byte a second on each, for as long as the block runs; those the server ends are left."""
    going = True

    def go() -> None:
        while going:
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(b"x", socket.MSG_DONTWAIT)
            time.sleep(0.5)

    with ThreadPoolExecutor(1) as pool:
        going_on = pool.submit(go)
        try:
            yield
        finally:
            going = False
            going_on.result()
            for sock in socks:
                sock.close()


@pytest.mark.parametrize("kind", ["silent", "head", "body", "late body", "refused body", "answer"])
def test_forty_slow_clients_do_not_keep_others_waiting(service: Service, kind: str) -> None:
    client = service.client()
    task = client.task(photo(1))
    upload = f"POST /api/v1/tasks/{task}/images"
    long = ("Content-Type: image/jpeg", "Content-Length: 5000000")
    begin = {
        "silent": b"",
        "head": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        "body": head(service, upload, *long),
        "late body": head(service, upload, *long) + b"\xff\xd8" + bytes(100_000),
        "refused body": head(service, upload, *long, allowed=False),
        "answer": head(service, f"GET {LARGE_FILE}") * 30,
    }[kind]
    with ThreadPoolExecutor(DRIBBLERS) as pool:
        socks = list(pool.map(lambda _: connected(service, begin), range(DRIBBLERS)))
    if kind == "answer":
        assert len(client.get(LARGE_FILE).content) > 1_000_000
        assert all(sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200" for sock in socks)
    slowest, asked = 0.0, 0
    with dribbling(socks if kind not in ("silent", "answer") else []):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or asked < 10:
            for path in ("/healthz", f"/api/v1/tasks/{task}"):
                begun = time.monotonic()
                assert client.get(path, headers={"Connection": "close"}, timeout=60).status_code == 200
                slowest, asked = max(slowest, time.monotonic() - begun), asked + 1
        begun = time.monotonic()
        files = [("image", (f"{number}.jpg", photo(number, (1200, 900)))) for number in range(5)]
        assert client.post(f"/api/v1/tasks/{task}/images", files=files).status_code == 201
        slowest = max(slowest, time.monotonic() - begun)
    print(f"{kind}: {asked} asked, the slowest in {slowest:.2f} s")
    # Those who already have a thread keep it for a second where threads are scarce; no others wait at all.
    assert slowest < 10, "they hold a thread for twenty seconds"
    for sock in socks:
        sock.close()


@contextlib.contextmanager
def sending(size: int) -> Iterator[tuple[Future[float], socket.socket]]:
    """Yield the sending of so many bytes in a thread, which gives the seconds that it takes, and its peer."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        peer = socket.create_connection(listener.getsockname(), timeout=60)
        sock = MinRateSocket(fileno=listener.accept()[0].detach())
        sock.rate = MinDataRate(threads=0)  # always under pressure

        def send() -> float:
            begun = time.monotonic()
            sock.sendall(bytes(size))
            return time.monotonic() - begun

        with peer, sock:
            yield pool.submit(send), peer


def test_what_only_fills_the_buffers_earns_a_client_no_time() -> None:
    begun = time.monotonic()
    with sending(60_000_000) as (sent, _), pytest.raises(BrokenPipeError):
        sent.result(60)
    assert time.monotonic() - begun < 2 * MAX_PAUSE_UNDER_PRESSURE


def test_a_burst_earns_a_client_no_long_silence() -> None:
    with sending(200_000_000) as (sent, peer):
        for _ in range(300):
            assert peer.recv(100_000)
        begun = time.monotonic()
        with pytest.raises(BrokenPipeError):
            sent.result(60)
    assert time.monotonic() - begun < 2 * MAX_PAUSE_UNDER_PRESSURE


def test_who_takes_an_answer_slowly_but_fast_enough_gets_all_of_it() -> None:
    size = 8_000_000
    with sending(size) as (sent, peer):
        taken = 0
        while taken < size:
            taken += len(peer.recv(50_000))
            time.sleep(0.05)
        assert sent.result(60) > 1, "it was waited for"


def test_who_is_too_slow_is_told_so(service: Service) -> None:
    """Time is what is tested, so all that takes time goes on at once."""
    client = service.client()
    task = client.task()
    upload = f"POST /api/v1/tasks/{task}/images"
    long = ("Content-Type: image/jpeg", "Content-Length: 5000000")
    socks = [
        connected(service, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "),
        connected(service, head(service, upload, *long)),
        connected(service, head(service, upload, *long), b"\xff\xd8" + bytes(33_000)),
        connected(service, head(service, upload, *long, "Expect: 100-continue")),
    ]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(socks)) as pool:
        for answer in pool.map(answer_of, socks):
            status, _, _ = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n")
            assert status.lower() == b"http/1.1 408 request timeout"
            assert b"application/problem+json" in answer
            assert b"slowly" in answer
    assert 15 < time.monotonic() - begun < 50
    for sock in socks:
        sock.close()
    assert client.show(task)["images"] == []


def test_a_request_in_pieces_is_read_as_one_however_it_is_cut(service: Service) -> None:
    whole = head(service, "POST /api/v1/tasks", "Content-Type: application/json", "Content-Length: 16")
    body = b'{"name": "team"}'
    chunked = head(service, "POST /api/v1/tasks", "Content-Type: application/json", "Transfer-Encoding: chunked")
    requests = [whole + body, chunked + b"6\r\n" + body[:6] + b"\r\na\r\n" + body[6:] + b"\r\n0\r\n\r\n"]
    for request in requests:
        for cuts in ([1], [len(request) // 2], [len(request) - 1], list(range(1, len(request), 7))):
            sock = connected(service)
            for begin, end in zip([0, *cuts], [*cuts, len(request)], strict=True):
                sock.sendall(request[begin:end])
                time.sleep(0.001)
            assert sock.recv(65536).startswith(b"HTTP/1.1 201")
            # The connection is kept, and two requests at once behind it are both answered.
            sock.sendall(request + head(service, "GET /healthz", "Connection: close"))
            rest = answer_of(sock)
            assert rest.count(b"HTTP/1.1 ") == 2
            assert b"HTTP/1.1 201" in rest
            sock.close()


def test_a_request_has_a_total_time_by_its_size() -> None:
    assert not is_over_total(59, 0)
    assert is_over_total(61, 0)
    assert not is_over_total(123, 1024 * 1024)
    assert is_over_total(125, 1024 * 1024)


def test_a_body_of_up_to_a_megabyte_takes_no_thread_until_it_is_there(service: Service) -> None:
    with contextlib.ExitStack() as opened:
        begun = [
            opened.enter_context(
                connected(
                    service,
                    head(service, "POST /api/v1/tasks", "Content-Type: image/jpeg", "Content-Length: 900000")
                    + bytes(400_000),
                )
            )
            for _ in range(30)
        ]
        begin = time.monotonic()
        assert service.client().post("/api/v1/tasks", json={}).status_code == 201
        image = photo(1)
        assert service.client().post("/api/v1/tasks", files={"image": image}).status_code == 201
        assert time.monotonic() - begin < 5
        assert len(begun) == 30


def test_an_address_has_so_many_connections_and_no_more(make_service: MakeService) -> None:
    service = make_service(MAX_CONNECTIONS_PER_ADDRESS=10, WEB_CONCURRENCY=1)
    client = service.start()
    client.close()
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(connected(service)) for _ in range(10)]

        def answer() -> bytes:
            # One of the first may have been refused, while the client's own still counted.
            further = opened.enter_context(connected(service))
            further.settimeout(1)
            with contextlib.suppress(TimeoutError):
                return answer_of(further)
            return b""

        refused = wait_for(answer, 20, "a refusal")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too_many_connections" in refused
        assert len(held) == 10
    wait_for(lambda: service.client().get("/healthz").status_code == 200, 20, "room again")
