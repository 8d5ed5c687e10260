"""The operation of augmentation: one image into its rotated, gray and scaled copies, decoded once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.features.augmentation.files import file_row
from service.features.augmentation.models import (
    COPIES,
    ORIGINAL,
    AugmentationImage,
    AugmentationTask,
    ImageTask,
)
from service.imaging import transform
from service.imaging.failures import image_failures
from service.imaging.pixel_budget import PixelBudget
from service.jobs.operation import Failure, Operation, Run
from service.storage.spools import SpoolFolder
from service.storage.storage import Storage

KIND = "augmentation"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the original of an image stands, and what names its copies."""

    original: str
    task_id: str
    position: int
    name: str
    media_type: str


class Augmentation(Operation):
    """load → work → save for the images of augmentation. `factor` is by how much the scaled copy's sides are longer."""

    kind = KIND
    failure_code = "engine_failed"

    def __init__(self, storage: Storage, pixels: PixelBudget, spools: SpoolFolder, factor: float) -> None:
        self.storage = storage
        self.pixels = pixels
        self.spools = spools
        self.factor = factor

    def load(self, session: Session, runs: Sequence[Run]) -> list[Place | None]:
        """Return where the images stand, None for deleted ones; from now on their tasks are being processed."""
        _set_status(session, runs, "processing")
        waiting = sa.update(AugmentationTask).where(
            AugmentationTask.id.in_({run.task for run in runs}), AugmentationTask.status == "pending"
        )
        session.execute(waiting.values(status="processing"), execution_options={"synchronize_session": False})
        query = (
            sa.select(AugmentationImage.id, ImageTask.key, AugmentationImage)
            .join(
                ImageTask,
                sa.and_(
                    ImageTask.task_id == AugmentationImage.task_id,
                    ImageTask.position == AugmentationImage.position,
                    ImageTask.suffix == ORIGINAL,
                ),
            )
            .where(AugmentationImage.id.in_([int(run.subject) for run in runs]))
        )
        places = {
            str(number): Place(key, image.task_id, image.position, image.name, image.media_type)
            for number, key, image in session.execute(query)
        }
        return [places.get(run.subject) for run in runs]

    def work(self, place: Place | None, cancelled: Callable[[], bool]) -> list[dict[str, Any]]:
        """Make the copies and store them: the files come before their rows, which are returned."""
        if place is None:
            raise Failure("engine_failed", "The image has been deleted.")
        edits = [transform.rotate(), transform.gray(), transform.scale(self.factor)]
        with image_failures():
            made = transform.copies(self.storage.read(place.original), edits, self.pixels, self.spools)
            rows = [file_row(place.task_id, place.position, place.name, suffix, place.media_type) for suffix in COPIES]
            for row, copy in zip(rows, made, strict=True):
                self.storage.save(row["key"], copy.stream)
        return rows

    def save(self, session: Session, results: Sequence[tuple[Run, list[dict[str, Any]]]]) -> None:
        """Add the copies' rows, and end their images and perhaps tasks."""
        runs = [run for run, _ in results]
        session.execute(sa.insert(ImageTask), [row for _, rows in results for row in rows])
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
