"""Answers kept in memory: the JSON of finished tasks, which people ask for again and again."""

import threading
from collections import OrderedDict

ROOM = 8_000_000
"""Bytes that the kept answers of a process may take in all."""


class Bodies:
    """The most recently used answers by their tag. A tag names one version of one task, so none is ever stale."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, tag: str) -> bytes | None:
        """Return the answer, if it is kept."""
        with self._lock:
            body = self._bodies.get(tag)
            if body is not None:
                self._bodies.move_to_end(tag)
            return body

    def keep(self, tag: str, body: bytes) -> None:
        """Keep an answer, and let go of those that were not asked for the longest."""
        with self._lock:
            if len(body) > self._room // 2 or tag in self._bodies:
                return
            self._bodies[tag] = body
            self._room -= len(body)
            while self._room < 0:
                _, old = self._bodies.popitem(last=False)
                self._room += len(old)
