"""Lingering close: a connection is closed when its peer has ended, or the peer would lose the last answer."""

import socket
import time
from contextlib import suppress
from selectors import EVENT_READ, BaseSelector

from service.server.min_data_rate import MinRateSocket

LINGER_SECONDS = 2.0
"""Seconds in which a peer may finish what it sends after the last answer."""
MAX_LINGERING = 200
"""Connections that may do so at once."""
MAX_DISCARDED = 100_000_000
"""Bytes that a peer may send then."""


class LingeringClose:
    """The connections of a process that have had their last answer. Used by the thread that polls alone."""

    def __init__(self, poller: BaseSelector) -> None:
        self._poller = poller
        self._deadlines: dict[MinRateSocket, float] = {}

    def add(self, sock: MinRateSocket) -> None:
        """Send the peer the end of the stream, and close when it has ended too."""
        try:
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(False)
        except OSError:
            sock.close()
            return
        sock.moved = 0
        self._deadlines[sock] = time.monotonic() + LINGER_SECONDS
        self._poller.register(sock, EVENT_READ, self._discard)
        if len(self._deadlines) > MAX_LINGERING:
            self._close(next(iter(self._deadlines)))

    def close_late(self, now: float) -> None:
        """Close those whose time is over."""
        for sock in [sock for sock, deadline in self._deadlines.items() if now > deadline]:
            self._close(sock)

    def _discard(self, sock: MinRateSocket) -> None:
        with suppress(BlockingIOError):
            try:
                data = sock.recv(64 * 1024)
            except ConnectionError:
                data = b""
            sock.moved += len(data)
            if not data or sock.moved > MAX_DISCARDED:
                self._close(sock)

    def _close(self, sock: MinRateSocket) -> None:
        del self._deadlines[sock]
        self._poller.unregister(sock)
        sock.close()
