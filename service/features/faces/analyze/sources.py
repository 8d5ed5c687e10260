"""Where photos are: files, folders, buckets, and lists of these."""

import csv
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TextIO

from service.config import Settings
from service.imaging.media_types import media_type_of

if TYPE_CHECKING:
    from service.storage.s3_objects import S3Objects

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif"))
LISTS = frozenset((".txt", ".csv", ".tsv"))
PATH_COLUMNS = ("path", "file", "key")
"""The columns of a CSV file, any of which may name the photo; the first that is there does."""
STANDARD_INPUT = "-"
S3 = "s3://"
HEADS = 16  # keys of a list that are asked for at a time


class BadSource(Exception):
    """A source cannot be read; the message says which, and what to do."""


class Found(NamedTuple):
    """A photo as its source tells it.

    `path` is absolute, or `s3://bucket/key`, and can be printed; `place` opens it. Size, time and ETag are None where
    it is not there. `columns` are those that a list has beside the path.
    """

    path: str
    place: str
    size: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    columns: Mapping[str, str] = {}


class Sources:
    """Photos of any source. `refused` is told of folders that cannot be read; those `left_out` are not walked."""

    def __init__(
        self, settings: Settings, left_out: Collection[Path] = (), refused: Callable[[OSError], None] = lambda _: None
    ) -> None:
        self._settings = settings
        self._left_out = left_out
        self._refused = refused

    def find(self, sources: Iterable[str]) -> Iterator[Found]:
        """Yield the photos of all sources, in any order and perhaps more than once; raise `BadSource`."""
        for source in sources:
            if source == STANDARD_INPUT:
                yield from self._listed((path, {}) for path in _lines(sys.stdin, Path.cwd()))
            elif source.startswith(S3):
                yield from self._bucket(source)
            elif Path(source).is_dir():
                folder = os.path.abspath(source)  # noqa: PTH100 - links stay as they are given
                yield from (_at(entry.path) for entry in walk(Path(folder), self._left_out, self._refused))
            elif not Path(source).exists():
                raise BadSource(f"{source} does not exist.")
            elif Path(source).suffix.lower() in LISTS:
                yield from self._listed(_rows(Path(source)))
            else:
                yield _local(source)

    def open(self, place: str, size: int | None) -> BinaryIO:
        """Open a photo of this size in bytes. One of a bucket is read at once, unless it is larger than is accepted."""
        if not place.startswith(S3):
            return Path(place).open("rb")
        return self._s3.open(place, at_once=size is not None and size <= self._settings.max_image_bytes)

    def _bucket(self, source: str) -> Iterator[Found]:
        for one in self._s3.list(source):
            if Path(one.url).suffix.lower() in SUFFIXES:
                yield Found(one.url, one.url, one.size, None, one.etag)

    def _listed(self, rows: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[Found]:
        rows = iter(rows)
        with ThreadPoolExecutor(HEADS) as pool:
            while some := list(islice(rows, 8 * HEADS)):
                yield from pool.map(self._of_list, some)

    def _of_list(self, row: tuple[str, Mapping[str, str]]) -> Found:
        path, columns = row
        if not path.startswith(S3):
            return _local(path, columns)
        one = self._s3.look_up(path)
        return Found(path, path, one.size if one else None, None, one.etag if one else None, columns)

    @cached_property
    def _s3(self) -> "S3Objects":
        try:
            from service.storage.factory import s3_access
            from service.storage.s3_objects import S3Objects
        except ModuleNotFoundError as error:
            raise BadSource("Buckets need a package that is not installed: pip install 'headcount[s3]'") from error
        return S3Objects(s3_access(self._settings))


def columns_of(sources: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that CSV files among the sources have beside the path."""
    names: dict[str, None] = {}
    for source in sources:
        if Path(source).suffix.lower() in (".csv", ".tsv") and Path(source).is_file():
            with _table(Path(source)) as rows:
                names |= dict.fromkeys(
                    printable_path(name) for name in rows.fieldnames or () if name != _path_column(source, rows)
                )
    return tuple(names)


def walk(
    folder: Path, left_out: Collection[Path] = (), refused: Callable[[OSError], None] = lambda _: None
) -> Iterator["os.DirEntry[str]"]:
    """Yield what has the name or the first bytes of a photo in a folder and those below; links to folders stay."""
    folders = [os.fspath(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        if _may_be_photo(entry):
                            yield entry
                    elif not (left_out and Path(entry.path).resolve() in left_out):
                        folders.append(entry.path)
        except OSError as error:
            refused(error)


def printable_path(path: str) -> str:
    """Return a path as it can be written down: a byte that is no UTF-8 becomes a backslash, `x` and two digits."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _may_be_photo(entry: "os.DirEntry[str]") -> bool:
    try:
        if not entry.is_file():
            return False
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - of a million, a path is too slow
            return True
        with Path(entry.path).open("rb") as stream:
            return media_type_of(stream.read(64)) is not None
    except OSError:
        return False


def _local(path: str, columns: Mapping[str, str] | None = None) -> Found:
    return _at(os.path.abspath(path), columns)  # noqa: PTH100 - links stay as they are given


def _at(place: str, columns: Mapping[str, str] | None = None) -> Found:
    try:
        there = os.stat(place)  # noqa: PTH116 - a path of a million is a string
    except (OSError, ValueError):
        return Found(printable_path(place), place, columns=columns or {})
    return Found(printable_path(place), place, there.st_size, there.st_mtime_ns, None, columns or {})


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    if file.suffix.lower() == ".txt":
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from ((path, {}) for path in _lines(lines, file.parent))
        return
    with _table(file) as rows:
        name = _path_column(os.fspath(file), rows)
        for row in rows:
            path = (row.pop(name) or "").strip()
            if path:
                columns = {
                    printable_path(key): printable_path(value)
                    for key, value in row.items()
                    if isinstance(key, str) and value is not None
                }
                yield _beside(path, file.parent), columns


def _lines(lines: TextIO, folder: Path) -> Iterator[str]:
    return (_beside(path, folder) for line in lines if (path := line.rstrip("\r\n")))


def _beside(path: str, folder: Path) -> str:
    """Return a path that stands in a list, relative to the list's folder."""
    return path if path.startswith(S3) else os.path.join(folder, path)  # noqa: PTH118 - it may be no UTF-8


@contextmanager
def _table(file: Path) -> "Iterator[csv.DictReader[str]]":
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        yield csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")


def _path_column(source: str, rows: "csv.DictReader[str]") -> str:
    names: Sequence[str] = rows.fieldnames or ()
    for name in PATH_COLUMNS:
        if name in names:
            return name
    raise BadSource(f"{source} needs a header row with a column {' or '.join(PATH_COLUMNS)}.")
