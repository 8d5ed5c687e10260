"""The table of idempotency keys and its guarded transitions.

    (none) ──reserve──▶ running ──settle──▶ settled ──24 h──▶ (none)
               ▲           │
               └─ release, bury, lease ran out

`settle` writes the answer in the transaction that has the effect: both are there, or neither is. `run` is the fence: a
run that was given up for dead settles nothing any more, so its effect rolls back.
"""

import logging
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Database, Model, first_line
from service.errors import Conflict, Invalid
from service.telemetry import logging as logs

KEPT = 24 * 3600
"""Seconds that an answer is given again."""
LEASE = 60.0
"""Seconds without a sign of life after which a run counts as dead, and its key is free."""
SWEPT = 20
"""So many expired rows go with each new one: they cannot pile up, and no request pays for many."""

log = logging.getLogger(__name__)


class IdempotencyKey(Model):
    """One key of one asker, both in `id` as a hash. Times are seconds since 1970. What has no status still runs."""

    __tablename__ = "idempotency_key"
    __table_args__ = (sa.Index(None, "expires_at"),)

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(sa.String(64))
    run: Mapped[str] = mapped_column(sa.String(32))
    owner: Mapped[str | None] = mapped_column(sa.String(128))
    lease_expires_at: Mapped[float]
    expires_at: Mapped[float]
    status: Mapped[int | None]
    headers: Mapped[str | None] = mapped_column(sa.Text)
    body: Mapped[bytes | None] = mapped_column(sa.LargeBinary)


class Run(NamedTuple):
    """One attempt to carry out what a key stands for."""

    key: str
    run: str


class Settled(NamedTuple):
    """The answer that was given."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def _mine() -> tuple[sa.ColumnElement[bool], ...]:
    return (
        IdempotencyKey.id == sa.bindparam("key"),
        IdempotencyKey.run == sa.bindparam("mine"),
        IdempotencyKey.status.is_(None),
    )


_EXPIRED = (
    sa.select(IdempotencyKey.id)
    .where(IdempotencyKey.expires_at < sa.bindparam("now"))
    .limit(SWEPT)
    .with_for_update(skip_locked=True)
)
_SWEEP = sa.delete(IdempotencyKey).where(IdempotencyKey.id.in_(_EXPIRED))
_REMOVE = sa.delete(IdempotencyKey).where(
    IdempotencyKey.id == sa.bindparam("key"), IdempotencyKey.run == sa.bindparam("dead")
)
_RELEASE = sa.delete(IdempotencyKey).where(*_mine())
_SETTLE = sa.update(IdempotencyKey).where(*_mine()).returning(IdempotencyKey.id)
_RENEW = (
    sa.update(IdempotencyKey)
    .where(IdempotencyKey.run.in_(sa.bindparam("runs", expanding=True)), IdempotencyKey.status.is_(None))
    .values(lease_expires_at=sa.bindparam("until"))
)


class Keys:
    """The keys in the database, and the leases of those that run in this process."""

    def __init__(self, database: Database, owner: Callable[[], str], lease: float = LEASE) -> None:
        self._database = database
        self._owner = owner
        self._lease = lease
        self._running: set[Run] = set()
        self._lock = threading.Lock()
        self._renewing: threading.Thread | None = None

    def reserve(self, key: str, fingerprint: str) -> Run | Settled:
        """Take the key, or return the answer it already has. Raises Invalid where it stands for another request."""
        with self._database.read() as session:
            settled = _settled(session.get(IdempotencyKey, key), fingerprint)
        if settled:
            return settled
        run = Run(key, uuid.uuid4().hex)
        try:
            with self._database.write() as session:
                known = session.get(IdempotencyKey, key, with_for_update=True)
                settled = _settled(known, fingerprint)
                if settled:
                    return settled
                if known:  # expired, or its run is dead
                    session.connection().execute(_REMOVE, {"key": key, "dead": known.run})
                self._insert(session.connection(), run, fingerprint)
        except sa.exc.IntegrityError as error:  # only where writers do not wait for each other
            raise _still_running() from error
        self._hold(run)
        return run

    def _insert(self, connection: sa.Connection, run: Run, fingerprint: str) -> None:
        now = time.time()
        connection.execute(_SWEEP, {"now": now})
        row = {"id": run.key, "run": run.run, "owner": self._owner(), "fingerprint": fingerprint}
        times = {"lease_expires_at": now + self._lease, "expires_at": now + KEPT}
        connection.execute(sa.insert(IdempotencyKey), row | times)

    def let_go(self, run: Run, *, settled: bool) -> None:
        """Stop renewing; a key without an answer is free again."""
        with self._lock:
            self._running.discard(run)
        if settled:
            return
        try:
            with self._database.write() as session:
                session.connection().execute(_RELEASE, {"key": run.key, "mine": run.run})
        except sa.exc.OperationalError as error:
            message = "a key could not be freed; it will be when its lease runs out"
            logs.event(log, message, logging.WARNING, said=first_line(error))

    def settle_alone(self, run: Run, answer: Settled) -> None:
        """Write the answer of an operation that did not settle by itself; a crash just before this forgets it."""
        with self._database.write() as session:
            settle(session, run, answer)

    def _hold(self, run: Run) -> None:
        with self._lock:
            self._running.add(run)
            if not self._renewing:  # here and no earlier: threads do not outlive a fork
                self._renewing = threading.Thread(target=self._renew, name="idempotency keys", daemon=True)
                self._renewing.start()

    def _renew(self) -> None:
        while True:
            time.sleep(self._lease / 3)
            with self._lock:
                runs = [run.run for run in self._running]
            if runs:
                try:
                    with self._database.write() as session:
                        session.connection().execute(_RENEW, {"runs": runs, "until": time.time() + self._lease})
                except sa.exc.OperationalError as error:
                    message = "the leases of keys could not be renewed; the next turn tries again"
                    logs.event(log, message, logging.WARNING, said=first_line(error))


def settle(session: Session, run: Run, answer: Settled) -> None:
    """running → settled. Raises Conflict, and so rolls the effect back, where another run has taken the key over."""
    values: Mapping[str, Any] = {
        "status": answer.status,
        "headers": orjson.dumps(answer.headers).decode(),
        "body": zlib.compress(answer.body, 1),
        "owner": None,
    }
    won = session.connection().execute(_SETTLE.values(values), {"key": run.key, "mine": run.run}).first()
    if not won:
        raise _still_running()


def bury(session: Session, owner: str | None) -> None:
    """Free the keys of a process that is known to be dead; None means all processes."""
    whose = [IdempotencyKey.owner == owner] if owner else []
    session.connection().execute(sa.delete(IdempotencyKey).where(IdempotencyKey.status.is_(None), *whose))


def _settled(row: IdempotencyKey | None, fingerprint: str) -> Settled | None:
    """Return the answer that a row has, None if the key may be taken; raises Invalid, Conflict."""
    now = time.time()
    if not row or row.expires_at < now or (row.status is None and row.lease_expires_at < now):
        return None
    if row.fingerprint != fingerprint:
        raise Invalid("This Idempotency-Key stands for another request. Send a new key with each new request.")
    if row.status is None:
        raise _still_running()
    headers = [(name, value) for name, value in orjson.loads(row.headers or "[]")]
    return Settled(row.status, headers, zlib.decompress(row.body or b""))


def _still_running() -> Conflict:
    return Conflict(
        "The first request with this Idempotency-Key is still being carried out. Send it again in a second.",
        headers={"Retry-After": "1"},
    )
