"""A disk that loses at a power cut whatever was not synced."""

import os
from pathlib import Path


class PowerCuts:
    """What a disk keeps that loses whatever was not synced: of files their bytes, of folders the names in them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}

    def sync(self, descriptor: int) -> None:
        """Note what is safe by a sync of this file or folder."""
        number, path = os.fstat(descriptor).st_ino, Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._folders[number] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self._files[number] = path.read_bytes()

    def left(self, key: str) -> bytes | None:
        """Return what is left of a key after a power cut at this moment."""
        number: int | None = self._root.stat().st_ino
        for name in key.split("/"):
            number = self._folders.get(number or 0, {}).get(name)
        return self._files.get(number or 0)
