"""Memory: large pictures take turns."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
