"""Topics that processes of one machine tell each other through named pipes, without anybody looking for them."""

import errno
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 4096
"""What a pipe takes in one piece on every system: messages are shorter, and do not mix."""


class NamedPipes:
    """A folder in which each listener has a named pipe; who has something to tell writes it into each.

    Whoever can open the folder may listen and tell, also in containers that share it on one machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Path | None = None
        self._closed = False

    def send(self, topics: Iterable[str]) -> None:
        """Tell all listeners but this one; it waits for nobody, and who does not read misses it."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - the names, many times a second
        except OSError:
            return
        message = f"{' '.join(topics)}\n".encode()[:MOST_BYTES]
        for name in names:
            if not name.startswith("."):
                path = self._folder / name
                if path != self._own:
                    _write(path, message)

    def receive(self, heard: Callable[[Iterable[str]], object]) -> None:
        """Call `heard` with the topics of each message, until `close`; raise OSError where no pipe can be made."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._own = path = self._folder / secrets.token_hex(8)
        hidden = path.with_name(f".{path.name}")
        os.mkfifo(hidden, 0o600)
        # Open for writing too, so that it has no end when a writer closes it.
        pipe = os.open(hidden, os.O_RDWR)
        try:
            hidden.rename(path)  # now somebody reads it: who finds a pipe without a reader removes it
            while not self._closed:
                for line in os.read(pipe, 16 * MOST_BYTES).decode().splitlines():
                    heard(line.split(" "))
        finally:
            path.unlink(missing_ok=True)
            os.close(pipe)

    def close(self) -> None:
        """Let `receive` end."""
        self._closed = True
        if self._own:
            _write(self._own, b"\n")


def _write(path: Path, message: bytes) -> None:
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # its process is dead
            path.unlink(missing_ok=True)
        return
    try:
        with suppress(OSError):  # full, so there is enough to hear
            os.write(pipe, message)
    finally:
        os.close(pipe)
