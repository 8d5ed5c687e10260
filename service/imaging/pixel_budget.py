"""Memory: large images take turns."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 256_000_000
SMALL = 4_000_000
"""Bytes that need not wait: a photo of a phone on its way in. The threads of a process bound how many there are."""


class PixelBudget:
    """The memory that a process gives to images at a time; an image that needs more waits until it is alone.

    First come, first served, so that a large image is not overtaken. One use must not contain another.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._taken = 0
        self._door = threading.Lock()
        self._left = threading.Condition()

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, or all are; hold them in the block."""
        if size <= SMALL:
            yield
            return
        with self._door, self._left:
            self._left.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            with self._left:
                self._taken -= size
                self._left.notify_all()
