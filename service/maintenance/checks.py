"""What a slice tells of its rows and files that must hold, and how to find where it does not hold.

All of it goes in batches, each in a short transaction of its own: memory and the server's work stay as they are,
however large the installation. What one statement sees is one moment, so a running server is no false alarm.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.db.database import Database
from service.jobs.operation import Operation
from service.maintenance import store_ownership
from service.storage.storage import Storage

Query = sa.Select[*tuple[Any, ...]]
Row = sa.Row[*tuple[Any, ...]]

BATCH = 500
ORPHAN_AGE = 3600
"""Seconds after which a file without a row is nobody's upload any more, while other processes are at work."""

FEW = 10
"""How many files without a row may be there when a database without any row meets the store."""
MANY, PLACES = 100, 4
"""How many, or in how many folders, where most files have no row: a crash strikes what few requests were doing."""

Known = Callable[[Session, Collection[str]], set[str]]
"""Returns those of some keys which a slice's rows know."""
KnownKeys = Mapping[str, Known]
"""By the prefix of a slice's keys."""


@dataclass(frozen=True, slots=True)
class Check:
    """Rows that must not be.

    `wrong` selects just those, `key` first; the sentence is filled with a row's columns. `mend` sets rows of these
    keys right, within a transaction in which they are still wrong; `mended` says what it did. Without it a person
    has to decide.
    """

    key: InstrumentedAttribute[Any]
    wrong: Query
    sentence: str
    mend: Callable[[Session, Sequence[Any]], None] | None = None
    mended: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """Rows that have a file each: `rows` selects them, `key` first; `name` gives a row's storage key."""

    key: InstrumentedAttribute[Any]
    rows: Query
    name: Callable[[Row], str]
    sentence: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What all features have: their operations by kind, their files by prefix, and what must hold among them."""

    operations: Mapping[str, Operation]
    known_keys: KnownKeys
    inspections: Sequence["Inspection"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What must hold in a slice; checks are made, and mended, in this order."""

    checks: Sequence[Check] = ()
    files: Sequence[Stored] = ()


def wrong_rows(database: Database, check: Check) -> Iterator[str]:
    """Give a sentence for each row that must not be."""
    for rows in _batches(database, check.key, check.wrong):
        yield from (check.sentence.format_map(row._mapping) for row in rows)


def mend_rows(database: Database, check: Check) -> Iterator[str]:
    """Set right what can be, a batch a transaction, and give a sentence for each row."""
    if check.mend is None:
        return
    for rows in _batches(database, check.key, check.wrong):
        with database.write() as session:
            # Looked at again where nobody else can change it meanwhile.
            found = session.execute(check.wrong.where(check.key.in_([row[0] for row in rows]))).all()
            if found:
                check.mend(session, [row[0] for row in found])
        yield from (check.mended.format_map(row._mapping) for row in found)


def missing_files(database: Database, storage: Storage, stored: Stored) -> Iterator[str]:
    """Give a sentence for each row whose file is not there."""
    for rows in _batches(database, stored.key, stored.rows):
        missing = [row for row in rows if not _exists(storage, stored.name(row))]
        if missing:
            with database.read() as session:
                again = stored.rows.where(stored.key.in_([row[0] for row in missing]))
                here = set(session.execute(again.with_only_columns(stored.key)).scalars())
            # A row that went meanwhile took its file along.
            yield from (stored.sentence.format_map(row._mapping) for row in missing if row[0] in here)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many files there are below a prefix; how many of them no row knows, and in how many folders."""

    prefix: str
    files: int
    orphans: int
    places: int
    is_ours: bool
    """Whether the store is this database's."""

    @property
    def is_doubtful(self) -> bool:
        """More than a crash leaves: that rows were lost, or another database is asked, is more likely."""
        if not self.is_ours:
            return self.orphans > FEW
        return self.orphans > MANY and self.places > PLACES and 2 * self.orphans > self.files


def tally(
    database: Database, storage: Storage, known_keys: KnownKeys, *, older_than: float, rest: float = 0.0
) -> list[Tally]:
    """Count the files, written more than so many seconds ago, below each prefix below which there are orphans.

    For each second of counting it leaves the database and this process to others for `rest` seconds.
    """
    with database.read() as session:
        is_ours = store_ownership.is_ours(session)
    tallies = []
    for prefix in known_keys:
        files, orphans, places = 0, 0, set[str]()
        for keys, unknown in _looked_up(database, storage, prefix, known_keys[prefix], older_than, rest):
            files, orphans = files + len(keys), orphans + len(unknown)
            places.update(_place(key, prefix) for key in unknown if len(places) <= PLACES)
        if orphans:
            tallies.append(Tally(prefix, files, orphans, len(places), is_ours))
    return tallies


def _place(key: str, prefix: str) -> str:
    """Return the folder of a key below the prefix; files that lie side by side there are each their own."""
    folder = key.rpartition("/")[0] + "/"
    return folder if len(folder) > len(prefix) else key


def orphans(
    database: Database, storage: Storage, known_keys: KnownKeys, prefix: str, *, older_than: float
) -> Iterator[Collection[str]]:
    """Give the keys, written more than so many seconds ago, that no row knows: a batch at a time."""
    for _, unknown in _looked_up(database, storage, prefix, known_keys[prefix], older_than):
        if unknown:
            yield sorted(unknown)


def _looked_up(
    database: Database, storage: Storage, prefix: str, known: Known, older_than: float, rest: float = 0.0
) -> Iterator[tuple[Collection[str], Collection[str]]]:
    """Give batches of keys, and those of each that no row knows."""
    walk, begin = storage.keys(older_than, prefix), time.monotonic()
    while keys := list(islice(walk, BATCH)):
        # First the file, then the question: a row that is there by now has had its file before.
        with database.read() as session:
            unknown = set(keys) - known(session, keys)
        time.sleep(rest * (time.monotonic() - begin))
        yield keys, unknown
        begin = time.monotonic()


def _batches(database: Database, key: InstrumentedAttribute[Any], query: Query) -> Iterator[Sequence[Row]]:
    rest = query.order_by(key).limit(BATCH)
    while True:
        with database.read() as session:
            rows = session.execute(rest).all()
        if not rows:
            return
        yield rows
        rest = query.where(key > rows[-1][0]).order_by(key).limit(BATCH)


def _exists(storage: Storage, key: str) -> bool:
    with suppress(FileNotFoundError), storage.open(key):
        return True
    return False
