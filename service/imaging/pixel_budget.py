"""Memory for pictures: over all processes of this service on a machine, large ones take turns."""

import atexit
import fcntl
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from service.errors import Unavailable
from service.once import Once

SLOT = 16_000_000
"""Bytes that each file stands for."""
SLOTS = 16
SMALL = 4_000_000
"""Bytes that need not wait: a photo of a phone on its way in. The threads of a process bound how many there are."""
PATIENCE = 30.0
_LOOK_SECONDS = 0.01


@Once
def own_folder() -> Path:
    """Return a folder of this process's own, for where there is no service."""
    folder = tempfile.mkdtemp(prefix="headcount-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class PixelBudget:
    """The memory for pictures at a time: 256 MB; one that needs more waits until it is alone.

    It is held by locks on files in a folder, which the system releases when a process dies. First come, first served,
    so that a large picture is not overtaken. One use must not contain another.
    """

    def __init__(self, folder: Callable[[], Path] = own_folder, patience: float = PATIENCE) -> None:
        self._folder = folder
        self._patience = patience

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, or all are; hold them in the block. Raises Unavailable after 30 s."""
        if size <= SMALL:
            yield
            return
        with ExitStack() as held:
            self._take(min(SLOTS, math.ceil(size / SLOT)), held)
            yield

    def _take(self, number: int, held: ExitStack) -> None:
        folder, deadline = self._folder(), time.monotonic() + self._patience
        with _opened(folder, "door") as door:
            while not _is_locked(door):
                self._wait(deadline)
            while number := number - _lock_free_slots(folder, number, held):
                self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            detail = "Too many large images are being decoded on this machine. Try again in half a minute."
            raise Unavailable(detail, retry_after=math.ceil(PATIENCE), code="busy")
        time.sleep(_LOOK_SECONDS)


def _lock_free_slots(folder: Path, most: int, held: ExitStack) -> int:
    """Lock up to so many slots that are free, and return how many. A photo needs one, so most are not even opened."""
    locked = 0
    for slot in range(SLOTS):
        if locked == most:
            break
        file = _opened(folder, str(slot))
        if _is_locked(file):
            held.enter_context(file)
            locked += 1
        else:
            file.close()
    return locked


def _opened(folder: Path, name: str) -> IO[bytes]:
    return (folder / f"pictures-{name}.lock").open("ab")


def _is_locked(file: IO[bytes]) -> bool:
    """Lock it, and return whether that succeeded."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
