"""Memory: what is freed goes back to the system, and large pictures take turns."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3), malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MALLOC = {_M_ARENA_MAX: 2, _M_MMAP_THRESHOLD: 1024 * 1024, _M_TRIM_THRESHOLD: 4 * 1024 * 1024}


def give_back_what_is_freed() -> None:
    """Let the C library return freed pictures to the system; before the first thread, and only glibc needs it.

    Left to itself it keeps what was freed, for each thread apart: after 120 photos of 12 megapixels a server process
    held 1,000 MB, and so holds 165.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _MALLOC.items():
            mallopt(parameter, value)


class Room:
    """So many pixels may be worked on at a time; who comes first goes first, so a large picture is not overtaken."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._door = threading.Lock()
        self._left = threading.Condition()

    @contextmanager
    def room_for(self, pixels: int) -> Iterator[None]:
        """Wait until there is room, or nobody else."""
        with self._door, self._left:
            self._left.wait_for(lambda: not self._taken or self._taken + pixels <= self._most)
            self._taken += pixels
        try:
            yield
        finally:
            with self._left:
                self._taken -= pixels
                self._left.notify_all()
