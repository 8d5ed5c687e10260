"""One total time for an outgoing call: when it is up the connection is cut, whatever the other side does.

The time-outs of a socket bound each of its waits, not their sum: one byte a second would hold a call for ever.
Looking a name up, which the system bounds by half a minute or not at all, is part of the call.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol

BYTES_A_SECOND = 1_000_000
"""For each so many bytes that are sent or received a call has a second more."""

_LATE = 0.05
"""Seconds after the end of a call's time, so that it is known by then that it is over."""

_of_thread = threading.local()


class Connected(Protocol):
    """A connection, of which the socket may come and go."""

    @property
    def sock(self) -> Any:
        """The socket; None while there is none."""


class Deadline:
    """The time of one call, and the connection that it is on."""

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds
        self.is_over = False
        self._connection: Connected | None = None
        self._sock: Any = None

    def extend(self, size: int) -> None:
        """Give the call the time of so many bytes more."""
        self.ends_at += size / BYTES_A_SECOND

    def watch(self, connection: Connected) -> None:
        """Cut this connection when the time is up, which may have been meanwhile."""
        self._connection = connection
        # A connection lets go of its socket when the answer is the last on it; the answer still comes by it.
        self._sock = connection.sock or self._sock
        if self.is_over:
            self.cut()

    def take_over(self, earlier: "Deadline") -> None:
        """Cut what an earlier deadline would have cut: the rest of its answer."""
        self._connection, self._sock = earlier._connection, earlier._sock
        if self.is_over:
            self.cut()

    def cut(self) -> None:
        """Break the connection off: whoever reads or writes is woken."""
        self.is_over = True
        with suppress(OSError, AttributeError, TypeError):  # closed already, or not open yet
            # Not by the method of a TLS socket, which forgets its state under the reader's hands.
            socket.socket.shutdown((self._connection and self._connection.sock) or self._sock, socket.SHUT_RDWR)


@contextmanager
def deadline(seconds: float, size: int = 0) -> Iterator[Deadline]:
    """Bound what this thread calls in the block: so many seconds, and the time of `size` bytes that are sent.

    It holds for connections that are given to `watch`, as each `WatchedConnection` is. When the time is up it raises
    TimeoutError in the place of whatever the broken connection raised.
    """
    bound = Deadline(seconds + size / BYTES_A_SECOND)
    _of_thread.deadline = bound
    _watchdog.add(bound)
    try:
        yield bound
    except Exception as error:
        if bound.is_over:
            raise TimeoutError from error
        raise
    finally:
        _watchdog.remove(bound)
        _of_thread.deadline = None
    if bound.is_over:  # what was cut off may look like a whole answer
        raise TimeoutError


class _Watchdog:
    """One thread a process, which sleeps until the first deadline; calls that end in time seldom wake it."""

    def __init__(self) -> None:
        self.begin()
        os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Begin anew: a fork takes no threads along, and a lock as whoever held it just then left it."""
        self._changed = threading.Condition()
        self._deadlines: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._has_begun = False

    def add(self, bound: Deadline) -> None:
        with self._changed:
            if not self._has_begun:
                threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
                self._has_begun = True
            self._deadlines.add(bound)
            if bound.ends_at < self._wakes_at:
                self._changed.notify()

    def remove(self, bound: Deadline) -> None:
        with self._changed:
            self._deadlines.discard(bound)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for bound in [bound for bound in self._deadlines if bound.ends_at <= now]:
                    self._deadlines.discard(bound)
                    bound.cut()
                self._wakes_at = min((bound.ends_at for bound in self._deadlines), default=float("inf"))
                self._changed.wait(None if self._wakes_at == float("inf") else max(0.0, self._wakes_at - now))


_watchdog = _Watchdog()


def watch(connection: Connected) -> None:
    """Cut this connection when the time of the block is up in which this thread is, if it is in one."""
    if bound := getattr(_of_thread, "deadline", None):
        bound.watch(connection)


def check() -> None:
    """Raise TimeoutError when the time of the block is up in which this thread is, before it tries once more."""
    if (bound := getattr(_of_thread, "deadline", None)) and bound.is_over:
        raise TimeoutError


Resolve = Callable[[str, int], list[str]]


def resolve(name: str, port: int) -> list[str]:
    """Return all addresses of a name, by the system; raise OSError, or UnicodeError for what is no name."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


