"""The table of jobs and its guarded transitions.

    queued ──claim──▶ running ──finish──▶ succeeded | failed
       ▲                 │
       └─ requeue, recover, give_back

Every arrow is one UPDATE that names the status and the fence it starts from; what it returns
says who won. The fence counts claims: a run that outslept its lease changes nothing.
"""

import random
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from service.db.database import ANY, BigId, Model, notify
from service.db.prepared import Prepared
from service.jobs.operation import Run

SLACK = 5.0
"""Seconds by which the clock of another machine, or the turn of another process, may be ahead."""


class Job(Model):
    """One file through one operation. Times are seconds since 1970.

    `attempts` counts the runs that came to an answer, `fence` all claims. `unserved_since` is when a call for this job
    was not served for the first time.
    """

    __tablename__ = "job"
    __table_args__ = (
        # Holds all that a claim looks at, so that ten thousand waiting jobs cost a walk over the index alone.
        sa.Index(None, "kind", "status", "position", "id", "not_before"),
        sa.Index(None, "status", "lease_expires_at"),
        sa.Index(None, "task"),
        # An id is never given twice, or a late run could be taken for a younger job's.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    subject: Mapped[str] = mapped_column(sa.String(64))
    task: Mapped[str] = mapped_column(sa.String(64))
    position: Mapped[int]
    status: Mapped[str] = mapped_column(sa.String(16), default="queued")
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[float] = mapped_column(default=0.0)
    lease_expires_at: Mapped[float] = mapped_column(default=0.0)
    owner: Mapped[str | None] = mapped_column(sa.String(128))
    error: Mapped[str | None] = mapped_column(sa.String(32))
    unserved_since: Mapped[float | None]


class Share(Model):
    """How many calls of a bounded kind a process may have under way. The time is in seconds since 1970."""

    __tablename__ = "share"

    owner: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    calls: Mapped[int]
    expires_at: Mapped[float]


RUN = (
    *(Job.id, Job.kind, Job.subject, Job.task, Job.position, Job.attempts, Job.fence, Job.losses, Job.not_before),
    Job.unserved_since,
)
"""The columns of a `Run`, in its order."""

# Statements are made once: building one costs SQLAlchemy more than SQLite needs to run it. The plain list of ids in
# `_STILL` is there for the index; the pairs are the fence.
_STILL = sa.and_(
    Job.id.in_(sa.bindparam("ids", expanding=True)),
    sa.tuple_(Job.id, Job.fence).in_(sa.bindparam("pairs", expanding=True)),
    Job.status == "running",
)


# Besides what is due by the clock: what was not put off, and what was put off for longer than is legal, since the clock
# was set back.
_IS_DUE = sa.or_(Job.not_before <= sa.bindparam("now"), Job.not_before > sa.bindparam("latest"), Job.error.is_(None))


def _claiming(*order: sa.ColumnElement[Any] | InstrumentedAttribute[int]) -> Prepared:
    due = (
        sa.select(Job.id)
        .where(Job.kind == sa.bindparam("which"), Job.status == "queued", _IS_DUE)
        .order_by(*order)
        .limit(sa.bindparam("count"))
        .with_for_update(skip_locked=True)
        # Not a plain subquery, which PostgreSQL may run more than once and so go beyond the limit.
        .cte("due")
    )
    return Prepared(
        sa.update(Job)
        # Nothing but the ids, or SQLite walks over all that is queued. They are locked, or the writer is alone.
        .where(Job.id.in_(sa.select(due.c.id)))
        .values(
            status="running",
            fence=Job.fence + 1,
            owner=sa.bindparam("claimer"),
            lease_expires_at=sa.bindparam("until"),
        )
        .returning(*RUN)
    )


_CLAIM = _claiming(Job.position, Job.id)
_IS_FRESH = sa.case((Job.unserved_since.is_(None), 1), else_=0)
_PROBE = _claiming(sa.func.abs(_IS_FRESH - sa.bindparam("fresh", type_=sa.Integer)), sa.func.random())


def _ours_become(**values: Any) -> Prepared:
    return Prepared(sa.update(Job).where(_STILL).values(**values).returning(Job.id), lists=("ids", "pairs"))


_FINISH = _ours_become(status="succeeded", owner=None, error=None)
_FAIL = _ours_become(status="failed", owner=None, error=sa.bindparam("code"))
_AGAIN: dict[str, Any] = {
    "status": "queued",
    "owner": None,
    "error": sa.bindparam("code"),
    "not_before": sa.bindparam("due"),
}
_REQUEUE = _ours_become(**_AGAIN, attempts=Job.attempts + 1)
_AWAIT = _ours_become(**_AGAIN, unserved_since=sa.bindparam("since"))
_GIVE_BACK = _ours_become(status="queued", owner=None, not_before=sa.bindparam("due"))
_RENEW = _ours_become(lease_expires_at=sa.bindparam("until"))
_ALIVE = Prepared(sa.select(Job.id).where(_STILL), lists=("ids", "pairs"))


def claim(session: Session, kind: str, count: int, *, owner: str, now: float, latest: float, until: float) -> list[Run]:
    """queued → running: take up to `count` due jobs, the first of every task before the second of any.

    What is not due before `latest` was put off by a clock that has been set back since, and is due.
    """
    values = {"which": kind, "count": count, "now": now, "latest": latest, "claimer": owner, "until": until}
    runs = _taken(session, _CLAIM, values)
    return sorted(runs, key=lambda run: (run.position, run.id))


def claim_probe(
    session: Session, kind: str, count: int, *, owner: str, now: float, latest: float, until: float
) -> list[Run]:
    """queued → running: take up to `count` due jobs by chance, half of the times of those that nobody has called yet.

    So an outage uses up the patience of few jobs, and those that nobody can serve do not stand before all others.
    """
    values = {"which": kind, "count": count, "now": now, "latest": latest, "claimer": owner, "until": until}
    fresh = random.random() < 0.5  # noqa: S311 - it keeps no secret
    return _taken(session, _PROBE, values | {"fresh": int(fresh)})


def _taken(session: Session, claiming: Prepared, values: Mapping[str, Any]) -> list[Run]:
    return _runs(claiming.execute(session.connection(), **values))


def _runs(rows: Iterable[Any]) -> list[Run]:
    return [Run(*row) for row in rows]


def _ours(session: Session, statement: Prepared, runs: Collection[Run], **values: Any) -> set[int]:
    """Execute a statement on the rows of those runs that nobody has taken over; return their ids."""
    if not runs:
        return set()
    pairs = [(run.id, run.fence) for run in runs]
    found = statement.execute(session.connection(), ids=[job for job, _ in pairs], pairs=pairs, **values)
    return set(found.scalars())


def finish(session: Session, runs: Collection[Run]) -> set[int]:
    """running → succeeded: return the ids of those that were still ours."""
    return _ours(session, _FINISH, runs)


def fail(session: Session, run: Run, code: str) -> bool:
    """running → failed."""
    return bool(_ours(session, _FAIL, [run], code=code))


def requeue(session: Session, run: Run, *, not_before: float, code: str) -> bool:
    """running → queued, to be tried again after an answer; that attempt counts."""
    notify(session, run.kind)
    return bool(_ours(session, _REQUEUE, [run], due=not_before, code=code))


def wait(session: Session, run: Run, *, not_before: float, code: str, since: float) -> bool:
    """running → queued, to be tried again since it was not served: by now for the time since then."""
    notify(session, run.kind)
    return bool(_ours(session, _AWAIT, [run], due=not_before, code=code, since=since))


def give_back(session: Session, runs: Collection[Run], *, not_before: float) -> set[int]:
    """running → queued, for runs that nothing is known of: not begun, or cut off by a shutdown."""
    for run in runs:
        notify(session, run.kind)
    return _ours(session, _GIVE_BACK, runs, due=not_before)


def renew(session: Session, runs: Collection[Run], *, until: float) -> set[int]:
    """Extend the leases; return the ids of the runs that are still ours."""
    return _ours(session, _RENEW, runs, until=until)


def alive(session: Session, runs: Collection[Run]) -> set[int]:
    """Return the ids of the runs that were neither cancelled nor taken over."""
    return _ours(session, _ALIVE, runs)


# Made once: idle dispatchers ask this after every commit of a busy one.
_QUEUED = (Job.kind == sa.bindparam("kind"), Job.status == "queued")
_ANY = sa.select(1).where(Job.kind.in_(sa.bindparam("kinds", expanding=True)), Job.status == "queued").limit(1)
_DUE = sa.select(sa.literal(0.0)).where(*_QUEUED, _IS_DUE).limit(1)
_NEXT = sa.select(sa.func.min(Job.not_before)).where(*_QUEUED)


def next_due(session: Session, latest: Mapping[str, float], *, now: float) -> dict[str, float | None]:
    """Return when a queued job of each kind may run: at most `now` if one may already, None if there is none.

    `latest` has the kinds, each with the latest legal time.
    """
    kinds = tuple(latest)
    connection = session.connection()
    if len(kinds) > 1 and connection.scalar(_ANY, {"kinds": kinds}) is None:
        return dict.fromkeys(kinds)  # one question in all, where most lanes have nothing to do most of the time

    def of(kind: str) -> float | None:
        due: float | None = connection.scalar(_DUE, {"kind": kind, "now": now, "latest": latest[kind]})
        return due if due is not None else connection.scalar(_NEXT, {"kind": kind})

    return {kind: of(kind) for kind in kinds}


_DUE_IDS = sa.select(Job.id).where(*_QUEUED, _IS_DUE).order_by(Job.position, Job.id).limit(sa.bindparam("count"))


def due(session: Session, latest: Mapping[str, float], count: int, *, now: float) -> list[int]:
    """Return the ids of up to `count` jobs that may run now, of each kind the first in order; `latest` is as above."""
    ids: list[int] = []
    for kind, last in latest.items():
        values = {"kind": kind, "now": now, "latest": last, "count": count - len(ids)}
        ids += session.connection().execute(_DUE_IDS, values).scalars()
    return ids


def waiting(session: Session, kinds: Collection[str], *, now: float) -> list[tuple[str, str, int, float]]:
    """Return kind, status and number of the jobs that wait or run, and for how many seconds the oldest has been due.

    One walk over the index, past the jobs that have ended.
    """
    since = sa.func.min(sa.case((sa.and_(Job.not_before > 0, Job.not_before <= now), Job.not_before), else_=now))
    rows = session.execute(
        sa.select(Job.kind, Job.status, sa.func.count(), since)
        .where(Job.kind.in_(kinds), Job.status.in_(("queued", "running")))
        .group_by(Job.kind, Job.status)
    ).all()
    found = {(kind, status): (number, now - begin) for kind, status, number, begin in rows}
    return [(kind, status, *found.get((kind, status), (0, 0.0))) for kind in kinds for status in ("queued", "running")]


class Lease(NamedTuple):
    """How long a run holds its job, as its process wrote it last."""

    id: int
    fence: int
    expires_at: float
    task: str


def leases_of_others(session: Session, kinds: Collection[str], owner: str) -> list[Lease]:
    """Return the leases of the runs of these kinds that other processes have."""
    held = sa.select(Job.id, Job.fence, Job.lease_expires_at, Job.task)
    running = (Job.status == "running", Job.kind.in_(kinds), Job.owner.is_distinct_from(owner))
    return [Lease(*row) for row in session.connection().execute(held.where(*running)).all()]


def expired_leases(session: Session, kinds: Collection[str], now: float) -> list[Lease]:
    """Return the leases of these kinds that have run out by the clock: for who cannot watch them."""
    held = sa.select(Job.id, Job.fence, Job.lease_expires_at, Job.task)
    silent = (Job.status == "running", Job.kind.in_(kinds), Job.lease_expires_at < now)
    return [Lease(*row) for row in session.connection().execute(held.where(*silent)).all()]


def recover(
    session: Session, dead: Collection[Lease], *, now: float, losses: int, owner: str, family: str
) -> tuple[list[Run], list[Run]]:
    """running → queued for runs whose lease is still as it was; → failed for jobs that lost so many.

    A loss counts where a process of the same family, other than the owner, has outlived the run. Return the dead runs
    of the jobs that run again, and those of the jobs that failed.
    """
    held = sa.tuple_(Job.id, Job.fence, Job.lease_expires_at)
    silent = (Job.status == "running", held.in_([lease[:3] for lease in dead]))
    outlived = sa.and_(Job.owner.startswith(family, autoescape=True), Job.owner != owner) if family else sa.false()
    lost_now = Job.losses + sa.case((outlived, 1), else_=0)
    died = sa.update(Job).where(*silent).values(losses=lost_now, owner=None).returning(*RUN)
    connection = session.connection()
    lost = _runs(connection.execute(died.where(lost_now >= losses).values(status="failed", error="worker_lost")))
    again = _runs(connection.execute(died.values(status="queued", not_before=now)))
    for run in again:
        notify(session, run.kind)
    return again, lost


def expire(session: Session, owner: str | None) -> None:
    """End the leases of a process that is known to be dead, and its shares; None means all processes."""
    whose = [Job.owner == owner] if owner else []
    session.connection().execute(sa.update(Job).where(Job.status == "running", *whose).values(lease_expires_at=0.0))
    notify(session, ANY)
    give_up_shares(session, owner)


def calls_of_others(session: Session, kind: str, owner: str, *, now: float, latest: float) -> int:
    """Return how many calls of a kind the shares of all other processes allow.

    A share that ends after `latest` is of a clock that has been set back since, and counts as over.
    """
    values = {"which": kind, "me": owner, "now": now, "latest": latest}
    return session.connection().execute(_OTHERS, values).scalar_one()


def take_share(session: Session, kind: str, owner: str, *, calls: int, until: float) -> None:
    """Put a share in the place of the one that the process had; none for no calls."""
    connection = session.connection()
    connection.execute(_DROP_SHARE, {"which": kind, "me": owner})
    if calls:
        connection.execute(_SHARE, {"owner": owner, "kind": kind, "calls": calls, "expires_at": until})


def give_up_shares(session: Session, owner: str | None) -> None:
    """Give back all shares of a process; None means all processes."""
    whose = [Share.owner == owner] if owner else []
    session.connection().execute(sa.delete(Share).where(*whose))


_OTHERS = sa.select(sa.func.coalesce(sa.func.sum(Share.calls), 0)).where(
    Share.kind == sa.bindparam("which"),
    Share.owner != sa.bindparam("me"),
    Share.expires_at > sa.bindparam("now"),
    Share.expires_at <= sa.bindparam("latest"),
)
_DROP_SHARE = sa.delete(Share).where(Share.kind == sa.bindparam("which"), Share.owner == sa.bindparam("me"))
_SHARE = sa.insert(Share)
