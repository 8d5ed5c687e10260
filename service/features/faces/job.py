"""The operation of face tasks: one image through the engine."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.features.faces.engines.engine import Detection, Detections, Engine, History
from service.features.faces.models import MICRO, Face, Image, Task, image_key
from service.features.faces.representation import FACE_MEMBERS, members_of
from service.features.faces.webhooks import announce
from service.imaging.failures import image_failures
from service.jobs.operation import Failure, Operation, Run
from service.storage.storage import Storage

KIND = "face"
_AGES = ("with_age", "age_sum")

_IMAGE_DONE = (
    sa.update(Image)
    .where(Image.id == sa.bindparam("image"))
    .values(status="done", attempts=sa.bindparam("attempt"), error_code=None, error_detail=None)
)
_IMAGE_ERROR = (
    sa.update(Image)
    .where(Image.id == sa.bindparam("image"))
    .values(
        status=sa.bindparam("new_status"),
        attempts=sa.bindparam("attempt"),
        error_code=sa.bindparam("code"),
        error_detail=sa.bindparam("text"),
        failed_at=sa.func.coalesce(Image.failed_at, sa.bindparam("moment")),
    )
)
_FAILED = sa.select(Image.id, Image.failed_at)


def has_ever_worked(database: Database) -> bool:
    """Return whether the engine has ever answered for an image; False where the database is away."""
    try:
        with database.read() as session:
            return session.scalar(sa.select(sa.exists().where(Task.done > 0))) or False
    except SQLAlchemyError:
        return False


class FaceDetection(Operation):
    """load → work → save for the images of face tasks."""

    kind = KIND
    failure_code = "engine_failed"

    def __init__(self, storage: Storage, engine: Engine) -> None:
        self.storage = storage
        self.engine = engine

    def limit(self) -> int | None:
        """Return what the engine takes now."""
        return self.engine.limit()

    def load(self, session: Session, runs: Sequence[Run]) -> list[tuple[str, History]]:
        """Return the images' keys, which follow from the ids, and histories: no query but for those that failed."""
        again = [run.subject for run in runs if run.attempt > 1]
        failed = dict(session.execute(_FAILED.where(Image.id.in_(again))).all()) if again else {}
        return [(image_key(run.task, run.subject), History(run.due_at, failed.get(run.subject))) for run in runs]

    def work(self, loaded: tuple[str, History], cancelled: Callable[[], bool]) -> Sequence[Detection]:
        """Read the original and ask the engine."""
        key, history = loaded
        with image_failures():
            image = self.storage.read(key)
        return Detections.of(self.engine.detect(image, cancelled, history)).faces

    def save(self, session: Session, results: Sequence[tuple[Run, Sequence[Detection]]]) -> None:
        """Write the faces, the images, and the counters of their tasks."""
        faces = [
            _row(run.subject, position, face) for run, detections in results for position, face in enumerate(detections)
        ]
        if faces:
            session.connection().execute(sa.insert(Face), faces)
        images = [{"image": run.subject, "attempt": run.attempt} for run, _ in results]
        session.connection().execute(_IMAGE_DONE, images)
        for task, detections in _by_task(results).items():
            _count(session, task, done=len(detections), **_sums(face for found in detections for face in found))

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Show at the image what went wrong; it stays pending."""
        _write_errors(session, failures, "pending")
        for task in _by_task(failures):
            _count(session, task)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Mark the images as failed, with the reason."""
        _write_errors(session, failures, "failed")
        for task, failed in _by_task(failures).items():
            _count(session, task, failed=len(failed))


def _row(image: str, position: int, face: Detection) -> dict[str, Any]:
    return {"image_id": image, "position": position, **dict(zip(FACE_MEMBERS, members_of(face), strict=True))}


def _by_task(pairs: Iterable[tuple[Run, Any]]) -> dict[str, list[Any]]:
    """Group by task, in one order everywhere, so that two workers never wait for each other's rows."""
    grouped: dict[str, list[Any]] = {}
    for run, value in sorted(pairs, key=lambda pair: pair[0].task):
        grouped.setdefault(run.task, []).append(value)
    return grouped


def _sums(faces: Iterable[Detection]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for face in faces:
        sums["faces"] += 1
        people = {"male": "men", "female": "women"}.get(face.gender)
        if people:
            sums[people] += 1
            if face.age is not None:
                sums[f"{people}_with_age"] += 1
                sums[f"{people}_age_sum"] += round(face.age * MICRO)
    return sums


def _write_errors(session: Session, failures: Sequence[tuple[Run, Failure]], status: str) -> None:
    rows = [
        {
            "image": run.subject,
            "new_status": status,
            "attempt": run.attempt,
            "code": failure.code,
            "text": failure.detail[:500],
            "moment": time.time(),
        }
        for run, failure in failures
    ]
    session.connection().execute(_IMAGE_ERROR, rows)


_COUNTERS = ("done", "failed", "faces", "men", "women", *(f"{p}_{n}" for p in ("men", "women") for n in _AGES))
_COUNT = (
    sa.update(Task)
    .where(Task.id == sa.bindparam("task"))
    .values(
        version=Task.version + 1,
        **{name: getattr(Task, name) + sa.bindparam(f"more_{name}") for name in _COUNTERS},
    )
)
_END = (
    sa.update(Task)
    .where(Task.id == sa.bindparam("task"), Task.status == "processing", Task.done + Task.failed == Task.total)
    .values(status=sa.case((Task.failed > 0, "error"), else_="completed"), finished_at=sa.bindparam("moment"))
    .returning(Task.webhook_url)
)


def _count(session: Session, task: str, **more: int) -> None:
    """Add to a task's counters, and end it with its last image; its webhook, if it has one, is queued with the end.

    The update locks the task's row, so of two workers with the last two images the second sees the first's count.
    """
    connection = session.connection()
    connection.execute(_COUNT, {"task": task} | {f"more_{name}": more.get(name, 0) for name in _COUNTERS})
    if connection.execute(_END, {"task": task, "moment": now()}).scalar():
        announce(session, task)