_resolve: ContextVar[Resolve] = ContextVar("resolve", default=resolve)


@contextmanager
def names_resolved_by(resolve: Resolve) -> Iterator[None]:
    """Have the names that this thread calls in the block looked up so, in the place of the system."""
    token = _resolve.set(resolve)
    try:
        yield
    finally:
        _resolve.reset(token)


class _Lookups:
    """Names that are being looked up, each once in a thread of its own: getaddrinfo takes no time-out."""

    def __init__(self) -> None:
        self.begin()
        os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Begin anew: a fork takes no threads along, and a lock as whoever held it just then left it."""
        self._lock = threading.Lock()
        self._under_way: dict[tuple[Resolve, str, int], Future[list[str]]] = {}

    def find(self, resolve: Resolve, name: str, port: int) -> Future[list[str]]:
        place = (resolve, name, port)
        with self._lock:
            if place not in self._under_way:
                future: Future[list[str]] = Future()
                threading.Thread(target=self._run, args=(place, future), name=f"look up {name}", daemon=True).start()
                self._under_way[place] = future
            return self._under_way[place]

    def _run(self, place: tuple[Resolve, str, int], future: Future[list[str]]) -> None:
        resolve, name, port = place
        try:
            future.set_result(resolve(name, port))
        except Exception as error:  # noqa: BLE001 - those who wait raise it
            future.set_exception(error)
        with self._lock:
            del self._under_way[place]


_lookups = _Lookups()


def look_up(name: str, port: int, most: Any = None) -> list[str]:
    """Return all addresses of a name; raise OSError or UnicodeError where it has none.

    Raise TimeoutError after `most` seconds, if that is a number, or when the time of the block is up in which this
    thread is. An address is returned as it is.
    """
    with suppress(OSError):
        socket.getaddrinfo(name, port, flags=socket.AI_NUMERICHOST)
        return [name]
    bound: Deadline | None = getattr(_of_thread, "deadline", None)
    bounds = [most, bound.ends_at - time.monotonic() if bound else None]
    try:
        found = _lookups.find(_resolve.get(), name, port)
        return found.result(min((one for one in bounds if isinstance(one, int | float)), default=None))
    except TimeoutError:
        if bound and time.monotonic() >= bound.ends_at:
            bound.cut()
        raise


class WatchedConnection:
    """What a connection of urllib3 inherits first, so that a `deadline` can cut it, also while it is being made."""

    sock: Any
    timeout: Any
    port: int
    host: str
    _dns_host: str
    _tunnel_host: str | None

    def connect(self) -> None:
        """Connect; a TLS handshake has the rest of the time."""
        # Python leaks a socket that is cut just before its handshake. What goes before that is asked of a proxy alone.
        if self._tunnel_host:
            watch(self)  # the class beside this one in a connection's bases has the socket
        super().connect()  # type: ignore[misc]
        watch(self)  # the time may have been up before there was a socket

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request."""
        watch(self)
        if self.sock and getattr(_of_thread, "deadline", None):
            self.timeout = None  # that was for connecting; else each piece that is sent is waited for by itself
        super().request(*args, **options)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        """Connect to the first address of the name that answers; the name is looked up within the connection's time."""
        from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

        name = self._dns_host
        try:
            addresses = look_up(name.strip("[]"), self.port, self.timeout)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} was not found within the time") from error
        try:
            for self._dns_host in addresses[:-1]:
                with suppress(NewConnectionError, ConnectTimeoutError):
                    return self._connected()
            self._dns_host = addresses[-1]
            return self._connected()
        finally:
            self._dns_host = name

    def _connected(self) -> socket.socket:
        check()
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        if bound := getattr(_of_thread, "deadline", None):
            left = bound.ends_at - time.monotonic() + _LATE
            sock.settimeout(max(_LATE, min(left, sock.gettimeout() or left)))
        return sock
