"""Zip archives as streams, and file names that are safe in them."""

import re
import time
import unicodedata
from collections.abc import Iterable, Iterator
from typing import IO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

NAME_BYTES = 255
"""What file systems take for one name, in bytes of UTF-8."""

_TAIL = 40  # bytes: a number and what a copy is called

# What separates folders, with the dots that lead up from one; what some system forbids in names, what cannot be seen or
# turns the direction of writing.
_UNSAFE = re.compile(r'\.*[/\\]|[<>:"|?*\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')
# With or without an extension these are devices in Windows.
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
_EXTENSION = re.compile(r"(?<=.)\.[A-Za-z0-9]{1,10}$")
_ALL_DOTS = re.compile(r"[ .]+(\.[A-Za-z0-9]{1,10})")


def stream(entries: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """Give a zip of these (name, pieces of content) as it is made: stored, not deflated, in constant memory.

    Names are made safe and unique here, so they may be the client's own. Entries are taken one by one, each when the
    one before is written. What they raise ends the stream without the directory that a zip ends with: a broken archive,
    never one that lacks a file and looks whole. One entry may have 2 GB, the archive any size.
    """
    sink = _Sink()
    taken: dict[str, int] = {}
    with ZipFile(cast(IO[bytes], sink), "w", ZIP_STORED) as archive:
        for name, pieces in entries:
            info = ZipInfo(unique_name(name, taken), time.gmtime()[:6])
            with archive.open(info, "w") as member:
                for piece in pieces:
                    member.write(piece)
                    yield from sink.take()
    yield from sink.take()


def unique_name(name: str, taken: dict[str, int]) -> str:
    """Return a safe name that is not among those taken, with a number where needed, and take it.

    Names that differ in case alone, or in how accents are composed, are one name, as they are in some file systems.
    """
    wanted = unique = safe_name(name)
    while (key := _folded(unique)) in taken:
        taken[_folded(wanted)] += 1
        unique = _numbered(wanted, taken[_folded(wanted)])
    taken[key] = 1
    return unique


def safe_name(name: str, otherwise: str = "image") -> str:
    """Return a client's file name as one that every system takes: no folders, devices, hidden or endless names.

    Where nothing is left before the extension, or nothing at all, `otherwise` stands for it.
    """
    if found := _ALL_DOTS.fullmatch(name):
        return f"{otherwise}{found[1]}"
    name = _UNSAFE.sub("_", name).strip(" .")
    if _DEVICES.match(name):
        name = f"_{name}"
    return _shortened(name, "") or otherwise


def _numbered(name: str, number: int) -> str:
    return _shortened(name, f" ({number})")


def _shortened(name: str, suffix: str) -> str:
    """Put the suffix before the extension, and leave so much out of what stands before it that all fits."""
    found = _EXTENSION.search(name)
    extension = found[0] if found else ""
    stem = without_middle(name.removesuffix(extension), NAME_BYTES - len(suffix) - len(extension))
    return f"{stem.rstrip(' .')}{suffix}{extension}"


def without_middle(text: str, most: int) -> str:
    """Return the text in at most so many bytes of UTF-8, at least 80: names differ where they begin and end."""
    data = text.encode()
    if len(data) <= most:
        return text
    return data[: most - _TAIL].decode(errors="ignore") + data[-_TAIL:].decode(errors="ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class _Sink:
    """A file that cannot seek: what is written to it waits to be taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is nothing behind it."""

    def take(self) -> Iterator[bytes]:
        """Give what has been written since the last time, in one piece; nothing if there is none."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        if data:
            yield data
