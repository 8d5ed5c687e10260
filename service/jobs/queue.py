"""What features call: put jobs into the queue and take them out again."""

import time
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, notify
from service.jobs import models, outages, transitions
from service.jobs.models import Job
from service.jobs.operation import Operation


def enqueue(session: Session, kind: str, rows: sa.Select[str, str, int]) -> None:
    """Add a job for each row (subject, task, position) of the query, in one statement; executors hear of the commit."""
    subject, task, position = rows.selected_columns
    # `not_before` is the present, so that it tells for how long a job has been waiting.
    fixed = (sa.literal(value) for value in (kind, "queued", 0, 0, 0, time.time(), 0.0))
    names = ("kind", "status", "attempts", "fence", "losses", "not_before", "lease_expires_at")
    columns = [*names, "subject", "task", "position"]
    insert = sa.insert(Job).from_select(columns, rows.with_only_columns(*fixed, subject, task, position))
    ids = session.connection().execute(insert.returning(Job.id)).scalars().all()
    notify(session, kind, ids)


def remove(session: Session, *tasks: str, kind: str | None = None, failed_only: bool = False) -> None:
    """Take the jobs of these tasks out, of one kind or all. A run that is under way finds no row and saves nothing."""
    conditions = [Job.kind == kind] if kind else []
    if failed_only:
        conditions.append(Job.status == "failed")
    session.connection().execute(sa.delete(Job).where(Job.task.in_(tasks), *conditions))
    outages.forget_idle(session)


def open_subjects(kind: str) -> sa.Select[str]:
    """Return a query of the subjects of the jobs of a kind that wait or run."""
    return sa.select(Job.subject).where(Job.kind == kind, Job.status.in_(("queued", "running")))


def recover(database: Database, operations: Mapping[str, Operation], *, everything: bool) -> tuple[int, int]:
    """Give back the jobs of runs that have died; return how many run again, and how many failed for good.

    With `everything` every claimed job counts as such: for when nobody else is at work.
    """
    with database.write() as session:
        if everything:
            models.expire(session, None)
        now = time.time()
        dead = models.expired_leases(session, operations.keys(), now)
        again, lost = transitions.recover(session, operations, dead, now)
    return len(again), len(lost)
