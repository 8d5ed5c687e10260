"""The operation of face tasks: one image through the engine."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import at, now
from service.db.prepared import Prepared
from service.features.faces.engines.engine import Detections, Engine
from service.features.faces.face_members import FACE_MEMBERS, numbered
from service.features.faces.models import Face, Image, Task, image_key
from service.features.faces.statistics import COUNTERS, count
from service.features.faces.webhooks import announce
from service.imaging.failures import image_failures
from service.jobs import outages, queue
from service.jobs.operation import Failure, Operation, Run, Unanswered
from service.storage.storage import Storage

KIND = "face"

_IMAGES_DONE = Prepared(
    sa.update(Image)
    .where(Image.id.in_(sa.bindparam("images", expanding=True)))
    .values(
        status="done",
        attempts=sa.bindparam("attempt"),
        error_code=None,
        error_detail=None,
        engine=sa.bindparam("found_by"),
        searched_width=sa.bindparam("searched"),
        rotation=sa.bindparam("turned"),
        version=sa.bindparam("task_version"),
    ),
    lists=("images",),
)
_IMAGE_ERROR = Prepared(
    sa.update(Image)
    .where(Image.id == sa.bindparam("image"))
    .values(
        status=sa.bindparam("new_status"),
        attempts=sa.bindparam("attempt"),
        error_code=sa.bindparam("code"),
        error_detail=sa.bindparam("text"),
        version=sa.bindparam("task_version"),
    )
)
_FACE = Prepared(sa.insert(Face), columns=("image_id", *FACE_MEMBERS))


class FaceDetection(Operation):
    """load → work → save for the images of face tasks. The engine's name is kept with what it found."""

    kind = KIND
    failure_code = "engine_failed"
    result = Detections

    def __init__(self, storage: Storage, engine: Engine, engine_name: str, patience: float) -> None:
        self.storage = storage
        self.engine = engine
        self.engine_name = engine_name
        self.patience = patience

    def load(self, session: Session, runs: Sequence[Run]) -> list[tuple[str, float]]:
        """Return the images' keys, which follow from the ids, and since when they wait: no query."""
        return [(image_key(run.task, run.subject), run.due_at) for run in runs]

    def work(self, loaded: tuple[str, float], cancelled: Callable[[], bool]) -> Detections:
        """Read the original and ask the engine."""
        key, due_at = loaded
        with image_failures():
            image = self.storage.read(key)
        return Detections.of(self.engine.detect(image, cancelled, due_at))

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
        alike = defaultdict(list)
        for run, found in results:
            alike[run.attempt, found.searched_width, found.rotation, versions[run.task]].append(run.subject)
        for values, images in alike.items():
            named = dict(zip(("attempt", "searched", "turned", "task_version"), values, strict=True))
            _IMAGES_DONE.execute(connection, images=images, found_by=self.engine_name, **named)

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Show at the image what went wrong; it stays pending."""
        versions = {task: _count(session, task) for task in _by_task(failures)}
        _write_errors(session, failures, "pending", versions)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Mark the images as failed, with the reason."""
        versions = {task: _count(session, task, failed=len(failed)) for task, failed in _by_task(failures).items()}
        _write_errors(session, failures, "failed", versions)

    def outage_changed(self, session: Session) -> None:
        """Raise the versions of the tasks that say so; one that is locked is just being changed."""
        waiting = sa.select(Task.id).where(Task.status == "processing").with_for_update(skip_locked=True)
        changed = sa.update(Task).where(Task.id.in_(waiting)).values(version=Task.version + 1)
        session.connection().execute(changed)


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
            "attempt": run.attempts if isinstance(failure, Unanswered) else run.attempt,
            "code": failure.code,
            "text": failure.detail[:500],
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


def waiting_for(session: Session) -> dict[str, str] | None:
    """Return since when the tasks wait for their engine, why, and when it is tried again; None while it serves."""
    outage = outages.open_outages(session).get(KIND)
    if outage is None:
        return None
    return {"since": at(outage.since), "reason": outage.reason, "next_try": at(outage.next_try)}


def stop_images(session: Session, task: str) -> None:
    """Fail what is not done of a task, which ends it; its runs that are under way find no job and save nothing."""
    queue.remove(session, task, kind=KIND)
    pending = (Image.task_id == task, Image.status == "pending")
    connection = session.connection()
    number = connection.execute(sa.select(sa.func.count()).where(*pending)).scalar_one()
    version = _count(session, task, failed=number)
    error = {"error_code": "stopped", "error_detail": "A person stopped the task before this photo was done."}
    connection.execute(sa.update(Image).where(*pending).values(status="failed", version=version, **error))
