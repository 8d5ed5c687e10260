"""Files whose rows are gone: deleted at once, or by a job that outlives the store's absence and any crash."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Database, Model, first_line
from service.errors import Problem
from service.jobs import queue
from service.jobs.operation import Failure, Operation, Run, Unserved
from service.storage.storage import Storage
from service.telemetry import logging as logs

KIND = "file_deletion"
PATIENCE = 7 * 86_400.0
"""Seconds without the store, after which the files are left to the removal of orphans."""

log = logging.getLogger(__name__)


class FileDeletion(Model):
    """A key, or with a slash at its end a folder, whose rows are gone and whose files are to go.

    `awaited_by` is the id of what its feature does not show as done before.
    """

    __tablename__ = "file_deletion"
    __table_args__ = (sa.Index(None, "awaited_by"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(220))
    awaited_by: Mapped[str | None] = mapped_column(sa.String(36))


def delete_later(session: Session, names: Collection[str], awaited_by: str | None = None) -> None:
    """Queue the deletion of these keys and folders; it begins after this transaction. Something may wait for it."""
    if not names:
        return
    inserted = sa.insert(FileDeletion).returning(FileDeletion.id)
    ids = list(session.scalars(inserted, [{"name": name, "awaited_by": awaited_by} for name in names]))
    number = sa.cast(FileDeletion.id, sa.String)
    chosen = sa.select(number, sa.literal(f"{KIND}/") + number, sa.literal(0)).where(FileDeletion.id.in_(ids))
    queue.enqueue(session, KIND, chosen)


def delete_files(database: Database, storage: Storage, *names: str) -> None:
    """Delete the files of these keys and folders, whose rows are gone; what cannot go now is left to a job.

    It raises nothing, since what was asked for is done: nobody can fetch these files any more. Where even the job
    cannot be made, they are left to the removal of orphans.
    """
    try:
        for name in names:
            _delete(storage, name)
    except Exception as error:
        fields = {"names": " ".join(names), "said": error.detail if isinstance(error, Problem) else None}
        unexpected = None if isinstance(error, Problem) else error
        message = "files of deleted rows could not be removed; a job will"
        log.warning(message, exc_info=unexpected, extra={"lines": (fields,)})
    else:
        return
    try:
        with database.write() as session:
            delete_later(session, names)
    except SQLAlchemyError as error:
        message = "files of deleted rows are left to the sweep"
        logs.event(log, message, logging.WARNING, names=" ".join(names), said=first_line(error))


def _delete(storage: Storage, name: str) -> None:
    if name.endswith("/"):
        storage.delete_prefix(name)
    else:
        storage.delete(name)


class DeleteFiles(Operation):
    """load → work → save for the files whose rows are gone.

    `own` gives, by the prefix of their names, the keys in folders in which there may also be files of others.
    """

    kind = KIND
    patience = PATIENCE

    def __init__(self, storage: Storage, own: Mapping[str, Callable[[str], Collection[str]]]) -> None:
        self.storage = storage
        self.own = own

    def load(self, session: Session, runs: Sequence[Run]) -> list[str]:
        """Return the names."""
        rows = session.execute(sa.select(FileDeletion.id, FileDeletion.name).where(_of(runs)))
        known = {row.id: row.name for row in rows}
        return [known.get(int(run.subject), "") for run in runs]

    def work(self, name: str, cancelled: Callable[[], bool]) -> None:
        """Delete all files that may be there."""
        keys = next((keys for prefix, keys in self.own.items() if name.startswith(prefix)), None)
        try:
            if keys:
                self.storage.delete(*keys(name))
            elif name:
                _delete(self.storage, name)
        except Problem as problem:
            raise Unserved(problem.detail, who="The store") from problem

    def save(self, session: Session, results: Sequence[tuple[Run, None]]) -> None:
        """Forget the names, and the jobs too, for nobody else will."""
        self._forget(session, [run for run, _ in results])

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Let nothing wait any longer: the store is away, and new files are not held back by old ones."""
        waived = sa.update(FileDeletion).where(_of([run for run, _ in failures])).values(awaited_by=None)
        session.connection().execute(waived)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Leave the files to the removal of orphans."""
        self._forget(session, [run for run, _ in failures])

    def _forget(self, session: Session, runs: Sequence[Run]) -> None:
        queue.remove(session, *(run.task for run in runs))
        session.connection().execute(sa.delete(FileDeletion).where(_of(runs)))


def _of(runs: Sequence[Run]) -> sa.ColumnElement[bool]:
    return FileDeletion.id.in_([int(run.subject) for run in runs])
