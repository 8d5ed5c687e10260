"""Rows of tasks and images, by statements that are compiled once: those of every upload, start and look."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from service.db.database import now
from service.db.prepared import Prepared
from service.features.faces.models import Face, Image, RemovedImage, Task
from service.features.faces.representation import FACES, IMAGES, FacesByImage, faces_by_image

_COLUMNS = Task.__table__.columns
_FRESH: dict[str, Any] = {column.name: column.default.arg if column.default else None for column in _COLUMNS}
_ONE = _COLUMNS.id == sa.bindparam("task")


_TASK = Prepared(sa.select(*_COLUMNS).where(_ONE))
_STATE = Prepared(
    sa.select(*(_COLUMNS[name] for name in ("id", "version", "status", "total", "next_position"))).where(_ONE)
)
_NEW_TASK = Prepared(sa.insert(Task).returning(*_COLUMNS))
_STARTED = Prepared(
    sa.update(Task)
    .where(_ONE)
    .values(
        status="processing", started_at=sa.bindparam("time"), finished_at=None, failed=0, version=_COLUMNS.version + 1
    )
    .returning(*_COLUMNS)
)
_GROWN = Prepared(
    sa.update(Task)
    .where(_ONE)
    .values(
        total=_COLUMNS.total + sa.bindparam("number"),
        next_position=_COLUMNS.next_position + sa.bindparam("number"),
        version=_COLUMNS.version + 1,
    )
)


def read_task(connection: sa.Connection, task_id: str) -> Any:
    """Return the row of a task, with all columns; None where there is none."""
    return _TASK.execute(connection, task=task_id).first()


def read_state(connection: sa.Connection, task_id: str) -> Any:
    """Return id, version, status, total and next_position of a task; None where there is none. All cost twice that."""
    return _STATE.execute(connection, task=task_id).first()


def add_task(connection: sa.Connection, task_id: str, name: str | None, webhook_url: str | None) -> Any:
    """Add an empty task and return its row."""
    new = {"id": task_id, "name": name, "webhook_url": webhook_url, "created_at": now()}
    return _NEW_TASK.execute(connection, **_FRESH | new).one()


def note_start(connection: sa.Connection, task_id: str) -> Any:
    """Note that a task is processing from now on, with nothing failed; return its row."""
    return _STARTED.execute(connection, task=task_id, time=now()).one()


_NEW_IMAGE = (
    *("id", "task_id", "position", "name", "status", "media_type", "size", "width", "height", "attempts", "digest"),
    *("version", "last_added"),
)
_IMAGE = Prepared(sa.insert(Image), columns=_NEW_IMAGE)


def add_images(connection: sa.Connection, task_id: str, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows of images to a task, and count them there."""
    if rows:
        _IMAGE.execute_many(connection, rows)
    _GROWN.execute(connection, task=task_id, number=len(rows))


_FORGET_FAILURES = Prepared(
    sa.update(Image)
    .where(Image.task_id == sa.bindparam("task"), Image.status == "failed")
    .values(status="pending", attempts=0, error_code=None, error_detail=None, version=sa.bindparam("next_version"))
)


def forget_failures(connection: sa.Connection, task: Any) -> None:
    """Make the failed images of a task, given its row, pending again."""
    _FORGET_FAILURES.execute(connection, task=task.id, next_version=task.version + 1)


_LATER = (
    Image.task_id == sa.bindparam("task"),
    Image.position > sa.bindparam("after"),
    Image.version > sa.bindparam("since"),
)
_IMAGES_LATER = Prepared(
    IMAGES.add_columns(Image.position).where(*_LATER).order_by(Image.position).limit(sa.bindparam("most"))
)
_FACES_LATER = Prepared(FACES.join(Image).where(*_LATER, Image.position <= sa.bindparam("last")).order_by(Face.number))
_IMAGE_OF_TASK = Prepared(IMAGES.where(Image.task_id == sa.bindparam("task"), Image.id == sa.bindparam("image")))
_FACES_OF_IMAGE = Prepared(FACES.where(Face.image_id == sa.bindparam("image")).order_by(Face.number))


_REMOVED_SINCE = Prepared(
    sa.select(RemovedImage.id).where(
        RemovedImage.task_id == sa.bindparam("task"), RemovedImage.version > sa.bindparam("since")
    )
)


def removed_since(connection: sa.Connection, task_id: str, version: int) -> list[str]:
    """Return the ids of the images that were taken out of a task after a version."""
    return list(_REMOVED_SINCE.execute(connection, task=task_id, since=version).scalars())


def read_images(connection: sa.Connection, task_id: str, *, since: int, after: int, most: int) -> list[Any]:
    """Return the first rows of IMAGES after a position that have changed after a version, with their positions."""
    return _IMAGES_LATER.rows(connection, task=task_id, since=since, after=after, most=most)


def read_faces(connection: sa.Connection, task_id: str, *, since: int, after: int, last: int) -> FacesByImage:
    """Return the faces of such images up to the position of the last."""
    return faces_by_image(_FACES_LATER.rows(connection, task=task_id, since=since, after=after, last=last))


def read_image(connection: sa.Connection, task_id: str, image_id: str) -> Any:
    """Return an image's row of IMAGES; None where the task has no such image."""
    found = _IMAGE_OF_TASK.rows(connection, task=task_id, image=image_id)
    return found[0] if found else None


def read_faces_of(connection: sa.Connection, image_id: str) -> FacesByImage:
    """Return the faces of an image."""
    return faces_by_image(_FACES_OF_IMAGE.rows(connection, image=image_id))
