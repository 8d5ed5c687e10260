"""The table of idempotency keys and its guarded transitions.

    (none) ──reserve──▶ running ──settle──▶ settled ──24 h──▶ (none)
               ▲           │
               └─ release, lease ran out

`settle` writes the answer in the transaction that has the effect: both are there, or neither is. `run` is the fence: a
run whose lease ran out settles nothing any more, so its effect rolls back.
"""

import logging
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from typing import NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Database, Model, first_line
from service.errors import Conflict, Invalid
from service.telemetry import logging as logs

KEPT = 24 * 3600
"""Seconds that an answer is given again."""
SLACK = 5.0
"""Seconds by which the clock of another machine may be ahead."""
LEASE = 60.0
"""Seconds without a sign of life after which a run counts as dead, and its key is free."""
SWEPT = 20
"""Expired rows that are deleted with each new one: they cannot pile up, and no request pays for many."""

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


class Reservation(NamedTuple):
    """A key that one run of its request has taken."""

    key: str
    run: str


class KeptAnswer(NamedTuple):
    """The answer that was given."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class IdempotencyStore:
    """The keys in the database, and the leases of those that run in this process."""

    def __init__(self, database: Database, owner: Callable[[], str], lease: float = LEASE) -> None:
        self._database = database
        self._owner = owner
        self._lease = lease
        self._running: set[Reservation] = set()
        self._lock = threading.Lock()
        self._renewing: threading.Thread | None = None

    def reserve(self, key: str, fingerprint: str) -> Reservation | KeptAnswer:
        """Take the key, or return the answer it already has. Raises Invalid where it stands for another request."""
        with self._database.read() as session:
            kept = _kept_answer(session.get(IdempotencyKey, key), fingerprint)
        if kept:
            return kept
        reservation = Reservation(key, uuid.uuid4().hex)
        try:
            with self._database.write() as session:
                known = session.get(IdempotencyKey, key, with_for_update=True)
                kept = _kept_answer(known, fingerprint)
                if kept:
                    return kept
                if known:  # expired, or its run is dead
                    session.delete(known)
                    session.flush()
                self._insert(session.connection(), reservation, fingerprint)
        except sa.exc.IntegrityError as error:  # only where writers do not wait for each other
            raise _still_running() from error
        self._start_renewing(reservation)
        return reservation

    def _insert(self, connection: sa.Connection, reservation: Reservation, fingerprint: str) -> None:
        now, table = time.time(), IdempotencyKey
        expired = sa.select(table.id).where(table.expires_at < now).limit(SWEPT).with_for_update(skip_locked=True)
        connection.execute(sa.delete(table).where(table.id.in_(expired)))
        row = {"id": reservation.key, "run": reservation.run, "owner": self._owner(), "fingerprint": fingerprint}
        times = {"lease_expires_at": now + self._lease, "expires_at": now + KEPT}
        connection.execute(sa.insert(table), row | times)

    def release(self, reservation: Reservation, *, settled: bool) -> None:
        """Stop renewing; a key without an answer is free again."""
        with self._lock:
            self._running.discard(reservation)
        if settled:
            return
        try:
            with self._database.write() as session:
                session.connection().execute(sa.delete(IdempotencyKey).where(*_is_running(reservation)))
        except sa.exc.OperationalError as error:
            message = "a key could not be freed; it will be when its lease runs out"
            logs.event(log, message, logging.WARNING, said=first_line(error))

    def settle_after(self, reservation: Reservation, answer: KeptAnswer) -> None:
        """Write the answer of an operation that did not settle by itself; a crash just before this forgets it."""
        with self._database.write() as session:
            settle(session, reservation, answer)

    def _start_renewing(self, reservation: Reservation) -> None:
        with self._lock:
            self._running.add(reservation)
            if not self._renewing:  # here and no earlier: threads do not outlive a fork
                self._renewing = threading.Thread(target=self._renew, name="idempotency keys", daemon=True)
                self._renewing.start()

    def _renew(self) -> None:
        while True:
            time.sleep(self._lease / 3)
            with self._lock:
                runs = [reservation.run for reservation in self._running]
            if not runs:
                continue
            running = (IdempotencyKey.run.in_(runs), IdempotencyKey.status.is_(None))
            renewed = sa.update(IdempotencyKey).where(*running).values(lease_expires_at=time.time() + self._lease)
            try:
                with self._database.write() as session:
                    session.connection().execute(renewed)
            except sa.exc.OperationalError as error:
                message = "the leases of keys could not be renewed; the next turn tries again"
                logs.event(log, message, logging.WARNING, said=first_line(error))


def settle(session: Session, reservation: Reservation, answer: KeptAnswer) -> None:
    """running → settled. Raises Conflict, and so rolls the effect back, where another run has taken the key over."""
    settled = sa.update(IdempotencyKey).where(*_is_running(reservation)).returning(IdempotencyKey.id)
    headers, body = orjson.dumps(answer.headers).decode(), zlib.compress(answer.body, 1)
    if not session.connection().scalar(settled.values(status=answer.status, headers=headers, body=body, owner=None)):
        raise _still_running()


def release_dead(session: Session, owner: str | None) -> None:
    """Free the keys of a process that is known to be dead; None means all processes."""
    whose = [IdempotencyKey.owner == owner] if owner else []
    session.connection().execute(sa.delete(IdempotencyKey).where(IdempotencyKey.status.is_(None), *whose))


def _is_running(reservation: Reservation) -> tuple[sa.ColumnElement[bool], ...]:
    key, run = reservation
    return IdempotencyKey.id == key, IdempotencyKey.run == run, IdempotencyKey.status.is_(None)


def _kept_answer(row: IdempotencyKey | None, fingerprint: str) -> KeptAnswer | None:
    """Return the answer that a row has, None if the key may be taken; raises Invalid, Conflict."""
    now = time.time()
    # A lease that ends later than any that is taken now is of a clock that has been set back since.
    if (
        not row
        or row.expires_at < now
        or (row.status is None and not now <= row.lease_expires_at <= now + LEASE + SLACK)
    ):
        return None
    if row.fingerprint != fingerprint:
        detail = "This Idempotency-Key stands for another request. Send a new key with each new request."
        raise Invalid(detail, code="idempotency_key_reused")
    if row.status is None:
        raise _still_running()
    headers = [(name, value) for name, value in orjson.loads(row.headers or "[]")]
    return KeptAnswer(row.status, headers, zlib.decompress(row.body or b""))


def _still_running() -> Conflict:
    return Conflict(
        "The first request with this Idempotency-Key is still being carried out. Send it again in a second.",
        code="request_in_progress",
        headers={"Retry-After": "1"},
    )
