"""The folder for what the processes of one service on one machine share while they run, and nobody else may touch."""

import fcntl
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


class UnsafeFolder(OSError):
    """Another user could put files or links into the folder; the message is for the operator."""


@dataclass(frozen=True)
class RuntimeFolder:
    """The folder `given`, or one of that `name` in the user's `session` folder, or a new one in shared memory.

    A file in the folder of the `data` tells the others of the new one. In shared memory it costs no disk, and what is
    mapped there cannot meet a full one, which would end the process.
    """

    given: str
    session: str
    data: Path
    name: str

    def make(self) -> Path:
        """Return it, made if need be; raise UnsafeFolder where it is not this user's alone."""
        if self.given:
            return _made(Path(self.given))
        if self.session:
            return _made(Path(self.session) / self.name)
        return self._in_shared_memory()

    def _in_shared_memory(self) -> Path:
        """Return the folder that the data's folder names. Its own name is random, so nobody can be there before."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.data / f".{self.name}").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            with suppress(FileNotFoundError, UnsafeFolder):
                if name := file.read().strip():
                    return _checked(Path(name))
            shared = Path("/dev/shm")  # noqa: S108 - a name there is made up by mkdtemp
            folder = tempfile.mkdtemp(prefix=f"{self.name}-", dir=shared if os.access(shared, os.W_OK) else None)
            file.truncate(0)
            file.write(folder)
            return Path(folder)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _checked(folder)


def _checked(folder: Path) -> Path:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UnsafeFolder(
            f"The folder {folder} must be a folder and no link, this user's own, and writable for nobody else: "
            "correct that, or set METRICS_FOLDER to another one."
        )
    return folder
