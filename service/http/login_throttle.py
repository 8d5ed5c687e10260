"""Limits failed logins: counts wrong credentials over all server processes.

A row is one name, such as an address, and how often it failed since its window began. Right credentials cost one look
at an index a second, since also they must be refused while their name is blocked: else the one right guess would be
told.
"""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from cachetools import TTLCache
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Database, Model, first_line
from service.errors import TooManyRequests, Unauthorized
from service.telemetry.logging import StateLog

MAX_ROWS = 100_000
"""Names that are known at most; beyond, the oldest are forgotten."""
COUNTED = 100
"""New names after which the rows are counted."""
SWEPT = 20
"""Expired rows that are deleted with each new one."""

ALLOWED, ALLOWED_SECONDS = 10_000, 1.0
"""How many names with right credentials are remembered, and for how long they are not looked up again."""

log = logging.getLogger(__name__)


class FailedLogin(Model):
    """A name, as a hash, and its failures; the window ends at `expires_at`, seconds since 1970."""

    __tablename__ = "failed_try"
    __table_args__ = (sa.Index(None, "expires_at"),)

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    failures: Mapped[int]
    expires_at: Mapped[float]


# Built once, since every request with credentials asks it. A row that ends later than any can is of another clock.
_BLOCKED = sa.select(FailedLogin.expires_at).where(
    FailedLogin.name == sa.bindparam("name"),
    FailedLogin.expires_at.between(sa.bindparam("now"), sa.bindparam("latest")),
    FailedLogin.failures >= sa.bindparam("limit"),
)


class _Unwritten:
    """Failures of this process whose rows could not be written."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}

    def count(self, name: str) -> int:
        """Count a failure and return how many there are."""
        with self._lock:
            now = time.monotonic()
            failures, until = self._failures.pop(name, (0, 0.0))
            if until <= now:
                failures, until = 0, now + self._seconds
            self._failures[name] = failures + 1, until
            while len(self._failures) > self._most:
                del self._failures[next(iter(self._failures))]  # the one that failed last the longest ago
            return failures + 1

    def seconds_left(self, name: str, limit: int) -> float:
        """Return for how long a name with so many failures is refused, or 0."""
        failures, until = self._failures.get(name, (0, 0.0))
        return max(0.0, until - time.monotonic()) if failures >= limit else 0.0

    def forget(self, name: str) -> None:
        """Forget a name."""
        self._failures.pop(name, None)


class LoginThrottle:
    """At most `limit` failures of a name in `seconds`; then it is refused until they have passed.

    What several addresses share, such as an account, is checked with `times=2`, after the address and by other names:
    an address that is refused counts no more, so one alone cannot lock the others out, although two windows of an
    address may lie in one of an account. Where the database takes no row, each process counts in memory.
    """

    def __init__(self, database: Database, limit: int, seconds: float, most: int = MAX_ROWS) -> None:
        self._database = database
        self._most = most
        self._limit = limit
        self._seconds = seconds
        self._inserted = 0
        self._unwritten = _Unwritten(seconds, most)
        self._states = StateLog(log, "failed logins are counted in memory", "failed logins are counted in rows again")
        self._allowed: TTLCache[str, None] = TTLCache(ALLOWED, ALLOWED_SECONDS)
        self._lock = threading.Lock()

    def check(self, *names: str, times: int = 1) -> None:
        """Raise TooManyRequests if one of the names has failed `times` times the limit.

        Call it before telling right from wrong.
        """
        hashes, limit = [_hash(name) for name in names], times * self._limit
        left = max(self._unwritten.seconds_left(name, limit) for name in hashes) or self._written(hashes, limit)
        if left:
            raise TooManyRequests(
                "Too many wrong credentials were tried. Wait a few minutes, then try again.",
                retry_after=math.ceil(left),
            )

    def _written(self, hashes: Sequence[str], limit: int) -> float:
        """Return for how long a row refuses one of the names; without the database none does."""
        now = time.time()
        asked = {"now": now, "latest": now + self._seconds, "limit": limit}
        try:
            with self._database.connect() as connection:
                ends = [connection.scalar(_BLOCKED, {"name": name, **asked}) for name in hashes]
        except sa.exc.SQLAlchemyError as error:
            self._states.see("database", first_line(error))
            return 0.0
        return max((end - now for end in ends if end is not None), default=0.0)

    def check_right(self, name: str) -> None:
        """Check one whose credentials are right, unless that was done within the last second."""
        with self._lock:
            if name in self._allowed:
                return
        self.check(name)
        with self._lock:
            self._allowed[name] = None

    def record_failure(self, *names: str) -> None:
        """Count a failure of each name, up to one that is over the limit: of what was under way then no more counts."""
        with self._lock:
            for name in names:
                self._allowed.pop(name, None)
        for name in map(_hash, names):
            try:
                failures = self._count_row(name)
                self._states.see("database", "")
            except sa.exc.SQLAlchemyError as error:
                self._states.see("database", first_line(error))
                failures = self._unwritten.count(name)
            if failures > self._limit:
                return

    def _count_row(self, name: str) -> int:
        try:
            return self._count(name, time.time())
        except sa.exc.IntegrityError:  # only where writers do not wait for each other: another one was first
            return self._count(name, time.time())

    def forget(self, *names: str) -> None:
        """Forget the failures of the names."""
        hashes = [_hash(name) for name in names]
        for name in hashes:
            self._unwritten.forget(name)
        forgotten = FailedLogin.name.in_(hashes)
        with self._database.write() as session:
            session.connection().execute(sa.delete(FailedLogin).where(forgotten))

    @contextmanager
    def counting(self, *names: str) -> Iterator[None]:
        """Check the names first, and count a failure if the block raises Unauthorized."""
        self.check(*names)
        try:
            yield
        except Unauthorized:
            self.record_failure(*names)
            raise

    def _count(self, name: str, now: float) -> int:
        named, failures = FailedLogin.name == name, FailedLogin.failures
        is_open = FailedLogin.expires_at.between(now, now + self._seconds)
        more = sa.update(FailedLogin).where(named, is_open).values(failures=failures + 1)
        with self._database.write() as session:
            connection = session.connection()
            counted = connection.scalar(more.returning(failures))
            if counted is None:
                connection.execute(sa.delete(FailedLogin).where(named))
                self._sweep(connection, now)
                row = {"name": name, "failures": 1, "expires_at": now + self._seconds}
                connection.execute(sa.insert(FailedLogin), row)
            return counted or 1

    def _sweep(self, connection: sa.Connection, now: float) -> None:
        """Make room for a new row: delete some that have expired, and at times the oldest beyond the most.

        What ends later than any row can is of a clock that was ahead; else it would outlive those that count.
        """
        oldest = sa.select(FailedLogin.name).order_by(FailedLogin.expires_at).with_for_update(skip_locked=True)
        is_over = (FailedLogin.expires_at <= now, FailedLogin.expires_at > now + self._seconds)
        gone = [oldest.where(over).limit(SWEPT) for over in is_over]
        self._inserted += 1
        if self._inserted % COUNTED == 0:
            rows = connection.scalar(sa.select(sa.func.count()).select_from(FailedLogin)) or 0
            gone.append(oldest.limit(max(0, rows - self._most)))
        for names in gone:
            connection.execute(sa.delete(FailedLogin).where(FailedLogin.name.in_(names)))


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
