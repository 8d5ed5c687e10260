"""Files whose rows are gone: removed at once, or by a job that outlives the store's absence and any crash."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Database, Model, first_line
from service.errors import Problem
from service.jobs import queue
from service.jobs.executors import Executor
from service.jobs.operation import Failure, Run, judging
from service.storage.storage import Storage
from service.telemetry import logging as logs

KIND = "renditions.removal"
"""What it was called when it removed renditions alone; jobs of that name may still wait."""
ATTEMPTS = 10_000
"""So many runs, at most a minute apart, outlast a week without the store."""

log = logging.getLogger(__name__)


class Leftover(Model):
    """A key, or with a slash at its end a folder, whose rows are gone and whose files are to go.

    `awaited_by` is the id of what its slice does not show as done before.
    """

    __tablename__ = "image_leftover"
    __table_args__ = (sa.Index(None, "awaited_by"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str] = mapped_column(sa.String(220))
    awaited_by: Mapped[str | None] = mapped_column(sa.String(36))


def leave(session: Session, names: Collection[str], awaited_by: str | None = None) -> None:
    """Let the files of these keys and folders be removed after this transaction; something may wait for it."""
    if not names:
        return
    inserted = sa.insert(Leftover).returning(Leftover.id)
    ids = list(session.scalars(inserted, [{"folder": name, "awaited_by": awaited_by} for name in names]))
    number = sa.cast(Leftover.id, sa.String)
    chosen = sa.select(number, sa.literal(f"{KIND}/") + number, sa.literal(0)).where(Leftover.id.in_(ids))
    queue.enqueue(session, KIND, chosen)


def remove(database: Database, executor: Executor, storage: Storage, *names: str) -> None:
    """Remove the files of these keys and folders, whose rows are gone; what cannot go now is left to a job.

    It raises nothing, since what was asked for is done: nobody can fetch these files any more. Where even the job
    cannot be made, they are the sweep's.
    """
    try:
        for name in names:
            _delete(storage, name)
    except Exception as error:
        fields = {"names": " ".join(names), "said": error.detail if isinstance(error, Problem) else None}
        unexpected = None if isinstance(error, Problem) else error
        message = "files of deleted rows could not be removed; a job will"
        log.warning(message, exc_info=unexpected, extra={"lines": (fields,)})
        _hand_over(database, executor, names)


def _hand_over(database: Database, executor: Executor, names: Collection[str]) -> None:
    try:
        with queue.dispatching(database, executor) as session:
            leave(session, names)
    except SQLAlchemyError as error:
        message = "files of deleted rows are left to the sweep"
        logs.event(log, message, logging.WARNING, names=" ".join(names), said=first_line(error))


def _delete(storage: Storage, name: str) -> None:
    if name.endswith("/"):
        storage.delete_prefix(name)
    else:
        storage.delete(name)


class Removal:
    """load → work → save for the files that rows left behind.

    `own` gives, by the prefix of their names, the keys in folders in which there may also be files of others.
    """

    kind = KIND

    def __init__(self, storage: Storage, own: Mapping[str, Callable[[str], Collection[str]]]) -> None:
        self.storage = storage
        self.own = own

    def limit(self) -> int | None:
        """Set no bound."""
        return None

    def load(self, session: Session, runs: Sequence[Run]) -> list[str]:
        """Return the names."""
        rows = session.execute(sa.select(Leftover.id, Leftover.folder).where(Leftover.id.in_(_ids(runs))))
        known = {row.id: row.folder for row in rows}
        return [known.get(number, "") for number in _ids(runs)]

    def work(self, name: str, cancelled: Callable[[], bool]) -> None:
        """Delete all files that may be there."""
        try:
            with judging():
                self._clear(name)
        except Failure as failure:
            failure.attempts = ATTEMPTS
            raise

    def _clear(self, name: str) -> None:
        keys = next((keys for prefix, keys in self.own.items() if name.startswith(prefix)), None)
        if keys:
            self.storage.delete(*keys(name))
        elif name:
            _delete(self.storage, name)

    def save(self, session: Session, results: Sequence[tuple[Run, None]]) -> None:
        """Forget the names, and the jobs too, for nobody else will."""
        self._forget(session, [run for run, _ in results])

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Let nobody wait any longer: the store is away, and new files are not held back by old ones."""
        numbers = _ids([run for run, _ in failures])
        waived = sa.update(Leftover).where(Leftover.id.in_(numbers)).values(awaited_by=None)
        session.execute(waived, execution_options={"synchronize_session": False})

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Give the files up to the sweep."""
        self._forget(session, [run for run, _ in failures])

    def _forget(self, session: Session, runs: Sequence[Run]) -> None:
        for run in runs:
            queue.remove(session, run.task)
        gone = sa.delete(Leftover).where(Leftover.id.in_(_ids(runs)))
        session.execute(gone, execution_options={"synchronize_session": False})


def _ids(runs: Sequence[Run]) -> list[int]:
    return [int(run.subject) for run in runs]
