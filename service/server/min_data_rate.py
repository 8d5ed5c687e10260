"""A minimum data rate for peers: who sends or takes bytes too slowly loses the thread that waits for it."""

import fcntl
import select
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from service.errors import TooSlow

MAX_WAIT = 20.0
"""Seconds that a peer may keep the server waiting in one request, beyond what its bytes take at MIN_RATE."""
MIN_RATE = 4 * 1024
"""Bytes a second."""
MAX_WAIT_UNDER_PRESSURE, MIN_RATE_UNDER_PRESSURE = 1.0, 32 * 1024
"""The same while more than half of the threads wait for slow peers."""
MAX_PAUSE, MAX_PAUSE_UNDER_PRESSURE = 20.0, 3.0
"""Seconds in which a peer may move nothing at all, whatever it moved before: a burst earns no long silence."""
TOTAL_SECONDS, TOTAL_RATE = 60.0, 16 * 1024
"""A request comes within so many seconds, and one more for each so many bytes of it."""
LOOK_SECONDS = 0.25
"""Seconds between two looks at the pressure, which may grow during a wait."""


def is_over_total(seconds: float, size: int) -> bool:
    """Return whether so many bytes of a request should have come earlier."""
    return seconds > TOTAL_SECONDS + size / TOTAL_RATE


class MinDataRate:
    """The rate that peers must reach, for all sockets of a process: stricter while many threads wait for them."""

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

    def is_missed(self, waited: float, moved: int, pause: float) -> bool:
        """Return whether `waited` seconds are too long for `moved` bytes, or the last `pause` of them without any."""
        if self._waiting > self._most:
            longest = MAX_WAIT_UNDER_PRESSURE + moved / MIN_RATE_UNDER_PRESSURE
            return waited > longest or pause > MAX_PAUSE_UNDER_PRESSURE
        return waited > MAX_WAIT + moved / MIN_RATE or pause > MAX_PAUSE


class MinRateSocket(socket.socket):
    """A connected socket with a minimum data rate: below it `recv` raises TooSlow, `sendall` BrokenPipeError.

    `moved` counts the bytes of both directions, among them those sent that the peer has not acknowledged yet.
    """

    rate: MinDataRate
    waited = 0.0
    moved = 0
    begun = 0.0
    _ahead = b""
    on_close: Callable[[], None] | None = None

    def begin_request(self) -> None:
        """Measure from here on: what the peer acknowledges of earlier answers counts as moved."""
        self.waited, self.moved, self.begun = 0.0, self._unacknowledged(), time.monotonic()

    def setblocking(self, flag: bool) -> None:
        """Have calls wait or not; no system call is made where it is so already, as it mostly is."""
        if self.gettimeout() != (None if flag else 0.0):
            super().setblocking(flag)

    def _unacknowledged(self) -> int:
        """Return the bytes that only fill this system's buffer: a peer that takes nothing must not gain time by them.

        It is SIOCOUTQ of tcp(7), whose number is that of TIOCOUTQ. Other systems have no such question.
        """
        if sys.platform != "linux":
            return 0
        return int.from_bytes(fcntl.ioctl(self, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def put_back(self, data: bytes) -> None:
        """Have `recv` give these bytes first: they have come, and count as moved, already."""
        self._ahead = data + self._ahead

    def take_ahead(self) -> bytes:
        """Return the bytes that were put back and that nobody has received again."""
        data, self._ahead = self._ahead, b""
        return data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive up to `size` bytes; at once where the socket does not block."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        if self.gettimeout() == 0.0:
            return super().recv(size, flags)
        while True:
            if is_over_total(time.monotonic() - self.begun, self.moved):
                raise TooSlow("The request took too long in all. Send it again, faster.")
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

    def close(self) -> None:
        """Close, and tell whoever counts the connections."""
        if self.on_close:
            self.on_close()
            self.on_close = None
        super().close()

    def _wait(self, event: int) -> bool:
        """Wait until the peer has moved; False when it missed the rate. Raise TimeoutError by the socket's timeout."""
        timeout, begin = self.gettimeout(), time.monotonic()
        left, moved_at = self._unacknowledged(), begin
        ready = select.poll()
        ready.register(self, event)
        with self.rate.waiting():
            while True:
                is_ready = ready.poll(min(LOOK_SECONDS, timeout or 1.0) * 1000)
                now = time.monotonic()
                waited = now - begin
                if is_ready:
                    self.waited += waited
                    return True
                if timeout is not None and waited >= timeout:
                    raise TimeoutError
                before, left = left, self._unacknowledged()
                moved_at = moved_at if left == before else now
                if self.rate.is_missed(self.waited + waited, self.moved - left, now - moved_at):
                    return False
