"""The operation of processing: one file through one algorithm."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.features.processing.models import ProcessingFile, ProcessingTask, moment, result_key
from service.imaging import transform
from service.imaging.failures import image_failures
from service.imaging.pixel_budget import PixelBudget
from service.jobs.operation import Failure, Operation, Run
from service.storage.spools import SpoolFolder
from service.storage.storage import Storage

KIND = "processing"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: None stands for a source that was deleted."""

    source: str | None
    target: str
    edit: transform.Edit


@dataclass(frozen=True, slots=True)
class Result:
    """A file that was made; size is in bytes."""

    media_type: str
    size: int
    width: int
    height: int


class Processing(Operation):
    """load → work → save for the tasks of processing."""

    kind = KIND
    failure_code = "engine_failed"

    def __init__(self, storage: Storage, pixels: PixelBudget, spools: SpoolFolder) -> None:
        self.storage = storage
        self.pixels = pixels
        self.spools = spools

    def load(self, session: Session, runs: Sequence[Run]) -> list[Order]:
        """Return the orders; their tasks are being processed from now on."""
        ids = [int(run.subject) for run in runs]
        rows = session.execute(_ORDERS.where(ProcessingTask.id.in_(ids)))
        orders = {task: Order(key, result_key(task), edit_of(name, params)) for task, name, params, key in rows}
        _set_status(session, ids, "processing")
        return [orders[task] for task in ids]

    def work(self, order: Order, cancelled: Callable[[], bool]) -> Result:
        """Make the result and store it: the file comes before its row."""
        if order.source is None:
            raise Failure("engine_failed", "The source has been deleted.")
        with image_failures():
            original = self.storage.read(order.source)
            copies = transform.copies(original, [order.edit], self.pixels, self.spools)
            (result,) = [self._store(order.target, copy) for copy in copies]
        return result

    def _store(self, key: str, copy: transform.Copy) -> Result:
        return Result(copy.media_type, self.storage.save(key, copy.stream), copy.width, copy.height)

    def save(self, session: Session, results: Sequence[tuple[Run, Result]]) -> None:
        """Add the results as files, and end their tasks."""
        for run, result in results:
            task = int(run.subject)
            file = ProcessingFile(key=result_key(task), created_at=moment(), **asdict(result))
            session.add(file)
            session.flush()
            _set_status(session, [task], "finished", result_id=file.id)

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Set the tasks back to pending."""
        _set_status(session, [int(run.subject) for run, _ in failures], "pending")

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """End the tasks in error."""
        _set_status(session, [int(run.subject) for run, _ in failures], "error")


def edit_of(algorithm: str, params: dict[str, Any]) -> transform.Edit:
    """Return what an algorithm does with a picture; the parameters have been checked."""
    if algorithm == "flip":
        return transform.flip(horizontal=params["orientation"] == "horizontal")
    if algorithm == "resize":
        return transform.resize(params["width"], params["height"])
    return transform.rotate(clockwise=params["direction"] == "clockwise")


_ORDERS = sa.select(ProcessingTask.id, ProcessingTask.algorithm, ProcessingTask.params, ProcessingFile.key).join_from(
    ProcessingTask, ProcessingFile, ProcessingFile.id == ProcessingTask.source_id, isouter=True
)


def _set_status(session: Session, tasks: Sequence[int], status: str, **more: int) -> None:
    session.execute(
        sa.update(ProcessingTask)
        .where(ProcessingTask.id.in_(tasks), ProcessingTask.status.in_(("pending", "processing")))
        .values(status=status, updated_at=moment(), **more),
        execution_options={"synchronize_session": False},
    )
