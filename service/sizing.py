"""How many threads, calls and cores one process may use."""

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.config import Settings
from service.errors import Unavailable


def workers_of(settings: Settings) -> int:
    """Return how many files one server process works on at a time.

    FaceCloud's threads wait for the network; the embedded engine's compute, so together they get the cores once.
    """
    if settings.workers:
        return settings.workers
    return 8 if settings.engine == "facecloud" else share_of_cores(settings)


def share_of_cores(settings: Settings) -> int:
    """Return how many cores one server process may keep busy, so that all together keep each of them busy once."""
    return max(1, math.ceil(len(os.sched_getaffinity(0)) / settings.web_concurrency))


class CpuSlots:
    """As many computations at a time as there are cores: more would take memory, and finish none of them sooner."""

    def __init__(self, cores: int) -> None:
        self._free = threading.BoundedSemaphore(cores)

    @contextmanager
    def hold(self, patience: float, refusal: str, *, retry_after: int) -> Iterator[None]:
        """Hold a slot in the block; raise `Unavailable` with these words where none is free for so many seconds."""
        if not self._free.acquire(timeout=patience):
            raise Unavailable(refusal, retry_after=retry_after)
        try:
            yield
        finally:
            self._free.release()
