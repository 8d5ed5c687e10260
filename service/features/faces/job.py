"""The operation of face tasks: one image through the engine."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.db.prepared import Prepared
from service.features.faces.engines.engine import Detections, Engine, History
from service.features.faces.models import Face, Image, Task, image_key
from service.features.faces.representation import FACE_MEMBERS, numbered
from service.features.faces.statistics import COUNTERS, count
from service.features.faces.webhooks import announce
from service.imaging.failures import image_failures
from service.jobs.operation import Failure, Operation, Run
from service.storage.storage import Storage

KIND = "face"

_IMAGE_DONE = Prepared(
    sa.update(Image)
    .where(Image.id == sa.bindparam("image"))
    .values(
        status="done",
        attempts=sa.bindparam("attempt"),
        error_code=None,
        error_detail=None,
        engine=sa.bindparam("found_by"),
        searched_width=sa.bindparam("searched"),
        rotation=sa.bindparam("turned"),
        version=sa.bindparam("task_version"),
    )
)
_IMAGE_ERROR = Prepared(
    sa.update(Image)
    .where(Image.id == sa.bindparam("image"))
    .values(
        status=sa.bindparam("new_status"),
        attempts=sa.bindparam("attempt"),
        error_code=sa.bindparam("code"),
        error_detail=sa.bindparam("text"),
        failed_at=sa.func.coalesce(Image.failed_at, sa.bindparam("moment")),
        version=sa.bindparam("task_version"),
    )
)
_FACE = Prepared(sa.insert(Face))
_FAILED = sa.select(Image.id, Image.failed_at)


def has_ever_worked(database: Database) -> bool:
    """Return whether the engine has ever answered for an image; False where the database is away."""
    try:
        with database.read() as session:
            return session.scalar(sa.select(sa.exists().where(Task.done > 0))) or False
    except SQLAlchemyError:
        return False


class FaceDetection(Operation):
    """load → work → save for the images of face tasks. The engine's name is kept with what it found."""

    kind = KIND
    failure_code = "engine_failed"

    def __init__(self, storage: Storage, engine: Engine, engine_name: str) -> None:
        self.storage = storage
        self.engine = engine
        self.engine_name = engine_name

    def limit(self) -> int | None:
        """Return what the engine takes now."""
        return self.engine.limit()

    def load(self, session: Session, runs: Sequence[Run]) -> list[tuple[str, History]]:
        """Return the images' keys, which follow from the ids, and histories: no query but for those that failed."""
        again = [run.subject for run in runs if run.attempt > 1]
        failed = dict(session.execute(_FAILED.where(Image.id.in_(again))).all()) if again else {}
        return [(image_key(run.task, run.subject), History(run.due_at, failed.get(run.subject))) for run in runs]

    def work(self, loaded: tuple[str, History], cancelled: Callable[[], bool]) -> Detections:
        """Read the original and ask the engine."""
        key, history = loaded
        with image_failures():
            image = self.storage.read(key)
        return Detections.of(self.engine.detect(image, cancelled, history))

    def save(self, session: Session, results: Sequence[tuple[Run, Detections]]) -> None:
        """Write the faces, the images, and the counters of their tasks."""
        connection = session.connection()
        versions = {}
        for task, images in _by_task(results).items():
            faces_of_all = (face for found in images for face in found.faces)
            versions[task] = _count(session, task, done=len(images), **count(faces_of_all, self.engine_name))
        faces = [
            {"image_id": run.subject, **dict(zip(FACE_MEMBERS, members, strict=True))}
            for run, found in results
            for members in numbered(found.faces)
        ]
        if faces:
            _FACE.execute_many(connection, faces)
        _IMAGE_DONE.execute_many(connection, [self._image(run, found, versions[run.task]) for run, found in results])

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Show at the image what went wrong; it stays pending."""
        versions = {task: _count(session, task) for task in _by_task(failures)}
        _write_errors(session, failures, "pending", versions)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Mark the images as failed, with the reason."""
        versions = {task: _count(session, task, failed=len(failed)) for task, failed in _by_task(failures).items()}
        _write_errors(session, failures, "failed", versions)

    def _image(self, run: Run, found: Detections, task_version: int) -> dict[str, Any]:
        return {
            "image": run.subject,
            "attempt": run.attempt,
            "found_by": self.engine_name,
            "searched": found.searched_width,
            "turned": found.rotation,
            "task_version": task_version,
        }


def _by_task(pairs: Iterable[tuple[Run, Any]]) -> dict[str, list[Any]]:
    """Group by task, in one order everywhere, so that two workers never wait for each other's rows."""
    grouped: dict[str, list[Any]] = {}
    for run, value in sorted(pairs, key=lambda pair: pair[0].task):
        grouped.setdefault(run.task, []).append(value)
    return grouped


def _write_errors(
    session: Session, failures: Sequence[tuple[Run, Failure]], status: str, versions: Mapping[str, int]
) -> None:
    rows = [
        {
            "image": run.subject,
            "new_status": status,
            "attempt": run.attempt,
            "code": failure.code,
            "text": failure.detail[:500],
            "moment": time.time(),
            "task_version": versions[run.task],
        }
        for run, failure in failures
    ]
    _IMAGE_ERROR.execute_many(session.connection(), rows)


_COUNTERS = ("done", "failed", *COUNTERS)
_COUNT = Prepared(
    sa.update(Task)
    .where(Task.id == sa.bindparam("task"))
    .values(
        version=Task.version + 1,
        **{name: getattr(Task, name) + sa.bindparam(f"more_{name}") for name in _COUNTERS},
    )
    .returning(Task.version)
)
_END = Prepared(
    sa.update(Task)
    .where(Task.id == sa.bindparam("task"), Task.status == "processing", Task.done + Task.failed == Task.total)
    .values(status=sa.case((Task.failed > 0, "error"), else_="completed"), finished_at=sa.bindparam("moment"))
    .returning(Task.webhook_url)
)


def _count(session: Session, task: str, **more: int) -> int:
    """Add to a task's counters and return its new version; end it with its last image.

    Its webhook, if it has one, is queued with the end. The update locks the task's row, so of two workers with the last
    two images the second sees the first's count.
    """
    connection = session.connection()
    counters = {f"more_{name}": more.get(name, 0) for name in _COUNTERS}
    version: int = _COUNT.execute(connection, task=task, **counters).scalar_one()
    if _END.execute(connection, task=task, moment=now()).scalar():
        announce(session, task)
    return version
