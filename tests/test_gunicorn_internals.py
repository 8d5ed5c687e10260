"""Each part inside gunicorn that service/server relies on: an update of the pin that changes one fails here."""

import inspect
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from typing import Any, ClassVar

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import errors, get_parser
from gunicorn.workers.gthread import TConn, ThreadWorker

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


class Recording(ThreadWorker):  # type: ignore[misc]
    """gunicorn's own worker, which writes down what it calls of the methods that the service overrides."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.called: list[str] = []
        self.faults: list[Exception] = []

    def accept(self, listener: socket.socket) -> None:
        self.called.append("accept")
        super().accept(listener)

    def enqueue_req(self, conn: TConn) -> None:
        self.called.append("enqueue_req")
        super().enqueue_req(conn)

    def murder_pending(self) -> None:
        self.called.append("murder_pending")
        super().murder_pending()

    def handle_request(self, req: Any, conn: TConn) -> bool:
        self.called.append("handle_request")
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        self.called.append("_keepalive_after")
        return bool(super()._keepalive_after(conn, keepalive))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        self.faults.append(exc)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@contextmanager
def made(kind: type[Recording]) -> Iterator[Recording]:
    config = Config()
    config.set("threads", 2)
    worker = kind(1, os.getppid(), [], None, 30, config, Logger(config))
    worker.wsgi = application
    try:
        yield worker
    finally:
        worker.tmp.close()


@pytest.fixture
def worker() -> Iterator[Recording]:
    with made(Recording) as worker:
        yield worker


def connection(worker: ThreadWorker, sock: socket.socket) -> TConn:
    conn = TConn(worker.cfg, sock, ("127.0.0.1", 1), ("127.0.0.1", 2))
    conn.init()
    return conn


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (TConn.__init__, ["self", "cfg", "sock", "client", "server"]),
        (TConn.init, ["self"]),
        (TConn.close, ["self", "graceful"]),
        (ThreadWorker.run, ["self"]),
        (ThreadWorker.accept, ["self", "listener"]),
        (ThreadWorker.enqueue_req, ["self", "conn"]),
        (ThreadWorker.on_pending_socket_readable, ["self", "conn", "client"]),
        (ThreadWorker.murder_pending, ["self"]),
        (ThreadWorker.handle, ["self", "conn"]),
        (ThreadWorker.handle_request, ["self", "req", "conn"]),
        (ThreadWorker.handle_error, ["self", "req", "client", "addr", "exc"]),
        (ThreadWorker.finish_request, ["self", "conn", "fs"]),
        (ThreadWorker._keepalive_after, ["self", "conn", "keepalive"]),
        (Logger.access, ["self", "resp", "req", "environ", "request_time"]),
    ],
)
def test_a_method_that_is_called_or_overridden_has_these_parameters(
    method: Callable[..., Any], parameters: list[str]
) -> None:
    assert list(inspect.signature(method).parameters) == parameters


def test_a_connection_is_set_up_once_with_a_parser_and_is_blocking_then(
    worker: Recording, pair: tuple[socket.socket, socket.socket]
) -> None:
    _, theirs = pair
    conn = TConn(worker.cfg, theirs, "the peer", "the server")
    assert theirs.gettimeout() == 0.0
    assert (conn.sock, conn.client, conn.initialized) == (theirs, "the peer", False)
    conn.init()
    assert theirs.gettimeout() is None
    parser = conn.parser
    theirs.setblocking(False)
    conn.init()
    assert conn.parser is parser
    assert theirs.gettimeout() == 0.0, "a second call changes nothing"


def test_bytes_given_back_to_the_parser_are_read_first_and_can_be_taken_out_without_the_socket(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    parser = get_parser(Config(), theirs, None)
    parser.unreader.unread(REQUEST[:10])
    ours.sendall(REQUEST[10:] + b"abcNEXT")
    request = next(parser)
    assert request.unreader is parser.unreader
    assert request.body.read() == b"abc"
    assert parser.unreader.buf.getvalue() == b"NEXT"
    assert parser.unreader.take_buffered() == b"NEXT"
    assert parser.unreader.take_buffered() == b""


def test_a_request_has_a_reader_of_its_body_that_counts_down_and_says_whether_the_connection_ends(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    ours.sendall(REQUEST + b"abc" + CHUNKED + b"2\r\nab\r\nx\r\n")
    parser = get_parser(Config(), theirs, None)
    request = next(parser)
    reader = request.body.reader
    assert (reader.length, request.must_close, request.should_close()) == (3, False, False)
    assert (reader.read(2), reader.length) == (b"ab", 1)
    request.must_close = True
    assert request.should_close()
    request.must_close = False
    request = next(parser)
    assert not hasattr(request.body.reader, "length"), "the length of chunks is not known before"
    with pytest.raises(errors.ParseException):
        request.body.reader.read(100)


def test_the_rest_of_a_body_is_drained_within_a_time_and_a_number_of_bytes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    ours.sendall(REQUEST.replace(b"3", b"3000") + bytes(3000))
    parser = get_parser(Config(), theirs, None)
    next(parser)
    assert list(inspect.signature(parser.finish_body).parameters) == ["deadline", "max_bytes"]
    deadline = time.monotonic() + 60
    assert parser.finish_body(deadline, 2000) is False
    assert parser.finish_body(deadline, 2000) is True


def test_a_thread_answers_then_asks_whether_the_connection_is_kept(
    worker: Recording, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    ours.sendall(REQUEST + b"abc")
    assert worker.handle(connection(worker, theirs)) is True
    assert worker.called == ["handle_request", "_keepalive_after"]
    assert ours.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert (worker.faults, worker.alive) == ([], True)


@pytest.mark.parametrize(
    ("request_", "kind", "ending"),
    [
        (b"nonsense\r\n\r\n", errors.InvalidRequestLine, ""),
        (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", errors.InvalidHeader, ""),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", errors.InvalidHTTPVersion, ""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", errors.ObsoleteFolding, ""),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: bogus\r\n\r\n", errors.UnsupportedTransferCoding, ""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", errors.ExpectationFailed, ""),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", errors.LimitRequestLine, ""),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", errors.LimitRequestHeaders, "fields"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 9000 + b"\r\n\r\n", errors.LimitRequestHeaders, "size"),
    ],
)
def test_what_cannot_be_read_is_handed_to_handle_error_as_a_fault_of_this_kind(
    worker: Recording, pair: tuple[socket.socket, socket.socket], request_: bytes, kind: type[Exception], ending: str
) -> None:
    ours, theirs = pair
    ours.sendall(request_)
    assert worker.handle(connection(worker, theirs)) is False
    (fault,) = worker.faults
    assert isinstance(fault, kind)
    assert issubclass(kind, errors.ParseException)
    if ending:
        assert fault.msg.endswith(ending)  # type: ignore[attr-defined]


def test_a_header_that_the_application_breaks_is_a_fault_of_this_kind(
    worker: Recording, pair: tuple[socket.socket, socket.socket]
) -> None:
    def breaking(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("A", "b\nc")])
        return []

    worker.wsgi = breaking
    ours, theirs = pair
    ours.sendall(REQUEST + b"abc")
    assert worker.handle(connection(worker, theirs)) is False
    (fault,) = worker.faults
    assert isinstance(fault, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName)


class GracefulConnection(TConn):  # type: ignore[misc]
    """Writes down how it is closed."""

    closed: ClassVar[list[bool]] = []

    def close(self, graceful: bool = False) -> None:
        self.closed.append(graceful)
        super().close()


class Deferring(Recording):
    """Accepts and waits for each request once, as the service does where it is not there yet; stops after one."""

    def accept(self, listener: socket.socket) -> None:
        self.called.append("accept")
        sock, address = listener.accept()
        self.nr_conns += 1
        self.enqueue_req(GracefulConnection(self.cfg, sock, address, listener.getsockname()))

    def enqueue_req(self, conn: TConn) -> None:
        if "pending" in self.called:
            super().enqueue_req(conn)
            return
        self.called.append("pending")
        conn.timeout = float("inf")
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def finish_request(self, conn: TConn, fs: Any) -> None:
        super().finish_request(conn, fs)
        self.alive = False


def test_the_loop_accepts_wakes_those_that_are_pending_looks_at_them_and_closes_gracefully() -> None:
    with made(Deferring) as worker, socket.create_server(("127.0.0.1", 0)) as listener:
        worker.sockets = [listener]
        worker.tpool = worker.get_thread_pool()
        worker.poller = DefaultSelector()
        worker.method_queue.init()
        assert (worker.nr_conns, len(worker.pending_conns)) == (0, 0)
        assert worker.worker_connections == worker.cfg.worker_connections
        with socket.create_connection(listener.getsockname(), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            worker.run()
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert [call for call in worker.called if call != "murder_pending"] == [
        *("accept", "pending", "enqueue_req", "handle_request", "_keepalive_after")
    ]
    assert "murder_pending" in worker.called
    assert GracefulConnection.closed == [True]
    assert (worker.nr_conns, len(worker.pending_conns)) == (0, 0)


def test_the_hooks_find_a_process_by_its_age_parent_and_place_among_the_workers(worker: Recording) -> None:
    assert (worker.age, worker.ppid) == (1, os.getppid())
    assert hasattr(worker, "pid")
    assert isinstance(Arbiter.WORKERS, dict)
