"""The database: transactions, naming convention, and what its errors mean."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session

from service.db.sqlite import FileMoved, SQLite

if TYPE_CHECKING:
    from service.db.postgresql import PostgreSQL

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""An id that counts beyond 32 bits. SQLite's do anyway, and only those of type INTEGER count by themselves."""


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
    return days_ago(0)


def days_ago(days: float) -> str:
    """Return the time so many days ago, in the same form."""
    return (datetime.now(UTC) - timedelta(days)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Database:
    """Gives transactions. Safe for all threads of a process; make it after a fork, or use it only then."""

    def __init__(self, url: str) -> None:
        self._backend = _backend(url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a transaction that sees one moment of the database and commits nothing."""
        with Session(self._backend.reading) as session:
            yield session

    @contextmanager
    def look(self) -> Iterator[sa.Connection]:
        """Give the same without a session, for what every request asks: two thirds of the cost."""
        with self._backend.reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a writing transaction: committed at the end of the block, rolled back by an exception.

        In SQLite it is the only one. In PostgreSQL others write meanwhile: `hold` what is read first and written later.
        """
        with Session(self._backend.writing, expire_on_commit=False) as session, session.begin():
            yield session

    def hold(self, session: Session, names: Iterable[str]) -> None:
        """Wait until nobody else holds these names, and hold them until the transaction ends.

        Once in a transaction, and before anything is written: so no two transactions wait for each other.
        """
        self._backend.hold(session, names)

    def watch(self) -> Callable[[], bool]:
        """Return a function, for one thread, that tells whether others may have added jobs since it was asked.

        While the watch lives, nobody is `alone`.
        """
        return self._backend.watch()

    def announce(self, session: Session) -> None:
        """Let the watches of all processes know when this transaction has committed."""
        self._backend.announce(session)

    def alone(self) -> AbstractContextManager[bool]:
        """Tell whether no process, on whatever machine, watches this database; while true is told, none can begin to.

        Where the database is a file, that is always true: the lock of the storage tells instead.
        """
        return self._backend.alone()

    @property
    def shared(self) -> bool:
        """Whether other machines may use it too."""
        return not isinstance(self._backend, SQLite)

    def check(self) -> None:
        """Raise OperationalError where what is written now would be lost, the file being another one than was opened.

        Every writing transaction asks this by itself.
        """
        if isinstance(self._backend, SQLite):
            self._backend.check()

    def wait(self, seconds: float) -> None:
        """Wait for a database that is just starting; raise its OperationalError after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.read() as session:
                    session.execute(sa.text("SELECT 1"))
            except OperationalError as error:
                if time.monotonic() > deadline or not is_away(error):
                    raise
            else:
                return
            time.sleep(0.2)

    def close(self) -> None:
        """Close the connections that nobody uses, and the watches."""
        self._backend.close()


def _backend(url: str) -> "SQLite | PostgreSQL":
    if url.startswith("sqlite"):
        return SQLite(url)
    from service.db.postgresql import PostgreSQL

    return PostgreSQL(url)


_AWAY = ("08", "57P", "53300", "55P03", "57014", "40001", "40P01", "25P03")
"""What PostgreSQL says when a connection is lost or refused, and when somebody else was in the way."""
_NOT_LET_IN = ("password authentication failed", "no pg_hba.conf entry", "does not exist")


def is_away(error: SQLAlchemyError) -> bool:
    """Tell whether the database is merely away or busy: then it is nobody's fault, and trying again helps."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, sa.exc.TimeoutError)  # all connections of this process are in use
    if has_moved(error):
        return True
    text = str(error.orig)
    if state := getattr(error.orig, "sqlstate", None):
        return str(state).startswith(_AWAY)
    # No state: either SQLite, or a connection to PostgreSQL that never came about.
    if not isinstance(error, OperationalError) or any(part in text for part in _NOT_LET_IN):
        return False
    return "locked" in text or "busy" in text or type(error.orig).__module__.startswith("psycopg")


def has_moved(error: SQLAlchemyError) -> bool:
    """Tell whether the database's file is gone, or is another one than was opened."""
    return isinstance(getattr(error, "orig", None), FileMoved)


def is_full(error: SQLAlchemyError) -> bool:
    """Tell whether the database's disk has no room."""
    original = getattr(error, "orig", None)
    return getattr(original, "sqlstate", None) == "53100" or "disk is full" in str(original)


def first_line(error: SQLAlchemyError) -> str:
    """Return what the database said, for the log, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def has_no_tables(error: SQLAlchemyError) -> bool:
    """Tell whether a table is missing."""
    original = getattr(error, "orig", None)
    return getattr(original, "sqlstate", None) == "42P01" or "no such table" in str(original)
