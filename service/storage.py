"""The byte store: a seam, and the disk behind it."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from service.errors import NoRoom

CHUNK = 256 * 1024


class Storage(Protocol):
    """Bytes under keys such as `tasks/<id>/<id>`. A missing key is `FileNotFoundError`; a full store is `NoRoom`."""

    def save(self, key: str, stream: BinaryIO) -> int:
        """Store the rest of the stream under the key, whole or not at all, and return its size in bytes."""

    def open(self, key: str) -> BinaryIO:
        """Return the bytes as a stream, which the caller closes."""

    def read(self, key: str) -> bytes:
        """Return the bytes."""

    def delete(self, key: str) -> None:
        """Remove one key; one that is not there is no error."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every key below the prefix, which ends with a slash."""

    def keys(self, older_than: float = 0) -> Iterator[str]:
        """Walk over the keys written more than so many seconds ago, unfinished writes among them."""

    def check(self) -> None:
        """Raise OSError when nothing can be stored."""


def is_full(error: OSError) -> bool:
    """Tell whether this is what a disk without room says."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class DiskStorage:
    """A folder. A file appears under its key only when it is whole and synced."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(parts) or any(part in (".", "..") or "\0" in part or os.sep in part for part in parts):
            raise ValueError(f"not a key: {key!r}")
        return self.root.joinpath(*parts)

    def save(self, key: str, stream: BinaryIO) -> int:
        """Write to a temporary name in the same folder, sync, rename."""
        path = self._path(key)
        temporary: str | None = None
        try:
            descriptor, temporary = self._temporary(path.parent)
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(stream, file, CHUNK)
                size = file.tell()
                file.flush()
                os.fsync(file.fileno())
            # The folder itself is not synced: the commit that follows, of the row, syncs the file system's journal.
            Path(temporary).replace(path)
        except BaseException as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
                self._remove_empty(path.parent)
            if isinstance(error, OSError) and is_full(error):
                raise NoRoom("The store has no room: nothing was stored. Make room, then try again.") from error
            raise
        return size

    def _temporary(self, folder: Path) -> tuple[int, str]:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            # Another thread may remove the empty folder between the two calls.
            with suppress(FileNotFoundError):
                return tempfile.mkstemp(prefix=".new-", dir=folder)

    def open(self, key: str) -> BinaryIO:
        """Open the file for reading."""
        return self._path(key).open("rb")

    def read(self, key: str) -> bytes:
        """Read the whole file."""
        return self._path(key).read_bytes()

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        self._remove_empty(path.parent)

    def delete_prefix(self, prefix: str) -> None:
        """Remove the folder, also when somebody is just writing into it."""
        folder = self._path(prefix.rstrip("/"))
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
        else:
            shutil.rmtree(folder)  # says why it cannot
        self._remove_empty(folder.parent)

    def _remove_empty(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    def keys(self, older_than: float = 0) -> Iterator[str]:
        """Walk the folder."""
        limit = time.time() - older_than
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    if path != self._lock and path.stat().st_mtime <= limit:
                        yield path.relative_to(self.root).as_posix()

    def check(self) -> None:
        """Raise OSError when the folder is gone or cannot be written to."""
        with tempfile.NamedTemporaryFile(prefix=".new-", dir=self.root):
            pass

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def hold(self) -> BinaryIO:
        """Tell others that a process works on this folder, until it ends or closes what this returns."""
        file = self._lock.open("wb")
        fcntl.flock(file, fcntl.LOCK_SH)
        return file

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether no process holds this folder; while true is told, none can begin to."""
        with self._lock.open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
