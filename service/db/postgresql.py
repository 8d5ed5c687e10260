"""PostgreSQL: many writers at once, on one machine or on several."""

import secrets
import select
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import ANY, Database, News

LOCK_SECONDS = 10
"""How long a statement waits for a row, and how long for a free connection."""
STATEMENT_SECONDS = 60
"""How long a statement may take in all."""
IDLE_SECONDS = 5
"""After so long a pause within a writing transaction its process is taken for stopped, and its locks are let go."""
CONNECTIONS = 20
"""How many a process uses at most, beside the one that listens."""
RECONNECT_SECONDS = 1.0
"""The pause before a listener tries for a new connection."""
CHANNEL = "jobs"
AT_WORK = 7_203_114_655_210_938_001
"""The advisory lock that every listener shares; any number that nobody else uses does."""

_LOCK = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest(CAST(:names AS text[])) AS held (name)"
)
_NOTIFY = sa.text("SELECT pg_notify(:channel, :message)")
_BEGIN_WRITING = f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "media-batch-service",
    "options": f"-c lock_timeout={LOCK_SECONDS}s -c statement_timeout={STATEMENT_SECONDS}s",
    # Notices within a minute that the other machine is gone without a word.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class PostgreSQL(Database):
    """A PostgreSQL database. Writing is READ COMMITTED with locks, reading is one REPEATABLE READ snapshot."""

    is_shared = True

    def __init__(self, url: str) -> None:
        super().__init__()
        address = sa.make_url(url)
        # What the setting itself says of the connection wins.
        connect = {name: value for name, value in _CONNECT.items() if name not in address.query}
        engine = sa.create_engine(
            address,
            pool_size=5,
            max_overflow=CONNECTIONS - 5,
            pool_timeout=LOCK_SECONDS,
            pool_use_lifo=True,
            # After a restart of the server nobody gets a dead connection from the pool.
            pool_pre_ping=True,
            connect_args=connect,
        )
        self.reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writing = engine.execution_options(isolation_level="READ COMMITTED")
        sa.event.listen(self.writing, "begin", _begin_writing)
        _, given = engine.dialect.create_connect_args(address)
        self._connect = {**given, **connect}
        self._listener = Listener(self._connect)

    def _send_with(self, session: Session, news: News) -> None:
        message = " ".join((self._listener.name, *news))
        session.connection().execute(_NOTIFY, {"channel": CHANNEL, "message": message})

    def _receive(self) -> None:
        for topics in self._listener.heard():
            self._tell(dict.fromkeys(topics, ()))

    def lock(self, session: Session, names: Iterable[str]) -> None:
        """Wait for whoever has locked one of the names. All take them in one order, so no two wait for each other."""
        if wanted := sorted(set(names)):
            session.connection().execute(_LOCK, {"names": wanted})

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Ask for the lock that every listener shares."""
        with self.reading.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.detach()  # the lock goes with the connection
            yield bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(AT_WORK))))

    def close(self) -> None:
        """Close the connections that nobody uses, and those that listen."""
        self._listener.close()
        super().close()


def _begin_writing(connection: sa.Connection) -> None:
    connection.exec_driver_sql(_BEGIN_WRITING)


class Listener:
    """Hears notifications on a connection of its own, which also tells others that this process is at work.

    Without a connection it is deaf, and tries for a new one every second.
    """

    def __init__(self, address: dict[str, Any]) -> None:
        self.name = ""
        self._address = address
        self._connection: psycopg.Connection | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def heard(self) -> Iterator[Iterable[str]]:
        """Yield the topics of what others notify, until `close`; after a time without connection, all."""
        self.name = secrets.token_hex(4)  # after the fork
        while not self._closed.is_set():
            try:
                if connection := self._connect():
                    yield (ANY,)  # whatever was notified in between
                    yield from self._received(connection)
            except (psycopg.Error, OSError):  # `fileno` of a closed one among them; others say that it is away
                pass
            self._drop()
            self._closed.wait(RECONNECT_SECONDS)

    def _connect(self) -> psycopg.Connection | None:
        connection = psycopg.connect(**self._address, autocommit=True)
        with self._lock:
            if self._closed.is_set():
                connection.close()
                return None
            self._connection = connection
        connection.execute(f"LISTEN {CHANNEL}")
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [AT_WORK])
        return connection

    def _received(self, connection: psycopg.Connection) -> Iterator[Iterable[str]]:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        while not self._closed.is_set():
            poll.poll()  # psycopg's own way to wait looks about ten times a second
            for notification in connection.notifies(timeout=0):
                sender, *topics = notification.payload.split(" ")
                if sender != self.name:
                    yield topics

    def _drop(self) -> None:
        with self._lock:
            if self._connection:
                with suppress(psycopg.Error):
                    self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let go of the connection, and with it of the lock."""
        self._closed.set()
        self._drop()
