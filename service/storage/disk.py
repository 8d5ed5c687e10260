"""The byte store in a folder."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from service.errors import NoRoom, Unavailable
from service.storage.signed_urls import Download, SignedUrls
from service.storage.storage import CHUNK, StorageMisconfigured, check_prefix, is_full, parts_of
from service.telemetry import logging as logs

SYNCS = 8
"""Files and folders that are synced at a time."""
UNFINISHED = ".new-"
"""What the name of a file begins with while it is written."""

log = logging.getLogger(__name__)


class DiskStorage:
    """A folder. A file appears under its key only when it is whole, and synced unless `flush` follows.

    `signed_urls` makes its urls.
    """

    is_shared = False

    def __init__(
        self,
        root: Path,
        signed_urls: SignedUrls,
        prefixes: Sequence[str] = ("",),
        *,
        sync: Callable[[int], None] = os.fsync,
    ) -> None:
        """Refuse to save keys below none of the prefixes. `sync` writes a descriptor through; tests give their own."""
        self.root = root.resolve()
        self._root = str(self.root)
        self._signed_urls = signed_urls
        self._prefixes = prefixes
        self.sync = sync
        self._syncs = ThreadPoolExecutor(SYNCS, thread_name_prefix="sync")

    def _path(self, key: str) -> str:
        # A text: to make paths costs an upload 60 µs, and keeps each part of each key in a table of the interpreter.
        parts_of(key)
        return f"{self._root}/{key}"

    def save(self, key: str, stream: BinaryIO, media_type: str = "", *, flushed: bool = True) -> int:
        """Write to a temporary name in the same folder, sync, rename; the sync may be left to `flush`.

        A folder keeps no types: urls do.
        """
        check_prefix(key, self._prefixes)
        path = self._path(key)
        with self._translated():
            self._check_root()
            folder = os.path.dirname(path)
            descriptor, temporary = self._temporary(folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    shutil.copyfileobj(stream, file, CHUNK)
                    size = file.tell()
                    file.flush()
                    if flushed:
                        self.sync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                self._remove_empty(folder)
                raise
            if flushed:
                self._sync_names(key)
        return size

    def flush(self, *keys: str) -> None:
        """Sync the files and their folders, since a name in a folder is not safe with the file's own sync.

        On ext4 with a journal the commit of the row would do for both; on ext4 without one, on btrfs and xfs not. Those
        above are synced too: one may be new. What is gone was deleted by others.
        """
        if keys:
            with self._translated():
                self._sync_names(*keys, files=keys)

    def _sync_names(self, *keys: str, files: Sequence[str] = ()) -> None:
        """Sync the folders that these keys are in and those above, and with them files."""
        paths = [parts_of(key)[:-1] for key in keys]
        folders = {"/".join((self._root, *path[:depth])) for path in paths for depth in range(len(path) + 1)}
        self._sync_all([*(f"{self._root}/{key}" for key in files), *folders])

    def _sync_all(self, paths: Iterable[str]) -> None:
        """Sync all at once: they share commits of the file system's journal, and flushes of the disk."""
        here, *others = paths
        syncs = [self._syncs.submit(self._sync_path, path) for path in others]
        try:
            self._sync_path(here)
        finally:
            wait(syncs)
        for done in syncs:
            done.result()

    def _sync_path(self, path: str) -> None:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                self.sync(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise the errors of every storage for those of the file system; what the stream's own peer did stays."""
        try:
            yield
        except ConnectionError:
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self.root.is_dir():
                raise
            if is_full(error):
                raise NoRoom("The store has no room: nothing was stored. Make room, then try again.") from error
            fault = errno.errorcode.get(error.errno or 0, type(error).__name__)
            logs.event(log, "the folder of files cannot be used", logging.WARNING, fault=fault)
            use = "written to" if error.errno == errno.EROFS else "used"
            detail = f"The folder of files cannot be {use} now. Try again in a few seconds."
            raise Unavailable(detail, retry_after=5, code="store_unavailable") from error

    def _check_root(self) -> None:
        """Raise OSError when the root itself is gone: it is not made anew, since its files are somewhere else then."""
        if not os.path.isdir(self._root):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._root)

    def _temporary(self, folder: str) -> tuple[int, str]:
        for _ in range(100):
            # Another thread may remove the empty folder between any two looks, also between those of mkdir() itself:
            # it finds a folder, then finds it gone, and says that something else is in its place.
            with suppress(FileNotFoundError, FileExistsError):
                os.makedirs(folder, exist_ok=True)
                return tempfile.mkstemp(prefix=UNFINISHED, dir=folder)
        raise FileNotFoundError(folder)

    def open(self, key: str) -> BinaryIO:
        """Open the file for reading."""
        path = self._path(key)
        with self._translated():
            return open(path, "rb")

    def read(self, key: str) -> bytes:
        """Read the whole file, by half of the system calls of `Path.read_bytes`: each hands Python's lock on."""
        path = self._path(key)
        with self._translated():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                size = os.fstat(descriptor).st_size
                content = os.read(descriptor, size)
            finally:
                os.close(descriptor)
            return content if len(content) == size else Path(path).read_bytes()

    def delete(self, *keys: str) -> None:
        """Remove the files, and the folders that they leave empty."""
        paths = [self._path(key) for key in keys]
        with self._translated():
            self._check_root()
            for path in paths:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                self._remove_empty(os.path.dirname(path))

    def delete_prefix(self, prefix: str) -> None:
        """Remove the folder, also when somebody is just writing into it."""
        folder = self._path(prefix.rstrip("/"))
        with self._translated():
            self._check_root()
            for _ in range(20):
                shutil.rmtree(folder, ignore_errors=True)
                if not os.path.lexists(folder):
                    break
            else:
                shutil.rmtree(folder)  # says why it cannot
            self._remove_empty(os.path.dirname(folder))

    def _remove_empty(self, folder: str) -> None:
        with suppress(OSError):
            while folder != self._root:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def url(self, key: str, lifetime: float, download: Download | None = None) -> str:
        """Return a signed path of this service."""
        parts_of(key)
        return self._signed_urls.make(key, lifetime, download or Download())

    def full_key(self, key: str) -> str:
        """Return the key itself."""
        return key

    def keys(self, older_than: float = 0, prefix: str = "") -> Iterator[str]:
        """Walk the folder."""
        for path in self._files(self.root / prefix, older_than):
            if path != self._lock and not path.name.startswith(UNFINISHED):
                yield path.relative_to(self.root).as_posix()

    def drop_unfinished(self, older_than: float) -> int:
        """Remove temporary files whose writer died, and the folders that they leave empty."""
        count = 0
        for path in self._files(self.root, older_than):
            if path.name.startswith(UNFINISHED):
                with self._translated():
                    path.unlink(missing_ok=True)
                self._remove_empty(str(path.parent))
                count += 1
        return count

    def _files(self, folder: Path, older_than: float) -> Iterator[Path]:
        limit = time.time() - older_than
        with self._translated():
            self._check_root()
        for place, _, names in os.walk(folder, onerror=self._refuse):
            for path in (Path(place, name) for name in names):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime <= limit:
                        yield path

    def _refuse(self, error: OSError) -> None:
        """Raise Unavailable: a folder that cannot be read is no empty one."""
        with suppress(FileNotFoundError), self._translated():
            raise error

    def check(self) -> None:
        """Raise Unavailable when the folder is gone or cannot be written to."""
        with self._translated(), tempfile.NamedTemporaryFile(prefix=UNFINISHED, dir=self.root) as file:
            file.write(bytes(4096))
            file.flush()

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def shared_lock(self) -> BinaryIO:
        """Lock the folder as one of those that work on it, until the process ends or closes what this returns."""
        file = self._open_lock()
        fcntl.flock(file, fcntl.LOCK_SH)
        return file

    def _open_lock(self) -> BinaryIO:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            return self._lock.open("wb")
        except OSError as error:
            raise StorageMisconfigured(f"The folder of files {self.root} cannot be used: {error.strerror}.") from error

    @contextmanager
    def exclusive_lock(self) -> Iterator[bool]:
        """Yield whether nobody else works on this folder; while it is True, nobody can begin to."""
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
