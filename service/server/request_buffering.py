"""Request buffering: a connection collects its next request before a thread is spent on it."""

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, BinaryIO

from gunicorn.workers.gthread import TConn

from service.errors import NoRoom, Unavailable
from service.server.min_data_rate import MAX_WAIT, MIN_RATE, MinRateSocket, is_over_total
from service.storage.spools import SpoolFolder

BUFFER = 32 * 1024
"""Bytes of a request that are buffered before it gets a thread, where it is not complete before."""
WHOLE_BODY = 1_000_000
"""Bytes of a body that is buffered whole."""
MOST_BUFFERED = 32 * 1024 * 1024
"""Bytes that are buffered in the memory of a process; beyond, what comes after BUFFER bytes goes into spools."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_FILES = re.compile(rb"\r\ncontent-type:[ \t]*(?:multipart/|image/|application/octet-stream)", re.IGNORECASE)
_TLS_HANDSHAKE = b"\x16\x03"
_HEALTH_CHECK = re.compile(rb"(?:GET|HEAD) /(?:healthz|readyz)[ ?]")


class BufferRoom:
    """How many bytes a process has buffered in memory, and where more go. Used by the thread that polls alone."""

    def __init__(self, spools: SpoolFolder) -> None:
        self.spools = spools
        self.taken = 0


class _Overflow:
    """The rest of a request, in a spool."""

    def __init__(self, spools: SpoolFolder) -> None:
        self.size = 0
        self._held = ExitStack()
        self._file: BinaryIO = self._held.enter_context(spools.file(WHOLE_BODY + BUFFER))

    def append(self, data: bytes) -> None:
        """Add the bytes, or raise OSError: what was there before can still be read then."""
        if os.pwrite(self._file.fileno(), data, self.size) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += len(data)

    def read(self) -> bytes:
        return os.pread(self._file.fileno(), self.size, 0)

    def close(self) -> None:
        self._held.close()


class BufferedConnection(TConn):  # type: ignore[misc]
    """A connection with what has arrived of its next request. `linger` closes its socket after an answer."""

    sock: MinRateSocket

    def __init__(self, *args: Any, linger: Callable[[MinRateSocket], None], room: "BufferRoom") -> None:
        super().__init__(*args)
        self._linger = linger
        self._room = room
        self._taken = 0
        self._overflow: _Overflow | None = None
        self._has_no_spool = False
        self.begin_request()

    def begin_request(self) -> None:
        """Measure the next request for itself; bytes that came behind the last one belong to it."""
        self.init()
        self.arrived = bytearray(self.parser.unreader.take_buffered() + self.sock.take_ahead())
        self.begin = time.monotonic()
        self._end = bytes(self.arrived[-4:])
        self._has_no_spool = False
        self.sock.begin_request()

    def receive(self) -> bool:
        """Take what has come. True when a thread need not wait: all is there, enough of it, or the end."""
        self.sock.setblocking(False)
        try:
            while not self._suffices():
                data = self.sock.recv(BUFFER)
                if not data:
                    return True
                self._end = (self._end + data)[-4:]
                self._keep(data)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the thread meets the same fault
        return True

    def _keep(self, data: bytes) -> None:
        """Keep what has come: in memory while there is room, else in a spool; without one a thread takes it at once."""
        if self._overflow is None and len(self.arrived) >= BUFFER and self._room.taken + len(data) > MOST_BUFFERED:
            try:
                self._overflow = _Overflow(self._room.spools)
            except (OSError, NoRoom, Unavailable):
                self._has_no_spool = True
        if self._overflow:
            try:
                self._overflow.append(data)
            except OSError:
                rest = self._overflow.read() + data
                self._close_overflow()
                self._has_no_spool = True
                self._keep_in_memory(rest)
        else:
            self._keep_in_memory(data)

    def _keep_in_memory(self, data: bytes) -> None:
        self.arrived += data
        self._taken += len(data)
        self._room.taken += len(data)

    @property
    def _size(self) -> int:
        return len(self.arrived) + (self._overflow.size if self._overflow else 0)

    def _suffices(self) -> bool:
        size = self._size
        is_too_much = size > BUFFER + WHOLE_BODY or (size >= BUFFER and self._has_no_spool)
        if self.is_tls() or is_too_much:
            return True
        end = self.arrived.find(b"\r\n\r\n", 0, BUFFER) + 4
        if end < 4:
            return size >= BUFFER
        head = self.arrived[:end]
        if _EXPECTS.search(head):
            return True  # the client waits for 100 Continue
        if _CHUNKED.search(head):
            return size > end and self._end == b"\r\n\r\n"  # perhaps in the middle, and then a thread waits for the end
        length = _LENGTH.search(head)
        told = int(length[1]) if length else 0
        return size - end >= told or (told > WHOLE_BODY and size >= BUFFER)

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
        """Give what has arrived to the parser, for the thread that reads the request now.

        It gets no more at once than from a socket: its bound of a chunk's size line looks at what comes piece by piece.
        """
        arrived = bytes(self.arrived) + (self._overflow.read() if self._overflow else b"")
        self.parser.unreader.unread(arrived[:BUFFER])
        self.sock.put_back(arrived[BUFFER:])
        self.sock.moved += len(arrived)
        self.arrived.clear()
        self._leave_room()
        self.sock.setblocking(True)

    def _leave_room(self) -> None:
        self._close_overflow()
        self._room.taken -= self._taken
        self._taken = 0

    def _close_overflow(self) -> None:
        if self._overflow:
            self._overflow.close()
            self._overflow = None

    def is_late(self, now: float) -> bool:
        """Return whether the request takes too long to arrive."""
        waited, size = now - self.begin, self._size
        return waited > MAX_WAIT + size / MIN_RATE or is_over_total(waited, size)

    def close(self, graceful: bool = False) -> None:
        """Close at once; after an answer first hear the peer out, or it would lose the answer."""
        self._leave_room()
        if graceful:
            self._linger(self.sock)
        else:
            super().close()
