"""Retention: so many days after its end a task is deleted, with its files."""

import logging
import time
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import days_ago
from service.features.faces.models import Task
from service.features.faces.operations import Services
from service.jobs import queue
from service.jobs.file_deletion import delete_files
from service.maintenance.periodic import ExclusiveTurn, PeriodicThread
from service.telemetry import logging as logs

KIND = "retention"
LOOK_SECONDS = 60.0
"""How often a process looks for tasks that are old enough."""
TURN_SECONDS = 60.0
"""For so long a process that does not go on keeps the others from deleting."""
MOST_TASKS, MOST_IMAGES = 100, 500
"""What one transaction deletes; a task of more images than that goes alone."""
REST = 3.0
"""For each second of deleting so many seconds of leaving the database to others."""

log = logging.getLogger(__name__)


class Retention:
    """A thread in every process, of which one at a time deletes: rows first, a few tasks a transaction, then files.

    Whose turn it is stands in the table of shares. A process that dies between rows and files leaves files that the
    sweep removes.
    """

    def __init__(self, services: Services, days: int, owner: str | None = None) -> None:
        """Zero days keep everything."""
        self._services = services
        self._days = days
        self._turn = ExclusiveTurn(services.database, KIND, owner)
        self._thread = PeriodicThread(KIND, self.delete_all, LOOK_SECONDS)

    def start(self) -> None:
        """Begin to look, a moment after the start; nothing waits for it."""
        if self._days:
            self._thread.start(first=1.0)

    def stop(self, seconds: float = 5.0) -> None:
        """Delete no further task, and wait so long for the files of those whose rows are gone."""
        self._thread.stop(seconds)

    def delete_all(self) -> None:
        """Delete whatever is old enough, in small steps with rests between, unless another process does."""
        mine = False
        while not self._thread.stopping.is_set():
            begin = time.monotonic()
            gone = self._delete_some()
            if not gone:
                break
            mine = True
            self._thread.stopping.wait(REST * (time.monotonic() - begin))
        if mine:
            with self._services.database.write() as session:
                self._turn.keep(session, 0)

    def _delete_some(self) -> Sequence[str]:
        """Delete a few tasks and return their ids; none where none is old enough, or it is another process's turn."""
        before, database = days_ago(self._days), self._services.database
        with database.read() as session:
            chosen = _choose(session, before)
        if not chosen:
            return []
        self._services.storage.check()  # without the store, the files would be left to the sweep
        with database.write() as session:
            if not self._turn.take(session, TURN_SECONDS, renew=True, locks=chosen):
                return []
            # Asked again, since a task may have been started anew, or deleted.
            old = sa.delete(Task).where(Task.id.in_(chosen), *_old(before)).returning(Task.id)
            gone = session.scalars(old, execution_options={"synchronize_session": False}).all()
            queue.remove(session, *gone)
        delete_files(database, self._services.storage, *(f"tasks/{task}/" for task in gone))
        logs.event(log, "deleted tasks that were old enough", tasks=len(gone), finished_before=before)
        return gone


def _old(before: str) -> tuple[sa.ColumnElement[bool], ...]:
    # A task is made before it ends: `created_at` adds nothing but the use of the index.
    return Task.status.in_(("completed", "error")), Task.created_at < before, Task.finished_at < before


def _choose(session: Session, before: str) -> list[str]:
    chosen: list[str] = []
    images = 0
    for task, total in session.execute(sa.select(Task.id, Task.total).where(*_old(before)).limit(MOST_TASKS)):
        images += total
        if chosen and images > MOST_IMAGES:
            break
        chosen.append(task)
    return chosen
