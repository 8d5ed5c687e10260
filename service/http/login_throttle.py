"""Failed tries of credentials: counted over all server processes, and limited.

A row is one name, such as an address, and how often it failed since its window began. Right credentials cost one look
at an index, since also they must be refused while their name is blocked: else the one right guess would be told.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Database, Model
from service.errors import TooManyTries, Unauthorized

MAX_ROWS = 100_000
"""So many names are known at most; beyond, the oldest are forgotten."""
LOOKED = 100
"""After so many new names their number is looked at."""
SWEPT = 20
"""So many expired rows go with each new one."""


class FailedTry(Model):
    """A name, as a hash, and its failures; the window ends at `expires_at`, seconds since 1970."""

    __tablename__ = "failed_try"
    __table_args__ = (sa.Index(None, "expires_at"),)

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    failures: Mapped[int]
    expires_at: Mapped[float]


_NAMED = FailedTry.name == sa.bindparam("known")
_CURRENT = FailedTry.expires_at > sa.bindparam("now")
_LOOK = sa.select(FailedTry.expires_at).where(_NAMED, _CURRENT, FailedTry.failures >= sa.bindparam("limit"))
_COUNT = (
    sa.update(FailedTry).where(_NAMED, _CURRENT).values(failures=FailedTry.failures + 1).returning(FailedTry.failures)
)
_FORGET = sa.delete(FailedTry).where(_NAMED)
_REMOVE = _FORGET.where(FailedTry.expires_at <= sa.bindparam("now"))
_OLDEST = (
    sa.select(FailedTry.name)
    .order_by(FailedTry.expires_at)
    .limit(sa.bindparam("number"))
    .with_for_update(skip_locked=True)
)
_EXPIRED = _OLDEST.where(FailedTry.expires_at <= sa.bindparam("now"))
_SWEEP = sa.delete(FailedTry).where(FailedTry.name.in_(_EXPIRED))
_CUT = sa.delete(FailedTry).where(FailedTry.name.in_(_OLDEST))


class Tries:
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

    def check(self, *names: str, times: int = 1) -> None:
        """Raise TooManyTries if one of the names has failed so many times the limit.

        Call it before telling right from wrong.
        """
        now, limit = time.time(), times * self._limit
        with self._database.connect() as connection:
            for name in names:
                until = connection.scalar(_LOOK, {"known": _hash(name), "now": now, "limit": limit})
                if until is not None:
                    raise TooManyTries(
                        "Too many wrong credentials were tried. Wait a few minutes, then try again.",
                        retry_after=math.ceil(until - now),
                    )

    def failed(self, *names: str) -> None:
        """Count a failure of each name, up to one that is over the limit: of what was under way then no more counts."""
        for name in names:
            try:
                failures = self._count(_hash(name), time.time())
            except sa.exc.IntegrityError:  # only where writers do not wait for each other: another one was first
                failures = self._count(_hash(name), time.time())
            if failures > self._limit:
                return

    def forget(self, *names: str) -> None:
        """Forget the failures of the names."""
        with self._database.write() as session:
            for name in names:
                session.connection().execute(_FORGET, {"known": _hash(name)})

    @contextmanager
    def counting(self, *names: str) -> Iterator[None]:
        """Check the names first, and count a failure if the block raises Unauthorized."""
        self.check(*names)
        try:
            yield
        except Unauthorized:
            self.failed(*names)
            raise

    def _count(self, name: str, now: float) -> int:
        with self._database.write() as session:
            connection = session.connection()
            failures = connection.scalar(_COUNT, {"known": name, "now": now})
            if failures is None:
                self._insert(connection, name, now)
            return failures or 1

    def _insert(self, connection: sa.Connection, name: str, now: float) -> None:
        connection.execute(_REMOVE, {"known": name, "now": now})
        connection.execute(_SWEEP, {"now": now, "number": SWEPT})
        self._inserted += 1
        if self._inserted % LOOKED == 0:
            number = connection.scalar(sa.select(sa.func.count()).select_from(FailedTry)) or 0
            connection.execute(_CUT, {"number": max(0, number - self._most)})
        row: dict[str, Any] = {"name": name, "failures": 1, "expires_at": now + self._seconds}
        connection.execute(sa.insert(FailedTry), row)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
