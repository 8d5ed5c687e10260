"""What a process makes when it is first needed, and once, however many threads need it at the same time."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """A function that makes a thing with its first call, and returns the same with every other.

    Nobody sees it before it is whole. What the making raises is raised, and the next call tries again.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self.made: T | None = None
        self._make = make
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """Return it."""
        with self._lock:
            if self.made is None:
                self.made = self._make()
            return self.made
