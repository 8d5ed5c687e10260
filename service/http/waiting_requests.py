"""Requests that wait for something to happen: few at a time, and none after the server was told to stop."""

import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.25
"""How long a waiting request sleeps between two looks."""


class WaitingRequests:
    """At most so many requests of this process, each of which holds a thread."""

    def __init__(self, most: int) -> None:
        self._turns = threading.BoundedSemaphore(most)
        self._stopping = threading.Event()

    def wait(self, has_happened: Callable[[], bool], seconds: float) -> bool:
        """Return when it has happened, or the time is over; False at once where too many wait already."""
        if not seconds or has_happened():
            return True
        if not self._turns.acquire(blocking=False):
            return False
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                if self._stopping.wait(min(left, LOOK_SECONDS)) or has_happened():
                    break
        finally:
            self._turns.release()
        return True

    def stop(self) -> None:
        """End all waiting: each request is answered with what is there."""
        self._stopping.set()
