"""What features call: put jobs into the queue and take them out again."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, notify
from service.db.prepared import Prepared
from service.jobs import models, outages, transitions
from service.jobs.models import Job
from service.jobs.operation import Operation


def enqueue(session: Session, kind: str, rows: sa.Select[str, str, int]) -> None:
    """Add a job for each row (subject, task, position) of the query, in one statement; executors hear of the commit."""
    ids = session.connection().execute(_adding(rows), {"of_kind": kind, "moment": time.time()}).scalars().all()
    notify(session, kind, ids)


class Enqueuing:
    """The same for a query that is made once: the statement is compiled once too."""

    def __init__(self, kind: str, rows: sa.Select[str, str, int]) -> None:
        self._kind = kind
        self._statement = Prepared(_adding(rows))

    def enqueue(self, session: Session, **values: Any) -> None:
        """Add a job for each row of the query with these values."""
        added = self._statement.execute(session.connection(), of_kind=self._kind, moment=time.time(), **values)
        notify(session, self._kind, [job for (job,) in added])


def _adding(rows: sa.Select[str, str, int]) -> sa.Executable:
    subject, task, position = rows.selected_columns
    # `not_before` is the present, so that it tells for how long a job has been waiting.
    kind, moment = sa.bindparam("of_kind", type_=sa.String), sa.bindparam("moment", type_=sa.Float)
    none = [sa.literal(0) for _ in range(3)]
    fixed: Sequence[sa.ColumnElement[Any]] = (kind, sa.literal("queued"), *none, moment, sa.literal(0.0))
    names = ("kind", "status", "attempts", "fence", "losses", "not_before", "lease_expires_at")
    chosen = rows.with_only_columns(*fixed, subject, task, position)
    return sa.insert(Job).from_select([*names, "subject", "task", "position"], chosen).returning(Job.id)


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
