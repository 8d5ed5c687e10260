"""gunicorn's threaded worker, for slow and hostile clients: a request gets a thread when it is there.

gunicorn gives a thread to whoever connects; a few dozen clients that send a byte a second would then hold all of them.
"""

import logging
import socket
import threading
import time
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName, ParseException
from gunicorn.workers.gthread import ThreadWorker

from service.config import Settings
from service.errors import Problem, TooSlow
from service.http.client_address import network_of
from service.http.services import provided
from service.server import bad_requests
from service.server.lingering_close import LingeringClose
from service.server.min_data_rate import MinDataRate, MinRateSocket
from service.server.request_body import BodyReader
from service.server.request_buffering import BufferedConnection, BufferRoom
from service.shortage import is_shortage
from service.storage.spools import SpoolFolder
from service.telemetry import logging as logs

DRAIN_SECONDS, MAX_DRAINED = 0.2, 16_000_000
"""Seconds for the rest of a body that nobody wanted, and its bytes, so that the connection can be used again."""
SHORT_SECONDS = 0.05
"""Seconds before the next connection is taken where this process can open no more."""
OUR_FAULTS = (InvalidResponseHeader, InvalidResponseHeaderName)
"""What is wrong with an answer, though gunicorn's classes count it among what is wrong with requests."""

log = logging.getLogger(__name__)


class Worker(ThreadWorker):  # type: ignore[misc]
    """A server process. What it relies on inside gunicorn is held by tests/test_gunicorn_internals.py.

    What it cannot read as HTTP it refuses without repeating any of it: gunicorn itself puts the faulty line into its
    answer and into the log, and a broken header may hold a password.
    """

    lingering: LingeringClose
    room: BufferRoom

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rate = MinDataRate(self.cfg.threads)
        # Uploads may take long: they have threads of their own, so that they hold up only each other. A health check
        # waits for nobody.
        self.uploads = ThreadPoolExecutor(self.cfg.threads * 3 // 4, "upload")
        self.health_checks = ThreadPoolExecutor(1, "health")
        self.looked_at = self.beaten_at = 0.0
        self.connections: Counter[str] = Counter()
        self.counting = threading.Lock()  # several threads close connections
        self.most_of_address = 0

    def run(self) -> None:
        """Serve until told to stop; uploads that still wait for a thread then get none."""
        self.lingering = LingeringClose(self.poller)
        self.room = BufferRoom(provided(SpoolFolder, self.wsgi))
        settings = provided(Settings, self.wsgi)
        if not settings.trusted_proxies:
            # Connections spread over the processes by chance.
            self.most_of_address = -(-settings.max_connections_per_address // settings.web_concurrency)
        super().run()
        self.uploads.shutdown(wait=False, cancel_futures=True)

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection."""
        try:
            plain, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process has it
        except OSError as error:
            if not is_shortage(error):
                raise
            logs.event(log, "no connection can be taken now", logging.WARNING, fault=error.strerror)
            time.sleep(SHORT_SECONDS)  # it waits in the kernel; those that are open end meanwhile
            return
        sock = MinRateSocket(fileno=plain.detach())
        sock.rate = self.rate
        if self._refuses(sock, str(address[0])):
            return
        self.nr_conns += 1
        name = listener.getsockname()
        conn = BufferedConnection(self.cfg, sock, address, name, linger=self.lingering.add, room=self.room)
        self.enqueue_req(conn)

    def _refuses(self, sock: MinRateSocket, address: str) -> bool:
        """Count the connection for its address; answer and close it where that has too many."""
        network = network_of(address)
        if self.most_of_address and self.connections[network] >= self.most_of_address:
            sock.setblocking(False)
            answer = bad_requests.response(bad_requests.TooManyConnections(), self.cfg, logs.request_id(None))
            with suppress(OSError):
                sock.send(answer)
            self.lingering.add(sock)
            return True
        with self.counting:
            self.connections[network] += 1
        sock.on_close = partial(self._forget, network)
        return False

    def notify(self) -> None:
        """Tell the parent that this process lives: once a second, since each time lets the other threads run first."""
        now = time.monotonic()
        if now >= self.beaten_at + 1:
            self.beaten_at = now
            super().notify()

    def _forget(self, network: str) -> None:
        with self.counting:
            self.connections[network] -= 1
            if not self.connections[network]:
                del self.connections[network]

    def enqueue_req(self, conn: BufferedConnection) -> None:
        """Give the connection a thread if its request is there, or else wait for more of it without one."""
        if not conn.arrived:
            conn.begin_request()
        if conn.receive():
            if conn.is_tls():
                conn.close()
                self.nr_conns -= 1
                return
            pool = self._pool_for(conn)
            conn.unbuffer()
            answered = pool.submit(self.handle, conn)
            answered.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))
            return
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _pool_for(self, conn: BufferedConnection) -> Executor:
        if conn.is_health_check():
            return self.health_checks
        pool: Executor = self.uploads if conn.is_upload() else self.tpool
        return pool

    def murder_pending(self) -> None:
        """Close connections that take too long: once a second, which is often enough."""
        now = time.monotonic()
        if now < self.looked_at + 1:
            return
        self.looked_at = now
        late = [conn for conn in self.pending_conns if conn.is_late(now) or not (self.alive or conn.arrived)]
        if not late and self.nr_conns >= self.worker_connections:
            late = list(self.pending_conns)[: 1 + len(self.pending_conns) // 10]  # silent for the longest
        for conn in late:
            self.pending_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            if conn.arrived:
                self.handle_error(None, conn.sock, conn.client, TooSlow("The request came too slowly."))
            conn.close(graceful=bool(conn.arrived))
        self.lingering.close_late(now)

    def handle_request(self, req: Any, conn: BufferedConnection) -> bool:
        """Answer a request; a fault in its body's framing is answered like all that the client does wrong."""
        bad_requests.refuse_transfer_coding(req.headers)
        bad_requests.refuse_missing_host(req.version, req.headers)
        req.body.reader = BodyReader(req)
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, conn: BufferedConnection, keepalive: bool) -> bool:
        """Return whether the connection can be used again; a body that is not read by then, or is broken, ends it."""
        try:
            return keepalive and bool(conn.parser.finish_body(time.monotonic() + DRAIN_SECONDS, MAX_DRAINED))
        except Problem:
            return False

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer with a problem document, and log the kind of fault and where it came from."""
        exc = bad_requests.found_fault(exc)
        if not isinstance(exc, ParseException | TooSlow) or isinstance(exc, OUR_FAULTS):
            super().handle_error(req, client, addr, exc)
            return
        request_id = logs.request_id(None)  # the client's own, if it has one, was not read
        fields: dict[str, Any] = {"request_id": request_id, "address": addr[0] if addr else None}
        logs.event(
            log, "request could not be read", fault=type(exc).__name__, status=bad_requests.status_of(exc), **fields
        )
        with suppress(OSError):
            client.send(bad_requests.response(exc, self.cfg, request_id), socket.MSG_DONTWAIT)
