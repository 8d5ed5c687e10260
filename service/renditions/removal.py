"""Taking versions out: their rows at once, their files by a job that outlives any crash."""

from collections.abc import Callable, Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.jobs import queue
from service.jobs.operation import Failure, Run, judging
from service.renditions.models import TASK, ImageVersion, Leftover, OwnedImage, folders, keys_in
from service.storage import Storage

KIND = "renditions.removal"
ATTEMPTS = 10_000
"""So many runs, at most a minute apart, outlast a week without the store."""


def take_out(session: Session, *which: sa.ColumnElement[bool], awaited_by: str | None = None) -> list[tuple[str, str]]:
    """Delete the versions of which this is true, with their jobs, and leave their files to a job.

    What they waited for, the version waits for that takes their place. Return their folders and ids. The jobs go
    first: who saves has its job's row before those of the slice, too.
    """
    found = [(folder, version) for folder, version, _ in folders(session, *which)]
    for _, version in found:
        queue.remove(session, TASK + version)
        session.execute(sa.delete(ImageVersion).where(ImageVersion.id == version), execution_options=_PLAIN)
    inherited = sa.update(Leftover).where(Leftover.awaited_by.in_([version for _, version in found]))
    session.execute(inherited.values(awaited_by=awaited_by), execution_options=_PLAIN)
    leave(session, [folder for folder, _ in found], awaited_by)
    return found


def take_out_images(
    session: Session, *which: sa.ColumnElement[bool], awaited_by: str | None = None
) -> list[tuple[str, str]]:
    """Delete the images of which this is true, as `take_out` does their versions.

    They are locked first, so that no version comes to one of them meanwhile.
    """
    ids = session.scalars(sa.select(OwnedImage.id).where(*which).order_by(OwnedImage.number).with_for_update()).all()
    gone = [
        found for image in ids for found in take_out(session, ImageVersion.image_id == image, awaited_by=awaited_by)
    ]
    for image in ids:
        session.execute(sa.delete(OwnedImage).where(OwnedImage.id == image), execution_options=_PLAIN)
    return gone


def leave(session: Session, folders: Collection[str], awaited_by: str | None = None) -> None:
    """Let the files in these folders be removed after this transaction; a version may wait for it."""
    if not folders:
        return
    inserted = sa.insert(Leftover).returning(Leftover.id)
    ids = list(session.scalars(inserted, [{"folder": folder, "awaited_by": awaited_by} for folder in folders]))
    number = sa.cast(Leftover.id, sa.String)
    chosen = sa.select(number, sa.literal(f"{KIND}/") + number, sa.literal(0)).where(Leftover.id.in_(ids))
    queue.enqueue(session, KIND, chosen)


class Removal:
    """load → work → save for the files that rows left behind."""

    kind = KIND

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def limit(self) -> int | None:
        """Set no bound."""
        return None

    def load(self, session: Session, runs: Sequence[Run]) -> list[str]:
        """Return the folders."""
        rows = session.execute(sa.select(Leftover.id, Leftover.folder).where(Leftover.id.in_(_ids(runs))))
        known = {row.id: row.folder for row in rows}
        return [known.get(number, "") for number in _ids(runs)]

    def work(self, folder: str, cancelled: Callable[[], bool]) -> None:
        """Delete all files that may be there."""
        try:
            with judging():
                self.storage.delete(*(keys_in(folder) if folder else ()))
        except Failure as failure:
            failure.attempts = ATTEMPTS
            raise

    def save(self, session: Session, results: Sequence[tuple[Run, None]]) -> None:
        """Forget the folders, and the jobs too, for nobody else will."""
        self._forget(session, [run for run, _ in results])

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Let nobody wait any longer: the store is away, and new renditions are not held back by old files."""
        numbers = _ids([run for run, _ in failures])
        waived = sa.update(Leftover).where(Leftover.id.in_(numbers)).values(awaited_by=None)
        session.execute(waived, execution_options=_PLAIN)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Give the files up to the sweep."""
        self._forget(session, [run for run, _ in failures])

    def _forget(self, session: Session, runs: Sequence[Run]) -> None:
        for run in runs:
            queue.remove(session, run.task)
        session.execute(sa.delete(Leftover).where(Leftover.id.in_(_ids(runs))), execution_options=_PLAIN)


def _ids(runs: Sequence[Run]) -> list[int]:
    return [int(run.subject) for run in runs]


_PLAIN = {"synchronize_session": False}
