"""As many computations at a time as there are cores."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Unavailable


class CpuSlots:
    """As many computations at a time as there are cores: more would take memory, and finish none of them sooner."""

    def __init__(self, cores: int) -> None:
        self._free = threading.BoundedSemaphore(cores)

    @contextmanager
    def hold(self, patience: float, refusal: str, *, retry_after: int) -> Iterator[None]:
        """Hold a slot in the block; raise `Unavailable` with these words where none is free for so many seconds."""
        if not self._free.acquire(timeout=patience):
            raise Unavailable(refusal, retry_after=retry_after, code="busy")
        try:
            yield
        finally:
            self._free.release()
