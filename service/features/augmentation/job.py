"""The operation of augmentation: one image into its rotated, gray and scaled copies, decoded once."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import now
from service.features.augmentation.models import (
    COPIES,
    ORIGINAL,
    AugmentationImage,
    AugmentationTask,
    ImageTask,
    file_key,
)
from service.imaging import transform
from service.imaging.failures import image_failures
from service.imaging.pixel_budget import PixelBudget
from service.jobs.operation import Failure, Operation, Run
from service.storage.storage import Storage

KIND = "augmentation"


class Augmentation(Operation):
    """load → work → save for the images of augmentation. `factor` is by how much the scaled copy's sides are longer."""

    kind = KIND
    failure_code = "engine_failed"

    def __init__(self, storage: Storage, pixels: PixelBudget, factor: float) -> None:
        self.storage = storage
        self.pixels = pixels
        self.factor = factor

    def load(self, session: Session, runs: Sequence[Run]) -> list[tuple[str, int]]:
        """Return where the images stand; they and their tasks are being processed from now on."""
        _set_status(session, runs, "processing")
        waiting = sa.update(AugmentationTask).where(
            AugmentationTask.id.in_({run.task for run in runs}), AugmentationTask.status == "pending"
        )
        session.execute(waiting.values(status="processing"), execution_options={"synchronize_session": False})
        return [(run.task, run.position) for run in runs]

    def work(self, place: tuple[str, int], cancelled: Callable[[], bool]) -> None:
        """Make the copies and store them: the files come before their rows."""
        edits = [transform.rotate(), transform.gray(), transform.scale(self.factor)]
        with image_failures():
            made = transform.copies(self.storage.read(file_key(*place, ORIGINAL)), edits, self.pixels)
            for suffix, copy in zip(COPIES, made, strict=True):
                self.storage.save(file_key(*place, suffix), copy.stream)

    def save(self, session: Session, results: Sequence[tuple[Run, None]]) -> None:
        """Add the copies' rows, and end their images and perhaps tasks."""
        runs = [run for run, _ in results]
        moment = now()
        rows = [
            {"task_id": run.task, "img_link": file_key(run.task, run.position, suffix), "created_at": moment}
            for run in runs
            for suffix in COPIES
        ]
        session.execute(sa.insert(ImageTask), rows)
        _set_status(session, runs, "finished")
        _count(session, runs, "done")

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Show at the images what went wrong; they wait again."""
        for run, failure in failures:
            _set_status(session, [run], "pending", failure)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """End the images in error, with the reason."""
        for run, failure in failures:
            _set_status(session, [run], "error", failure)
        _count(session, [run for run, _ in failures], "failed")


def _set_status(session: Session, runs: Sequence[Run], status: str, failure: Failure | None = None) -> None:
    code, detail = (failure.code, failure.detail[:500]) if failure else (None, None)
    session.execute(
        sa.update(AugmentationImage)
        .where(AugmentationImage.id.in_([int(run.subject) for run in runs]))
        .values(status=status, error_code=code, error_detail=detail),
        execution_options={"synchronize_session": False},
    )


def _count(session: Session, runs: Sequence[Run], counter: str) -> None:
    """Add to the tasks' counters, and end each with its last image.

    In one order everywhere, so that two workers never wait for each other's rows; and the update locks the row, so of
    two with the last two images the second sees the first's count.
    """
    column = getattr(AugmentationTask, counter)
    ended = AugmentationTask.done + AugmentationTask.failed == AugmentationTask.total
    for task in sorted({run.task for run in runs}):
        more = sum(run.task == task for run in runs)
        chosen = sa.update(AugmentationTask).where(AugmentationTask.id == task)
        options = {"synchronize_session": False}
        session.execute(chosen.values({column: column + more}), execution_options=options)
        outcome = sa.case((AugmentationTask.failed > 0, "error"), else_="finished")
        session.execute(chosen.where(ended).values(status=outcome), execution_options=options)
