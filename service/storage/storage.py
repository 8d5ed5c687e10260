"""The byte store: keys to bytes."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from service.storage.signed_urls import Download

CHUNK = 256 * 1024


class StorageMisconfigured(OSError):
    """The storage is set up wrongly, so that trying again does not help; the message is for the operator."""


class Storage(Protocol):
    """Bytes under keys such as `tasks/<id>/<id>`.

    A missing key is `FileNotFoundError`; a full store is `NoRoom`; one that cannot be reached now is `Unavailable`.
    """

    is_shared: bool
    """Whether other machines may use it too, so that a lock cannot tell whether any does."""

    def save(self, key: str, stream: BinaryIO, media_type: str = "", *, flushed: bool = True) -> int:
        """Store the rest of the stream under the key, whole or not at all, and return its size in bytes.

        It survives a power cut, unless `flushed` is false: then from the `flush` that follows on.
        With a media type it may be fetched from the store itself, by a CDN say, and the key must never get other bytes.
        """

    def flush(self, *keys: str) -> None:
        """Have what was saved under these keys survive a power cut: call it before the rows are committed."""

    def open(self, key: str) -> BinaryIO:
        """Return the bytes as a stream, which the caller closes."""

    def read(self, key: str) -> bytes:
        """Return the bytes."""

    def delete(self, *keys: str) -> None:
        """Remove the keys; one that is not there is no error."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every key below the prefix, which ends with a slash."""

    def url(self, key: str, lifetime: float, download: Download | None = None) -> str:
        """Return an address that gives the bytes to whoever has it, for so many seconds. The key is not looked up.

        On the disk it is a path of this service where `PUBLIC_URL` is not set: `http.responses.absolute` completes it.
        """

    def full_key(self, key: str) -> str:
        """Return the key as others who use the same bucket or folder know it."""

    def keys(self, older_than: float = 0, prefix: str = "") -> Iterator[str]:
        """Walk over the keys below the prefix that were written more than so many seconds ago."""

    def drop_unfinished(self, older_than: float) -> int:
        """Remove what was begun so many seconds ago and never became a key; return how many."""

    def check(self) -> None:
        """Raise StorageMisconfigured or Unavailable when nothing can be stored."""

    def shared_lock(self) -> BinaryIO:
        """Lock the storage as one of those that work on it, until the process ends or closes what this returns."""

    def exclusive_lock(self) -> AbstractContextManager[bool]:
        """Yield whether nobody else works on this storage; while it is True, nobody can begin to."""


def is_full(error: OSError) -> bool:
    """Return whether this is what a disk without room says."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def check_prefix(key: str, prefixes: Sequence[str]) -> None:
    """Raise ValueError for a key below none of these prefixes: its file would never be swept."""
    if not key.startswith(tuple(prefixes)):
        raise ValueError(f"no feature knows files at {key!r}: name their prefix in its known_keys")


def parts_of(key: str) -> list[str]:
    """Return the parts of a key; raise ValueError for what leaves the root of the storage or is no name there."""
    parts = key.split("/")
    if not all(parts) or any(part in (".", "..") or "\0" in part for part in parts):
        raise ValueError(f"not a key: {key!r}")
    return parts
