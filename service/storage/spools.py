"""Spools: nameless files beside the store for bytes on their way in or out, never in a /tmp that may be memory."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from service.errors import NoRoom, Unavailable
from service.storage.storage import is_full

IN_MEMORY = 1_000_000
"""Bytes of a spool that are kept in memory before it becomes a file."""


class SpoolFolder:
    """The folder of the spools; those of this process have at most `most` bytes together. It serves all threads."""

    def __init__(self, folder: Path, most: int) -> None:
        self.path = folder
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Count so many bytes more; raise Unavailable where there is no room for them."""
        with self._lock:
            if self._taken + size > self._most:
                detail = "Too much is being uploaded at the same time. Try again in a few seconds."
                raise Unavailable(detail, retry_after=5, code="busy")
            self._taken += size

    def give(self, size: int) -> None:
        """Count so many bytes fewer."""
        with self._lock:
            self._taken -= size

    def made(self) -> Path:
        """Return the folder, made if need be."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.path

    @contextmanager
    def file(self, size: int = 0) -> Iterator[BinaryIO]:
        """Yield a file that counts as so many bytes: it is gone after the block, and also when the process is killed.

        Work that is bounded by its threads counts nothing. Raises Unavailable, and NoRoom where the disk is full.
        """
        self.take(size)
        try:
            with tempfile.TemporaryFile(dir=self.made()) as file:
                yield cast(BinaryIO, file)
        except OSError as error:
            _refuse_full_disk(error)
            raise
        finally:
            self.give(size)


class Spool:
    """The bytes of one request, which several threads may read: in memory while they are few, beyond in one file."""

    def __init__(self, folder: SpoolFolder) -> None:
        self.size = 0
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder.path))  # noqa: SIM115 - see close
        self._lock = threading.Lock()

    def append(self, data: bytes) -> None:
        """Add bytes at the end; raise Unavailable or NoRoom where there is no room for them."""
        self._folder.take(len(data))
        self.size += len(data)
        try:
            with self._lock:
                if self.size > IN_MEMORY:
                    self._folder.made()
                self._file.seek(0, 2)
                self._file.write(data)
        except OSError as error:
            _refuse_full_disk(error)
            raise

    def read(self, place: int, size: int) -> bytes:
        """Return so many bytes from a place on."""
        with self._lock:
            self._file.seek(place)
            data: bytes = self._file.read(size)
            return data

    def close(self) -> None:
        """Let go of the bytes."""
        self._file.close()
        self._folder.give(self.size)


def _refuse_full_disk(error: OSError) -> None:
    if is_full(error):
        raise NoRoom("There is no room for the upload: nothing was stored. Try again later.") from error
