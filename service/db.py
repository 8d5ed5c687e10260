"""The database: transactions, naming convention, SQLite's settings."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session

BUSY_SECONDS = 10
"""How long a transaction waits for another one that writes."""


class Model(DeclarativeBase):
    """The base of every table; constraints have names, so that migrations can speak of them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def now() -> str:
    """Return the time as clients read it: RFC 3339, UTC, milliseconds, `Z`. As text it sorts by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Database:
    """Gives transactions. Safe for all threads of a process; make it after a fork."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, pool_size=20, max_overflow=20, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(self.engine, "connect", _set_up_sqlite)
        sa.event.listen(self.engine, "begin", _begin)
        self._watching: list[sa.PoolProxiedConnection] = []
        self._writer = self.engine.execution_options(write=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a transaction that sees one moment of the database and commits nothing."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def look(self) -> Iterator[sa.Connection]:
        """Give the same without a session, for what every request asks: two thirds of the cost."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give the one writing transaction: committed at the end of the block, rolled back by an exception."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def watch(self) -> Callable[[], bool]:
        """Return a function, for one thread, that tells whether another connection has committed since it was asked."""
        connection = self.engine.raw_connection()
        connection.detach()
        self._watching.append(connection)
        cursor = connection.cursor()
        last: list[int] = [0]

        def changed() -> bool:
            (version,) = cursor.execute("PRAGMA data_version").fetchone()
            before, last[0] = last[0], version
            return bool(before != version)

        return changed

    def close(self) -> None:
        """Close the connections that nobody uses, and the watches."""
        for connection in self._watching:
            connection.close()
        self.engine.dispose()


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # FULL syncs the log at every commit: what was answered survives a power cut. Saves are batched, so it costs little.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get("write"):
        connection.exec_driver_sql("BEGIN")
        return
    # A transaction that reads first and writes later cannot wait for the lock in SQLite; it fails at once. So those
    # that write say so first. SQLite itself waits by sleeping up to 100 ms at a time, too long where two busy
    # processes take turns of a few milliseconds, so the waiting is done here.
    deadline = time.monotonic() + BUSY_SECONDS
    connection.exec_driver_sql("PRAGMA busy_timeout=0")
    try:
        while not _locked_for_writing(connection, deadline):
            time.sleep(0.001)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


def _locked_for_writing(connection: sa.Connection, deadline: float) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except sa.exc.OperationalError as error:
        if "locked" not in str(error.orig) or time.monotonic() > deadline:
            raise
        return False
    return True
