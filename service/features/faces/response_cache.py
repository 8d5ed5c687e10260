"""Answers kept in memory: the JSON of finished tasks, which is requested again and again."""

import threading

from cachetools import LRUCache

ROOM = 8_000_000
"""Bytes that the kept answers of a process may take in all."""


class ResponseCache:
    """The most recently used answers by their tag. A tag names one version of one task, so none is ever stale."""

    def __init__(self, room: int = ROOM) -> None:
        self._bodies: LRUCache[str, bytes] = LRUCache(room, getsizeof=len)
        self._lock = threading.Lock()

    def get(self, tag: str) -> bytes | None:
        """Return the answer, if it is kept."""
        with self._lock:
            return self._bodies.get(tag)

    def keep(self, tag: str, body: bytes) -> None:
        """Keep an answer that leaves room for others."""
        with self._lock:
            if len(body) <= self._bodies.maxsize // 2:
                self._bodies[tag] = body
