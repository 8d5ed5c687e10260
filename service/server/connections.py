"""The server's connections: a request gets a thread when it is there, and who keeps a thread waiting loses it.

gunicorn gives a thread to whoever connects; a few dozen clients that send a byte a second would then hold all of them.
"""

import logging
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import errors as unreadable
from gunicorn.workers.gthread import TConn, ThreadWorker

from service.errors import Malformed, Problem, TooSlow
from service.http import security
from service.http.problems import render
from service.telemetry import logging as logs

PATIENCE = 20.0
"""Seconds that a peer may keep the server waiting in one request, beyond what its bytes take at LEAST_RATE."""
LEAST_RATE = 4 * 1024
"""Bytes a second."""
PATIENCE_IN_NEED, LEAST_RATE_IN_NEED = 1.0, 32 * 1024
"""The same while half of the threads wait for slow peers."""
ENOUGH = 32 * 1024
"""Bytes of a request that are taken in before it gets a thread, if it is not complete before."""
LINGER, MOST_LINGERING = 2.0, 200
"""Seconds in which a peer may finish what it sends after the last answer, and how many may do so at once."""
MOST_HEARD = 100_000_000
"""Bytes that it may send then."""
DRAIN, MOST_DRAINED = 0.2, 16_000_000
"""Seconds for the rest of a body that nobody wanted, and its bytes, so that the connection can be used again."""

UNREADABLE = {
    unreadable.LimitRequestLine: 414,
    unreadable.ExpectationFailed: 417,
    unreadable.LimitRequestHeaders: 431,
    unreadable.UnsupportedTransferCoding: 501,
    TooSlow: 408,
}
"""What is answered to a request that cannot be read, where it is not 400."""

REASONS = {
    (unreadable.InvalidRequestLine, unreadable.InvalidRequestMethod, unreadable.InvalidHTTPVersion): (
        "The request line cannot be read: it must be a method, an address and HTTP/1.1, with one space between them."
    ),
    (unreadable.InvalidHeader, unreadable.InvalidHeaderName, unreadable.ObsoleteFolding): (
        "A header cannot be read: each is one line, a name, a colon and a value, and of `Content-Length` and "
        "`Transfer-Encoding` only one may come, once. Let your client set these itself."
    ),
    (unreadable.ExpectationFailed,): "The only expectation that can be met is `100-continue`. Send no other `Expect`.",
    (unreadable.UnsupportedTransferCoding,): (
        "The only transfer coding that can be read is `chunked`. Send the body so, or with `Content-Length`."
    ),
}
"""What is wrong with a request that cannot be read, without repeating any of it."""
UNKNOWN = "This is no HTTP request that can be read. Send HTTP/1.1."

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_FILES = re.compile(rb"\r\ncontent-type:[ \t]*(?:multipart/|image/|application/octet-stream)", re.IGNORECASE)
_ALIVE = (b"GET /healthz ", b"HEAD /healthz ")

log = logging.getLogger(__name__)


class Patience:
    """How long threads wait for slow peers: long while few do, briefly when it is more than half of them."""

    def __init__(self, threads: int) -> None:
        self._most = threads // 2
        self._waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count this thread as one that waits."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def is_over(self, waited: float, moved: int) -> bool:
        """Tell whether a peer has kept the server waiting for too long in all, for what it moved."""
        if self._waiting > self._most:
            return waited > PATIENCE_IN_NEED + moved / LEAST_RATE_IN_NEED
        return waited > PATIENCE + moved / LEAST_RATE


