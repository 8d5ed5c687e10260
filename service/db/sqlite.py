"""SQLite: one file, one writer at a time."""

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, FileMoved, News
from service.db.named_pipes import NamedPipes

BUSY_SECONDS = 10
"""How long a transaction waits for another one that writes."""
RESERVE = 8_000_000
"""Bytes that are kept free for deletions: SQLite writes before it deletes."""

log = logging.getLogger(__name__)


class SQLite(Database):
    """An SQLite file, always the same one: of a file that was moved, deleted or replaced nobody would see a commit."""

    is_shared = False

    def __init__(self, url: str) -> None:
        super().__init__()
        # The connection used last has most of the file's pages at hand.
        self.reading = sa.create_engine(
            url, pool_size=20, max_overflow=20, pool_use_lifo=True, connect_args={"timeout": BUSY_SECONDS}
        )
        self._path = Path(self.reading.url.database or ":memory:")
        self._was_there = self._path.exists()
        self._opened: tuple[int, int] | None = None
        sa.event.listen(self.reading, "do_connect", self._before_opening)
        sa.event.listen(self.reading, "connect", self._set_up)
        sa.event.listen(self.reading, "begin", self._begin)
        self.writing = self.reading.execution_options(write=True)
        real = self._path.resolve()
        self._pipes = NamedPipes(real.with_name(f".{real.name}.listeners"))

    def check(self) -> None:
        """Raise OperationalError unless the path leads to the file that was opened. It costs some microseconds."""
        if self._opened and self._opened != _identity(self._path):
            raise sa.exc.OperationalError(None, None, FileMoved("the file was moved, deleted or replaced"))

    def _before_opening(self, *_: Any) -> None:
        # SQLite would make a new file, without a table.
        if self._was_there and not self._path.exists():
            raise FileMoved("the file was moved or deleted")
        self.check()

    def _set_up(self, connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # FULL syncs the log at every commit: what was answered survives a power cut. Saves are batched, so it costs
        # little.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()
        self._opened = self._opened or _identity(self._path)

    def _begin(self, connection: sa.Connection) -> None:
        if connection.get_execution_options().get("write"):
            self.check()
        _begin(connection)

    def keep_reserve(self) -> None:
        """Fill a file beside the database, which a deletion on a full disk can have."""
        reserve = self._reserve
        if reserve.exists() or not self._path.exists():
            return
        size = min(RESERVE, shutil.disk_usage(reserve.parent).free // 8)
        try:
            reserve.write_bytes(bytes(size))
        except OSError:
            self.release_reserve()

    def release_reserve(self) -> bool:
        """Remove that file."""
        try:
            self._reserve.unlink()
        except FileNotFoundError:
            return False
        return True

    @property
    def _reserve(self) -> Path:
        real = self._path.resolve()
        return real.with_name(f".{real.name}.reserve")

    def _send_after(self, news: News) -> None:
        self._pipes.send(news)

    def _receive(self) -> None:
        try:
            self._pipes.receive(lambda topics: self._tell(dict.fromkeys(topics, ())))
        except OSError as error:
            log.warning("no pipe can be made, so other processes' jobs are found later: %s", error.strerror)

    def lock(self, session: Session, names: Iterable[str]) -> None:
        """Do nothing: who writes holds the whole file."""

    def damage(self) -> Iterable[str]:
        """Return what SQLite's own look at the file finds."""
        with self.read() as session:
            found = session.scalars(sa.text("PRAGMA quick_check(10)")).all()
        return [line for line in found if line != "ok"]

    def rows_without_parent(self) -> Iterable[tuple[str, int]]:
        """Return them: SQLite lets programs in that do not keep foreign keys."""
        with self.read() as session:
            return [(table, row) for table, row, *_ in session.execute(sa.text("PRAGMA foreign_key_check"))]

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Leave it to the lock on the folder with the files: both are on one machine."""
        yield True

    def close(self) -> None:
        """Close the connections that nobody uses, and listen no more."""
        self._pipes.close()
        super().close()


def copy(source: Path, target: Path) -> int:
    """Copy a database as it is at one moment, others writing on; return the size. The target appears whole or never."""
    unfinished = target.with_name(f".new-{target.name}")
    unfinished.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(source.absolute().as_uri() + "?mode=rw", uri=True)) as given,
            closing(sqlite3.connect(unfinished)) as made,
        ):
            given.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
            given.backup(made)
            # One file, without a log beside it, whatever is done with it.
            made.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = made.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"The copy is damaged: {verdict}")
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        return unfinished.replace(target).stat().st_size
    finally:
        unfinished.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from every other one, under whatever name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin(connection: sa.Connection) -> None:
    # Straight to the driver: through SQLAlchemy a try costs ten times as much, and one that fails thirty times.
    driver: Any = connection.connection.driver_connection
    if not connection.get_execution_options().get("write"):
        driver.execute("BEGIN")
        return
    # A transaction that reads first and writes later cannot wait for the lock in SQLite; it fails at once. So those
    # that write say so first. SQLite itself waits by sleeping up to 100 ms at a time, too long where two busy
    # processes take turns of a few milliseconds, so the waiting is done here.
    deadline = time.monotonic() + BUSY_SECONDS
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while not _locked_for_writing(driver, deadline):
            time.sleep(0.001)
    except sqlite3.Error:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # says the same in SQLAlchemy's words
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


def _locked_for_writing(driver: sqlite3.Connection, deadline: float) -> bool:
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) or time.monotonic() > deadline:
            raise
        return False
    return True
