"""Outages of what jobs of one kind need: one row for all processes says since when, and when the next probe goes."""

import random
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Model, notify
from service.db.prepared import Prepared
from service.jobs.models import RUN, SLACK, Job
from service.jobs.operation import Run, Unserved

FIRST = 0.5
"""Seconds until the first probe; doubled with every one that fails."""
LONGEST = 15.0
"""Seconds between two probes at most, so that work goes on soon after the return."""
UNATTENDED = 60.0
"""A probe that goes so many seconds late was held up by a stopped service, or by a clock that was set."""


class Outage(Model):
    """What jobs of a kind need is away. Times are seconds since 1970.

    `wait` is the seconds before the next probe as they were last set. With `is_asked` the other side asked for them,
    and nothing ends them early.
    """

    __tablename__ = "outage"

    kind: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    since: Mapped[float]
    reason: Mapped[str] = mapped_column(sa.String(500))
    wait: Mapped[float]
    is_asked: Mapped[bool]
    next_try: Mapped[float]


class Open(NamedTuple):
    """An outage as it was read."""

    kind: str
    since: float
    reason: str
    wait: float
    is_asked: bool
    next_try: float

    def due_at(self, now: float) -> float:
        """Return when the next probe may go, by a clock that may have been set back since that was written."""
        return self.next_try if self.next_try <= now + max(self.wait, LONGEST) + SLACK else now

    def is_pause(self, now: float) -> bool:
        """Return whether the other side asked for calls not to come yet."""
        return self.is_asked and self.due_at(now) > now


_OPEN = Prepared(sa.select(*(getattr(Outage, name) for name in Open._fields)))
_END = sa.delete(Outage).where(Outage.kind == sa.bindparam("which"))


def open_outages(session: Session) -> Mapping[str, Open]:
    """Return the outages by kind."""
    rows: Sequence[Any] = _OPEN.execute(session.connection()).all()
    return {row.kind: Open(row.kind, row.since, row.reason, row.wait, bool(row.is_asked), row.next_try) for row in rows}


def begin(session: Session, kind: str, failure: Unserved, now: float) -> bool:
    """Note that what jobs of this kind need is away; return False where another process has just done so."""
    wait = failure.wait or FIRST
    # The clause is each dialect's own; the one that is not used costs every start its import.
    insert: Any = import_module(f"sqlalchemy.dialects.{session.get_bind().dialect.name}").insert
    values = {
        "kind": kind,
        "since": now,
        "reason": failure.detail[:500],
        "wait": wait,
        "is_asked": failure.wait is not None,
        "next_try": now + (failure.wait or _jittered(wait)),
    }
    statement = insert(Outage).values(values).on_conflict_do_nothing().returning(Outage.kind)
    return session.connection().execute(statement).first() is not None


def go_on(session: Session, outage: Open, failure: Unserved, now: float, *, is_probe: bool) -> bool:
    """Note another run that was not served: a probe puts the next one off, and so does who asks for it.

    Return whether that changed anything.
    """
    wait, next_try = outage.wait, outage.due_at(now)
    if failure.wait is not None:
        wait, next_try = failure.wait, max(next_try, now + failure.wait)
    elif is_probe:
        wait = min(LONGEST, 2 * wait)
        next_try = min(next_try, now + _jittered(wait))
    else:
        return False
    values = {
        "reason": failure.detail[:500],
        "wait": wait,
        "is_asked": failure.wait is not None,
        "next_try": next_try,
    }
    session.connection().execute(sa.update(Outage).where(Outage.kind == outage.kind).values(values))
    return True


def end(session: Session, kind: str, now: float) -> bool:
    """Note that a run was served, and make all jobs due that wait for it; return False where there was no outage."""
    if not session.connection().execute(_END, {"which": kind}).rowcount:
        return False
    waiting = (Job.kind == kind, Job.status == "queued", Job.unserved_since.is_not(None), Job.not_before > now)
    session.connection().execute(sa.update(Job).where(*waiting).values(not_before=now))
    notify(session, kind)
    return True


_WAITING = sa.exists().where(Job.kind == Outage.kind, Job.status.in_(("queued", "running")))
# One that is locked is just being told of anew.
_IDLE = sa.select(Outage.kind).where(~_WAITING).with_for_update(skip_locked=True)
_FORGET = sa.delete(Outage).where(Outage.kind.in_(_IDLE))


def forget_idle(session: Session) -> None:
    """Forget the outages that nothing waits for any more: whether they last, nobody would notice."""
    session.connection().execute(_FORGET)


def begin_probe(session: Session, outage: Open, now: float) -> bool:
    """Take the next probe, if it is due and no other process has taken it.

    The time in which none could go costs no patience.
    """
    if outage.due_at(now) > now:
        return False
    mine = (Outage.kind == outage.kind, Outage.next_try == outage.next_try)
    values = {"next_try": now + LONGEST, "is_asked": False}
    if not session.connection().execute(sa.update(Outage).where(*mine).values(values)).rowcount:
        return False
    forgive(session, outage, now)
    return True


def forgive(session: Session, outage: Open, now: float) -> None:
    """Add the time in which no probe could go to when the waiting began; it is negative for a clock set back."""
    late = now - outage.next_try
    if outage.due_at(now) == outage.next_try and late <= UNATTENDED:
        return
    began = sa.update(Outage).where(Outage.kind == outage.kind).values(since=Outage.since + late)
    waiting = sa.update(Job).where(Job.kind == outage.kind, Job.unserved_since.is_not(None))
    session.connection().execute(began)
    session.connection().execute(waiting.values(unserved_since=Job.unserved_since + late))


def unserved_since(session: Session, ids: Collection[int]) -> dict[int, float]:
    """Return since when these jobs are not served, those that were served up to now left out.

    It is read anew: what was forgiven since the runs were claimed counts.
    """
    if not ids:
        return {}
    waiting = sa.select(Job.id, Job.unserved_since).where(Job.id.in_(ids), Job.unserved_since.is_not(None))
    rows: Sequence[Any] = session.connection().execute(waiting).all()
    return dict(rows)


def _overdue(kind: str, before: float) -> Sequence[sa.ColumnElement[bool]]:
    return Job.kind == kind, Job.status == "queued", Job.unserved_since <= before


def overdue_tasks(session: Session, kind: str, before: float) -> Collection[str]:
    """Return the tasks of the queued jobs that have not been served since then."""
    return set(session.scalars(sa.select(Job.task).where(*_overdue(kind, before)).distinct()))


def give_up(session: Session, kind: str, before: float) -> list[Run]:
    """queued → failed for the jobs that have not been served since then; return them as runs that never were."""
    failed = sa.update(Job).where(*_overdue(kind, before))
    statement = failed.values(status="failed", error="upstream_unavailable").returning(*RUN)
    rows: Sequence[Any] = session.connection().execute(statement).all()
    return [Run(*row) for row in rows]


def back_off(waited: float) -> float:
    """Return the seconds until a job that is not served, though others are, is tried again."""
    return _jittered(min(LONGEST, max(FIRST, waited / 2)))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311 - it spreads load and keeps no secret
