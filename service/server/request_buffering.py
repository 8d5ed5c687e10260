"""Request buffering: a connection collects its next request before a thread is spent on it."""

import re
import time
from collections.abc import Callable
from typing import Any

from gunicorn.workers.gthread import TConn

from service.server.min_data_rate import MAX_WAIT, MIN_RATE, MinRateSocket, is_over_total

BUFFER = 32 * 1024
"""Bytes of a request that are buffered before it gets a thread, where it is not complete before."""
WHOLE_BODY = 1_000_000
"""Bytes of a body that is buffered whole, as far as there is room."""
MOST_BUFFERED = 32 * 1024 * 1024
"""Bytes that are buffered at a time in a process; beyond, requests get a thread after BUFFER bytes."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_FILES = re.compile(rb"\r\ncontent-type:[ \t]*(?:multipart/|image/|application/octet-stream)", re.IGNORECASE)
_TLS_HANDSHAKE = b"\x16\x03"
_HEALTH_CHECK = re.compile(rb"(?:GET|HEAD) /(?:healthz|readyz)[ ?]")


class BufferRoom:
    """How many bytes a process has buffered. Used by the thread that polls alone."""

    taken = 0


class BufferedConnection(TConn):  # type: ignore[misc]
    """A connection with what has arrived of its next request. `linger` closes its socket after an answer."""

    sock: MinRateSocket

    def __init__(self, *args: Any, linger: Callable[[MinRateSocket], None], room: "BufferRoom") -> None:
        super().__init__(*args)
        self._linger = linger
        self._room = room
        self._taken = 0
        self.begin_request()

    def begin_request(self) -> None:
        """Measure the next request for itself; bytes that came behind the last one belong to it."""
        self.init()
        self.arrived = bytearray(self.parser.unreader.take_buffered())
        self.begin = time.monotonic()
        self.sock.begin_request()

    def receive(self) -> bool:
        """Take what has come. True when a thread need not wait: all is there, enough of it, or the end."""
        self.sock.setblocking(False)
        try:
            while not self._suffices():
                data = self.sock.recv(BUFFER)
                if not data:
                    return True
                self.arrived += data
                self._taken += len(data)
                self._room.taken += len(data)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the thread meets the same fault
        return True

    def _suffices(self) -> bool:
        is_much = len(self.arrived) >= BUFFER
        if self.is_tls():
            return True
        end = self.arrived.find(b"\r\n\r\n", 0, BUFFER) + 4
        if end < 4:
            return is_much
        head = self.arrived[:end]
        if _EXPECTS.search(head):
            return True  # the client waits for 100 Continue
        if _CHUNKED.search(head):
            return is_much or self.arrived.endswith(b"\r\n\r\n", end)
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if is_much and (size > WHOLE_BODY or self._room.taken > MOST_BUFFERED):
            return True
        return len(self.arrived) - end >= size

    def is_tls(self) -> bool:
        """Return whether the peer begins a TLS handshake (RFC 8446, section 5.1): it would wait for an answer to it."""
        return self.arrived.startswith(_TLS_HANDSHAKE)

    def is_health_check(self) -> bool:
        """Return whether the request asks only whether the process lives, or whether the service is ready."""
        return _HEALTH_CHECK.match(self.arrived) is not None

    def is_upload(self) -> bool:
        """Return whether the request brings files, as far as its headers have come."""
        end = self.arrived.find(b"\r\n\r\n")
        return bool(_FILES.search(self.arrived, 0, end + 2 if end >= 0 else len(self.arrived)))

    def unbuffer(self) -> None:
        """Give what has arrived to the parser, for the thread that reads the request now."""
        self.parser.unreader.unread(bytes(self.arrived))
        self.sock.moved += len(self.arrived)
        self.arrived.clear()
        self._leave_room()
        self.sock.setblocking(True)

    def _leave_room(self) -> None:
        self._room.taken -= self._taken
        self._taken = 0

    def is_late(self, now: float) -> bool:
        """Return whether the request takes too long to arrive."""
        waited, size = now - self.begin, len(self.arrived)
        return waited > MAX_WAIT + size / MIN_RATE or is_over_total(waited, size)

    def close(self, graceful: bool = False) -> None:
        """Close at once; after an answer first hear the peer out, or it would lose the answer."""
        self._leave_room()
        if graceful:
            self._linger(self.sock)
        else:
            super().close()
