"""Limits failed logins: counts wrong credentials over all server processes.

A row is one name, such as an address, and how often it failed since its window began. Right credentials cost one look
at an index a second, since also they must be refused while their name is blocked: else the one right guess would be
told.
"""

import hashlib
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from cachetools import TTLCache
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Database, Model
from service.errors import TooManyRequests, Unauthorized

MAX_ROWS = 100_000
"""Names that are known at most; beyond, the oldest are forgotten."""
COUNTED = 100
"""New names after which the rows are counted."""
SWEPT = 20
"""Expired rows that are deleted with each new one."""

ALLOWED, ALLOWED_SECONDS = 10_000, 1.0
"""How many names with right credentials are remembered, and for how long they are not looked up again."""


class FailedLogin(Model):
    """A name, as a hash, and its failures; the window ends at `expires_at`, seconds since 1970."""

    __tablename__ = "failed_try"
    __table_args__ = (sa.Index(None, "expires_at"),)

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    failures: Mapped[int]
    expires_at: Mapped[float]


# Built once, since every request with credentials asks it.
_BLOCKED = sa.select(FailedLogin.expires_at).where(
    FailedLogin.name == sa.bindparam("name"),
    FailedLogin.expires_at > sa.bindparam("now"),
    FailedLogin.failures >= sa.bindparam("limit"),
)


class LoginThrottle:
    """At most `limit` failures of a name in `seconds`; then it is refused until they have passed.

    What several addresses share, such as an account, is checked with `times=2`, after the address and by other names:
    an address that is refused counts no more, so one alone cannot lock the others out, although two windows of an
    address may lie in one of an account.
    """

    def __init__(self, database: Database, limit: int, seconds: float, most: int = MAX_ROWS) -> None:
        self._database = database
        self._most = most
        self._limit = limit
        self._seconds = seconds
        self._inserted = 0
        self._allowed: TTLCache[str, None] = TTLCache(ALLOWED, ALLOWED_SECONDS)
        self._lock = threading.Lock()

    def check(self, *names: str, times: int = 1) -> None:
        """Raise TooManyRequests if one of the names has failed `times` times the limit.

        Call it before telling right from wrong.
        """
        now, limit = time.time(), times * self._limit
        with self._database.connect() as connection:
            for name in names:
                until = connection.scalar(_BLOCKED, {"name": _hash(name), "now": now, "limit": limit})
                if until is not None:
                    raise TooManyRequests(
                        "Too many wrong credentials were tried. Wait a few minutes, then try again.",
                        retry_after=math.ceil(until - now),
                    )

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
        for name in names:
            with self._lock:
                self._allowed.pop(name, None)
            try:
                failures = self._count(_hash(name), time.time())
            except sa.exc.IntegrityError:  # only where writers do not wait for each other: another one was first
                failures = self._count(_hash(name), time.time())
            if failures > self._limit:
                return

    def forget(self, *names: str) -> None:
        """Forget the failures of the names."""
        forgotten = FailedLogin.name.in_(map(_hash, names))
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
        more = sa.update(FailedLogin).where(named, FailedLogin.expires_at > now).values(failures=failures + 1)
        with self._database.write() as session:
            connection = session.connection()
            counted = connection.scalar(more.returning(failures))
            if counted is None:
                connection.execute(sa.delete(FailedLogin).where(named, FailedLogin.expires_at <= now))
                self._sweep(connection, now)
                row = {"name": name, "failures": 1, "expires_at": now + self._seconds}
                connection.execute(sa.insert(FailedLogin), row)
            return counted or 1

    def _sweep(self, connection: sa.Connection, now: float) -> None:
        """Make room for a new row: delete some that have expired, and at times the oldest beyond the most."""
        oldest = sa.select(FailedLogin.name).order_by(FailedLogin.expires_at).with_for_update(skip_locked=True)
        gone = [oldest.where(FailedLogin.expires_at <= now).limit(SWEPT)]
        self._inserted += 1
        if self._inserted % COUNTED == 0:
            rows = connection.scalar(sa.select(sa.func.count()).select_from(FailedLogin)) or 0
            gone.append(oldest.limit(max(0, rows - self._most)))
        for names in gone:
            connection.execute(sa.delete(FailedLogin).where(FailedLogin.name.in_(names)))


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
