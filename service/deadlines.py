"""One total time for an outgoing call: when it is up the connection is cut, whatever the other side does.

The time-outs of a socket bound each of its waits, not their sum: one byte a second would hold a call for ever.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

BYTES_A_SECOND = 1_000_000
"""For each so many bytes that are sent or received a call has a second more."""

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
        self._changed = threading.Condition()
        self._deadlines: set[Deadline] = set()
        self._wakes_at = float("inf")
        self._process = 0

    def add(self, bound: Deadline) -> None:
        with self._changed:
            if self._process != os.getpid():  # a fork takes no threads along
                self._process, self._deadlines, self._wakes_at = os.getpid(), set(), float("inf")
                threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
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


class WatchedConnection:
    """What a connection of urllib3 inherits first, so that a `deadline` can cut it, also while it is being made."""

    def connect(self) -> None:
        """Connect."""
        watch(self)  # type: ignore[arg-type]  # the class beside this one in a connection's bases has the socket
        super().connect()  # type: ignore[misc]
        watch(self)  # type: ignore[arg-type]  # the time may have been up before there was a socket

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request."""
        watch(self)  # type: ignore[arg-type]
        super().request(*args, **options)  # type: ignore[misc]
