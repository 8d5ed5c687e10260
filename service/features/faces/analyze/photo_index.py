"""Which photos are found and which are done, on the disk: memory stays the same for any number of them."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from service.features.faces.analyze.sources import Found

PAGE = 1_000
CACHE_KB = 8_000

_SCHEMA = """
CREATE TABLE found(path TEXT PRIMARY KEY, place BLOB, size INT, mtime_ns INT, etag TEXT, columns TEXT) WITHOUT ROWID;
CREATE TABLE before(path TEXT PRIMARY KEY, place BLOB, size INT, mtime_ns INT, etag TEXT, columns TEXT) WITHOUT ROWID;
CREATE TABLE done(
    path TEXT PRIMARY KEY, size INT, mtime_ns INT, etag TEXT, digest TEXT, duplicate_of TEXT, again INT, part INT
) WITHOUT ROWID;
CREATE TABLE superseded(part INT, path TEXT);
CREATE TRIGGER supersede AFTER UPDATE OF part ON done WHEN old.part <> new.part BEGIN
    INSERT INTO superseded VALUES(old.part, old.path);
END;
CREATE TABLE open(
    number INTEGER PRIMARY KEY, path TEXT, place BLOB, size INT, mtime_ns INT, etag TEXT, columns TEXT,
    digest TEXT, duplicate_of TEXT
);
CREATE TABLE same_size(number INTEGER PRIMARY KEY);
"""
_ADD = """
INSERT INTO done VALUES(?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(path) DO UPDATE SET
    size = excluded.size, mtime_ns = excluded.mtime_ns, etag = excluded.etag, digest = excluded.digest,
    duplicate_of = excluded.duplicate_of, again = excluded.again, part = excluded.part
"""
_PAGE = """
SELECT number, path, place, size, mtime_ns, etag, columns, digest, duplicate_of FROM open
WHERE number > ? {} ORDER BY number LIMIT ?
"""
_IS_OLD = "d.size IS NOT f.size OR d.mtime_ns IS NOT f.mtime_ns OR d.etag IS NOT f.etag"
_OPEN = f"""
INSERT INTO open(path, place, size, mtime_ns, etag, columns)
SELECT f.path, f.place, f.size, f.mtime_ns, f.etag, f.columns FROM found f LEFT JOIN done d ON d.path = f.path
WHERE (d.path IS NULL OR d.again OR {_IS_OLD})
"""  # noqa: S608 - it is made of constants
_SETTLED = """
AND EXISTS(
    SELECT 1 FROM before b
    WHERE b.path = f.path AND b.size IS f.size AND b.mtime_ns IS f.mtime_ns AND b.etag IS f.etag
)
"""
# A duplicate whose first is worked on again, or is no longer what it was, is looked at again.
_WIDOWED = """
UPDATE done SET again = 1 WHERE duplicate_of IS NOT NULL AND NOT EXISTS(
    SELECT 1 FROM done first WHERE first.path = done.duplicate_of AND NOT first.again AND first.digest = done.digest
)
"""
_CHANGED = f"""
UPDATE done SET again = 1 WHERE path IN (SELECT d.path FROM done d JOIN found f ON f.path = d.path WHERE {_IS_OLD})
"""  # noqa: S608
# Only photos of one size can have the same bytes.
_SAME_SIZE = """
INSERT INTO same_size SELECT number FROM open WHERE size IN (
    SELECT size FROM (
        SELECT size FROM open UNION ALL SELECT size FROM done WHERE NOT again AND duplicate_of IS NULL
    ) GROUP BY size HAVING COUNT(*) > 1
)
"""
_DUPLICATES = """
UPDATE open SET duplicate_of = coalesce(
    (SELECT d.path FROM done d
     WHERE d.digest = open.digest AND NOT d.again AND d.duplicate_of IS NULL AND d.path <> open.path LIMIT 1),
    (SELECT o.path FROM open o WHERE o.digest = open.digest AND o.number < open.number ORDER BY o.number LIMIT 1)
) WHERE digest IS NOT NULL
"""


class Done(NamedTuple):
    """A photo that a part has; one that is to be looked at `again` has failed by no fault of its own."""

    path: str
    size: int | None
    mtime_ns: int | None
    etag: str | None
    digest: str | None
    duplicate_of: str | None
    again: bool
    part: int


@dataclass(frozen=True, slots=True)
class Open:
    """A photo that is to be looked at, unless it has the bytes of another."""

    number: int
    found: Found
    digest: str | None
    duplicate_of: str | None


class PhotoIndex:
    """A database that lives as long as a run: what it says is read from the parts and the sources each time."""

    def __init__(self, file: Path) -> None:
        """Make the file anew."""
        file.unlink(missing_ok=True)
        self._file = file
        self._database = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{CACHE_KB}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Remove the file."""
        self._database.close()
        self._file.unlink(missing_ok=True)

    def add_part(self, photos: Iterable[Done]) -> None:
        """Take the photos of a part for done; the rows that older parts have of them are superseded."""
        self._database.execute("BEGIN")
        self._database.executemany(_ADD, photos)
        self._database.execute("COMMIT")

    def superseded(self) -> Iterator[tuple[int, set[str]]]:
        """Yield the parts that have rows which newer parts took the place of, and forget each after its turn."""
        for (part,) in self._database.execute("SELECT DISTINCT part FROM superseded").fetchall():
            yield (
                part,
                {path for (path,) in self._database.execute("SELECT path FROM superseded WHERE part = ?", (part,))},
            )
            self._database.execute("DELETE FROM superseded WHERE part = ?", (part,))

    def look(self, found: Iterable[Found], *, settled: bool, dedupe: bool) -> tuple[int, int]:
        """Take in all photos that the sources have now; return how many there are, and how many are open.

        With `settled` only those are open that the look before found in the same state; with `dedupe` also duplicates
        of photos that have changed.
        """
        run = self._database.execute
        for table in ("before", "open"):
            run(f"DELETE FROM {table}")  # noqa: S608
        if settled:
            run("INSERT INTO before SELECT * FROM found")
        run("DELETE FROM found")
        rows = map(_row, found)
        while page := list(islice(rows, PAGE)):
            run("BEGIN")
            self._database.executemany("INSERT OR IGNORE INTO found VALUES(?, ?, ?, ?, ?, ?)", page)
            run("COMMIT")
        if dedupe:
            run(_CHANGED)
            run(_WIDOWED)
        run(_OPEN + (_SETTLED if settled else "") + " ORDER BY f.path")
        return self._count("found"), self._count("open")

    def open_photos(self) -> Iterator[Open]:
        """Yield what is open, by path."""
        return self._pages(_PAGE.format(""))

    def of_one_size(self) -> Iterator[Open]:
        """Yield what is open and has the size of another photo."""
        self._database.execute("DELETE FROM same_size")
        self._database.execute(_SAME_SIZE)
        return self._pages(_PAGE.format("AND number IN same_size"))

    def add_digests(self, digests: Iterable[tuple[str | None, int]]) -> None:
        """Write down the SHA-256 of open photos, by number."""
        self._database.execute("BEGIN")
        self._database.executemany("UPDATE open SET digest = ? WHERE number = ?", digests)
        self._database.execute("COMMIT")

    def find_duplicates(self) -> int:
        """Let each open photo whose bytes an earlier one has refer to that; return how many there are."""
        self._database.execute("CREATE INDEX IF NOT EXISTS open_digest ON open(digest, number)")
        self._database.execute("CREATE INDEX IF NOT EXISTS done_digest ON done(digest)")
        self._database.execute(_DUPLICATES)
        (count,) = self._database.execute("SELECT COUNT(*) FROM open WHERE duplicate_of IS NOT NULL").fetchone()
        return int(count)

    def count_gone(self) -> int:
        """Return how many photos are done that the sources do not have now."""
        unknown = "SELECT COUNT(*) FROM done WHERE NOT EXISTS(SELECT 1 FROM found WHERE found.path = done.path)"
        (count,) = self._database.execute(unknown).fetchone()
        return int(count)

    def _count(self, table: str) -> int:
        (count,) = self._database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()  # noqa: S608
        return int(count)

    def _pages(self, query: str) -> Iterator[Open]:
        last = 0
        while page := self._database.execute(query, (last, PAGE)).fetchall():
            last = page[-1][0]
            yield from map(_open, page)


def _row(found: Found) -> tuple[object, ...]:
    place = os.fsencode(found.place) if found.place != found.path else None
    columns = json.dumps(found.columns) if found.columns else None
    return found.path, place, found.size, found.mtime_ns, found.etag, columns


def _open(row: tuple[object, ...]) -> Open:
    number, path, place, size, mtime_ns, etag, columns, digest, duplicate_of = row
    found = Found(
        path,  # type: ignore[arg-type]
        path if place is None else os.fsdecode(place),  # type: ignore[arg-type]
        size,  # type: ignore[arg-type]
        mtime_ns,  # type: ignore[arg-type]
        etag,  # type: ignore[arg-type]
        json.loads(columns) if columns else {},  # type: ignore[arg-type]
    )
    return Open(number, found, digest, duplicate_of)  # type: ignore[arg-type]