class PatientSocket(socket.socket):
    """A connected socket that gives up on a slow peer: `recv` raises TooSlow, `sendall` BrokenPipeError."""

    patience: Patience
    waited = 0.0
    moved = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive, at once if the socket is not blocking."""
        if self.gettimeout() == 0.0:
            return super().recv(size, flags)
        while True:
            try:
                data = super().recv(size, flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not self._wait(select.POLLIN):
                    raise TooSlow("The request came too slowly. Send it again, faster.") from None
            else:
                self.moved += len(data)
                return data

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all, in pieces as the peer takes them."""
        rest = memoryview(data).cast("B")
        while rest:
            try:
                sent = super().send(rest, flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not self._wait(select.POLLOUT):
                    raise BrokenPipeError(32, "the client does not take the answer") from None
            else:
                self.moved += sent
                rest = rest[sent:]

    def _wait(self, event: int) -> bool:
        """Wait until the peer has moved; False when it took too long. Raises TimeoutError by the socket's timeout."""
        timeout, begin = self.gettimeout(), time.monotonic()
        ready = select.poll()
        ready.register(self, event)
        with self.patience.waiting():
            while True:
                # Short, since the need may grow meanwhile.
                if ready.poll(min(250.0, (timeout or 1.0) * 1000)):
                    self.waited += time.monotonic() - begin
                    return True
                waited = time.monotonic() - begin
                if timeout is not None and waited >= timeout:
                    raise TimeoutError
                if self.patience.is_over(self.waited + waited, self.moved):
                    return False


class Framed:
    """Reads a request's body; raises Malformed where its chunks are broken.

    An answer that is given before the body has come tells the client that it is the last one on this connection.
    """

    def __init__(self, req: Any) -> None:
        self._req = req
        self._reader = req.body.reader
        come = len(req.unreader.buf.getvalue())
        self._decides = not req.must_close and getattr(self._reader, "length", come + 1) > come
        req.must_close |= self._decides

    def read(self, size: int) -> bytes:
        """Read up to so many bytes."""
        try:
            data: bytes = self._reader.read(size)
        except unreadable.ParseException as error:
            raise Malformed("The body is broken: its chunks do not follow HTTP. Send it again.") from error
        if self._decides and (not data or getattr(self._reader, "length", 1) == 0):
            self._req.must_close = False
        return data


class Connection(TConn):  # type: ignore[misc]
    """A connection, with what has come of its next request."""

    sock: PatientSocket

    def __init__(self, worker: "Worker", *args: Any) -> None:
        super().__init__(*args)
        self._worker = worker
        self.begin_request()

    def begin_request(self) -> None:
        """Measure the next request for itself; what came of it behind the last one counts as come."""
        self.init()
        self.arrived = bytearray(self.parser.unreader.take_buffered())
        self.begin = time.monotonic()
        self.sock.waited, self.sock.moved = 0.0, 0

    def take(self) -> bool:
        """Take what has come. True when a thread need not wait: the request is there, or enough of it, or the end."""
        self.sock.setblocking(False)
        try:
            while not self._suffices():
                data = self.sock.recv(ENOUGH)
                if not data:
                    return True
                self.arrived += data
        except BlockingIOError:
            return False
        except OSError:
            return True  # the thread meets the same fault
        return True

    def _suffices(self) -> bool:
        if len(self.arrived) >= ENOUGH:
            return True
        end = self.arrived.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        head = self.arrived[:end]
        if _EXPECTS.search(head):
            return True  # it waits for our word
        if _CHUNKED.search(head):
            return self.arrived.endswith(b"\r\n\r\n", end)
        length = _LENGTH.search(head)
        return not length or len(self.arrived) - end >= int(length[1])

    def brings_files(self) -> bool:
        """Tell whether the request is an upload, as far as has come."""
        end = self.arrived.find(b"\r\n\r\n")
        return bool(_FILES.search(self.arrived, 0, end + 2 if end >= 0 else len(self.arrived)))

    def hand_over(self) -> None:
        """Leave what has come to the thread that reads the request now."""
        self.parser.unreader.unread(bytes(self.arrived))
        self.sock.moved = len(self.arrived)
        self.arrived.clear()
        self.sock.setblocking(True)

    def is_too_slow(self, now: float) -> bool:
        """Tell whether the request took too long to arrive."""
        return now > self.begin + PATIENCE + len(self.arrived) / LEAST_RATE

    def close(self, graceful: bool = False) -> None:
        """Close at once; or, after an answer, first let the peer end what it sends, or it would lose the answer."""
        if graceful:
            self._worker.linger(self.sock)
        else:
            super().close()


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads, for slow and hostile clients.

    What it cannot read as HTTP it refuses without repeating any of it: gunicorn itself puts the faulty line into its
    answer and into the log, and a broken header may hold a password.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = Patience(self.cfg.threads)
        # Uploads may take long: they have threads of their own, so that they hold up only each other. And whoever asks
        # whether the process lives waits for nobody.
        self.uploads = ThreadPoolExecutor(self.cfg.threads * 3 // 4, "upload")
        self.vital = ThreadPoolExecutor(1, "vital")
        self.lingering: dict[PatientSocket, float] = {}
        self.swept = 0.0

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection."""
        try:
            plain, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process has it
        sock = PatientSocket(fileno=plain.detach())
        sock.patience = self.patience
        self.nr_conns += 1
        self.enqueue_req(Connection(self, self.cfg, sock, address, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """Give the connection a thread if its request is there, or else wait for more of it without one."""
        if not conn.arrived:
            conn.begin_request()
        if conn.take():
            pool = self._pool_for(conn)
            conn.hand_over()
            answered = pool.submit(self.handle, conn)
            answered.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))
            return
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _pool_for(self, conn: Connection) -> Executor:
        if conn.arrived.startswith(_ALIVE):
            return self.vital
        pool: Executor = self.uploads if conn.brings_files() else self.tpool
        return pool

    def run(self) -> None:
        """Serve until told to stop; uploads that still wait for a thread then get none."""
        super().run()
        self.uploads.shutdown(wait=False, cancel_futures=True)

    def murder_pending(self) -> None:
        """Let go of those who take too long: once a second, which is often enough."""
        now = time.monotonic()
        if now < self.swept + 1:
            return
        self.swept = now
        late = [conn for conn in self.pending_conns if conn.is_too_slow(now) or not (self.alive or conn.arrived)]
        if not late and self.nr_conns >= self.worker_connections:
            late = list(self.pending_conns)[: 1 + len(self.pending_conns) // 10]  # who was silent for the longest
        for conn in late:
            self.pending_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            if conn.arrived:
                self.handle_error(None, conn.sock, conn.client, TooSlow("The request came too slowly."))
            conn.close(graceful=bool(conn.arrived))
        for sock in [sock for sock, deadline in self.lingering.items() if now > deadline]:
            self._part(sock)

    def linger(self, sock: PatientSocket) -> None:
        """Say that this was the last answer, and close when the peer has heard it."""
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
        except OSError:
            sock.close()
            return
        sock.moved = 0
        self.lingering[sock] = time.monotonic() + LINGER
        self.poller.register(sock, EVENT_READ, self._hear_out)
        if len(self.lingering) > MOST_LINGERING:
            self._part(next(iter(self.lingering)))

    def _hear_out(self, sock: PatientSocket) -> None:
        with suppress(BlockingIOError):
            try:
                data = sock.recv(64 * 1024)
            except ConnectionError:
                data = b""
            sock.moved += len(data)
            if not data or sock.moved > MOST_HEARD:
                self._part(sock)

    def _part(self, sock: PatientSocket) -> None:
        del self.lingering[sock]
        self.poller.unregister(sock)
        sock.close()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Tell whether the connection can be used again; a body that is not read by then, or is broken, ends it."""
        try:
            return keepalive and bool(conn.parser.finish_body(time.monotonic() + DRAIN, MOST_DRAINED))
        except Problem:
            return False

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Answer a request; what is wrong with its body's framing is told like all that the client does wrong."""
        req.body.reader = Framed(req)
        return bool(super().handle_request(req, conn))

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer with a problem document, and log the kind of fault and where it came from."""
        if not isinstance(exc, unreadable.ParseException | TooSlow):
            super().handle_error(req, client, addr, exc)
            return
        status = next((status for kind, status in UNREADABLE.items() if isinstance(exc, kind)), 400)
        made_up = logs.request_id(None)  # its own, if it has one, was not read
        fields: dict[str, Any] = {"request_id": made_up, "address": addr[0] if addr else None}
        logs.event(log, "request could not be read", fault=type(exc).__name__, status=status, **fields)
        detail, limit = (exc.detail, None) if isinstance(exc, TooSlow) else _told(exc, self.cfg)
        members: dict[str, Any] = {} if limit is None else {"limit": limit}
        answer = render(status, detail, headers={"Connection": "close", "X-Request-Id": made_up}, **members)
        lines = [f"{name}: {value}\r\n" for name, value in security.harden(security.CONTENT, answer).headers]
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{''.join(lines)}\r\n"
        with suppress(OSError):
            client.send(head.encode() + answer.get_data(), socket.MSG_DONTWAIT)


def _told(fault: Exception, limits: Any) -> tuple[str, int | None]:
    """Return what a client is told that its request is unreadable for, and the limit that it passed, if it is one."""
    if isinstance(fault, unreadable.LimitRequestLine):
        most = limits.limit_request_line
        return f"The request line is too long: it may have {most} bytes. Send what is long in the body.", most
    if isinstance(fault, unreadable.LimitRequestHeaders):
        number, size = limits.limit_request_fields, limits.limit_request_field_size
        if fault.msg.endswith("fields"):
            return f"There are too many headers: a request may have {number}. Send fewer.", number
        if fault.msg.endswith("size"):
            return f"A header is too long: each may have {size} bytes. Send a shorter one.", size
        return f"The headers are too long: a request may have {number}, each of {size} bytes. Send fewer.", None
    return next((text for kinds, text in REASONS.items() if isinstance(fault, kinds)), UNKNOWN), None
