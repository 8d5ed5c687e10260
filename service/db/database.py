"""The database: transactions, naming convention, and what its errors mean."""

import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session

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
    return _in_text(datetime.now(UTC) - timedelta(days))


def at(seconds: float) -> str:
    """Return a time that is given in seconds since 1970, in the same form."""
    return _in_text(datetime.fromtimestamp(seconds, UTC))


def _in_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


ANY = ""
"""A topic that concerns whoever listens."""
_NEWS = "news"
News = Mapping[str, Sequence[int]]
"""What a transaction notified: the topics, each with the ids of what is new. From another process come no ids."""


def notify(session: Session, topic: str, ids: Iterable[int] = ()) -> None:
    """Tell all who listen, in whatever process, when this transaction has committed."""
    session.info.setdefault(_NEWS, {}).setdefault(topic, []).extend(ids)


class _Session(Session):
    """A session in a transaction of a connection, which it neither begins nor ends.

    What is executed by the connection alone, as most is, costs half of what it does in a session's own transaction.
    """

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection, expire_on_commit=False)
        self._given = connection

    def connection(self, *_: Any, **__: Any) -> sa.Connection:
        """Return the connection."""
        return self._given


class Database(ABC):
    """Gives transactions. Safe for all threads of a process; make it after a fork, or use it only then.

    `is_shared` tells whether other machines may use it too.
    """

    is_shared: ClassVar[bool]
    reading: sa.Engine
    writing: sa.Engine

    def __init__(self) -> None:
        self._observers: list[Callable[[News], object]] = []
        self._receiver: threading.Thread | None = None
        self._observing = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a transaction that sees one moment of the database and commits nothing."""
        with self.reading.connect() as connection, _Session(connection) as session:
            yield session

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Yield the same without a session, for what every request asks: two thirds of the cost."""
        with self.reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a writing transaction: committed at the end of the block, rolled back by an exception.

        In SQLite it is the only one. In PostgreSQL others write meanwhile: `lock` what is read first and written later.
        """
        with self.writing.connect() as connection:
            with connection.begin(), _Session(connection) as session:
                yield session
                session.flush()
                news: News = session.info.pop(_NEWS, {})
                if news:
                    self._send_with(session, news)
            if news:
                self._tell(news)
                self._send_after(news)

    @abstractmethod
    def lock(self, session: Session, names: Iterable[str]) -> None:
        """Wait until nobody else has locked these names, and lock them until the transaction ends.

        Once in a transaction, and before anything is written: so no two transactions wait for each other.
        """

    def observe(self, observer: Callable[[News], object]) -> None:
        """Have what this process notifies told to the observer, after the commit and in the thread that committed."""
        with self._observing:
            self._observers.append(observer)

    def listen(self, observer: Callable[[News], object]) -> None:
        """Have the observer told what any process notifies; call it after the fork. Until `close` nobody is `alone`.

        A notification of another process may get lost. It waits for nothing, and wakes this process only when it comes.
        """
        self.observe(observer)
        with self._observing:
            if not self._receiver:
                self._receiver = threading.Thread(target=self._receive, name="notifications", daemon=True)
                self._receiver.start()

    def _tell(self, news: News) -> None:
        for observer in tuple(self._observers):
            observer(news)

    def _send_with(self, session: Session, news: News) -> None:  # noqa: B027 - one of the two sends
        """Send news to other processes with the commit that follows."""

    def _send_after(self, news: News) -> None:  # noqa: B027 - one of the two sends
        """Send news to other processes after the commit."""

    @abstractmethod
    def _receive(self) -> None:
        """Tell what other processes send, until `close`."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[bool]:
        """Yield whether no process, on whatever machine, listens to this database; while it is true none can begin to.

        Where the database is a file, that is always true: the lock of the storage tells instead.
        """

    def check(self) -> None:  # noqa: B027 - a server's database cannot move
        """Raise OperationalError where what is written now would be lost, the file being another one than was opened.

        Every writing transaction asks this by itself.
        """

    def keep_reserve(self) -> None:  # noqa: B027 - a server's disk is not this machine's
        """Keep a little of the disk free for deletions, as far as there is room."""

    def release_reserve(self) -> bool:
        """Give the reserve to what is written next; return whether there was one."""
        return False

    def damage(self) -> Iterable[str]:
        """Return what the database finds wrong with its own file; servers look by themselves."""
        return ()

    def rows_without_parent(self) -> Iterable[tuple[str, int]]:
        """Return table and number of the rows whose foreign key leads nowhere; servers let none in."""
        return ()

    def remove_row(self, table: str, number: int) -> None:
        """Remove a row that has no parent."""
        with self.write() as session:
            session.execute(sa.delete(sa.table(table)).where(sa.literal_column("rowid") == number))

    def revision(self) -> str | None:
        """Return the revision of the migrations that the tables have; raise an error if there are no tables."""
        with self.read() as session:
            revision: str | None = session.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return revision

    def wait(self, seconds: float) -> None:
        """Wait for a database that is just starting; raise its OperationalError after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.read() as session:
                    session.execute(sa.text("SELECT 1"))
            except OperationalError as error:
                if time.monotonic() > deadline or not (self.is_shared and is_away(error)):
                    raise
            else:
                return
            time.sleep(0.2)

    def close(self) -> None:
        """Close the connections that nobody uses, and those that listen."""
        self.reading.dispose()


def open_database(url: str) -> Database:
    """Return the database at an address; it connects with the first transaction."""
    if url.startswith("sqlite"):
        from service.db.sqlite import SQLite

        return SQLite(url)
    from service.db.postgresql import PostgreSQL

    return PostgreSQL(url)


class FileMoved(sqlite3.OperationalError):
    """The path leads to no file any more, or to another one than was opened; what is written now would be lost."""


_AWAY = ("08", "57P", "53300", "55P03", "57014", "40001", "40P01", "25P03")
"""What PostgreSQL says when a connection is lost or refused, and when somebody else was in the way."""
_SHORT = ("unable to open database file", "out of memory", "disk I/O error")
_NOT_LET_IN = ("password authentication failed", "no pg_hba.conf entry", "does not exist")


def is_away(error: SQLAlchemyError) -> bool:
    """Return whether the database is merely away or busy: then it is nobody's fault, and trying again helps."""
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
    # SQLite cannot open its file or map its log where this process lacks files or memory.
    is_short = any(part in text for part in _SHORT)
    return is_short or "locked" in text or "busy" in text or type(error.orig).__module__.startswith("psycopg")


def has_moved(error: SQLAlchemyError) -> bool:
    """Return whether the database's file is gone, or is another one than was opened."""
    return isinstance(getattr(error, "orig", None), FileMoved)


def is_full(error: SQLAlchemyError) -> bool:
    """Return whether the database's disk has no room."""
    original = getattr(error, "orig", None)
    return getattr(original, "sqlstate", None) == "53100" or "disk is full" in str(original)


def first_line(error: SQLAlchemyError) -> str:
    """Return what the database said, for the log, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def has_no_tables(error: SQLAlchemyError) -> bool:
    """Return whether a table is missing."""
    original = getattr(error, "orig", None)
    return getattr(original, "sqlstate", None) == "42P01" or "no such table" in str(original)
