"""PostgreSQL: many writers at once, on one machine or on several."""

import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database

LOCK_SECONDS = 10
"""How long a statement waits for a row, and how long for a free connection."""
STATEMENT_SECONDS = 60
"""How long a statement may take in all."""
IDLE_SECONDS = 5
"""After so long a pause within a writing transaction its process is taken for stopped, and its locks are let go."""
CONNECTIONS = 20
"""How many a process uses at most, beside the one that listens."""
LOOK_SECONDS = 1.0
"""How often a listener says that something may have changed, whether it was told so or not."""
CHANNEL = "jobs"
AT_WORK = 7_203_114_655_210_938_001
"""The advisory lock that every listener shares; any number that nobody else uses does."""

_LOCK = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest(CAST(:names AS text[])) AS held (name)"
)
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
        self._listeners: list[Listener] = []

    def listen(self) -> Callable[[], bool]:
        """Listen for notifications, and look once a second even so."""
        self._listeners.append(Listener(self._connect))
        return self._listeners[-1]

    def notify(self, session: Session) -> None:
        """Wake all listeners, with the commit."""
        session.execute(sa.text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})

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
        for listener in self._listeners:
            listener.close()
        super().close()


def _begin_writing(connection: sa.Connection) -> None:
    connection.exec_driver_sql(_BEGIN_WRITING)


class Listener:
    """Hears notifications on a connection of its own, which also tells others that this process is at work.

    Without a connection it is deaf, tries for a new one every second, and looks like everybody else.
    """

    def __init__(self, address: dict[str, Any]) -> None:
        self._address = address
        self._connection: psycopg.Connection | None = None
        self._poll = select.poll()
        self._lock = threading.Lock()
        self._closed = False
        self._connect_at = self._look_at = 0.0

    def __call__(self) -> bool:
        """Return whether something was notified, or a second has passed."""
        with self._lock:
            now = time.monotonic()
            try:
                heard = self._heard(now)
            except psycopg.Error:
                self._drop()
                self._connect_at = now + LOOK_SECONDS
                heard = False
            if heard or now >= self._look_at:
                self._look_at = now + LOOK_SECONDS
                return True
            return False

    def _heard(self, now: float) -> bool:
        if not self._connection:
            if self._closed or now < self._connect_at:
                return False
            self._connect()
            return True  # whatever was notified in between
        if not self._poll.poll(0):
            return False
        return bool(list(self._connection.notifies(timeout=0)))

    def _connect(self) -> None:
        connection = self._connection = psycopg.connect(**self._address, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}")
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [AT_WORK])
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def _drop(self) -> None:
        if self._connection:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Let go of the connection, and with it of the lock."""
        with self._lock:
            self._closed = True
            self._drop()
