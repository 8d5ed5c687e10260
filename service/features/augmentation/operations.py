"""What a user can do with images: plain values and streams in, plain values out. All of another user's is unknown."""

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.db.keyset import newest
from service.db.results import record_result
from service.errors import Conflict, Invalid, NotFound, TooLarge
from service.features.augmentation.job import KIND
from service.features.augmentation.models import (
    COPIES,
    ORIGINAL,
    AugmentationImage,
    AugmentationTask,
    ImageTask,
    file_key,
)
from service.imaging import transform
from service.imaging.intake import Intake, Upload, pointing_at
from service.imaging.validate import Picture, printable
from service.jobs import queue
from service.jobs.executors import Executor
from service.storage import zip_stream
from service.storage.signed_urls import Download

LINK_SECONDS = 3600
TYPES = ("image/jpeg", "image/png")
PIECE = 256 * 1024
_EXTENSION = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,4})$")


@dataclass(frozen=True)
class Services:
    """What the operations of augmentation stand on. `factor` is that of the scaled copies."""

    database: Database
    executor: Executor
    intake: Intake
    factor: float


def add_images(services: Services, user_id: str, uploads: Sequence[Upload]) -> str:
    """Check and store the files, and start a task for them: all of them or none. Return its id."""
    if not uploads:
        detail = "There is no file in this request: send one or more parts named `files`."
        raise Invalid(detail, pointer="#/files", code="file_missing")
    task_id = str(uuid.uuid4())
    keys = [file_key(task_id, position, ORIGINAL) for position in range(len(uploads))]
    with services.intake.keeping(uploads, keys) as found:
        for upload, picture in zip(uploads, found, strict=True):
            with pointing_at(upload):
                _check_scaled(services, upload.name, picture)
        with queue.dispatching(services.database, services.executor) as session:
            _add_rows(session, user_id, task_id, uploads, found)
            record_result(session, lambda: task_id)
    return task_id


def show_status(services: Services, user_id: str, task_id: str) -> dict[str, Any]:
    """Return how far a task is, with its images; links are made anew."""
    with services.database.read() as session:
        task, images = _find(session, user_id, task_id)
    return {
        "task_id": task_id,
        "status": task.status,
        "images": [
            {
                "img_link": _link(services, image, ORIGINAL),
                "status": image.status,
                "name": image.name,
                **_copies(services, image),
                "error": {"code": image.error_code, "detail": image.error_detail} if image.error_code else None,
            }
            for image in images
        ],
    }


def history(
    services: Services, user_id: str, limit: int, before: int | None
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of a user's images, newest first, and where the next one begins."""
    query = (
        sa.select(AugmentationImage.id, AugmentationImage, AugmentationTask.created_at)
        .join(AugmentationTask, AugmentationTask.id == AugmentationImage.task_id)
        .where(AugmentationTask.user_id == user_id)
    )
    with services.database.read() as session:
        rows, end = newest(session, query, limit, before)
    items = [
        {
            "task_id": image.task_id,
            "created_at": created_at,
            "name": image.name,
            "status": image.status,
            ORIGINAL: _link(services, image, ORIGINAL),
            **_copies(services, image),
        }
        for _, image, created_at in rows
    ]
    return items, end


def archive(services: Services, user_id: str, task_id: str) -> Iterator[bytes]:
    """Return a zip of all files of a finished task, made while it is sent; raises Conflict for any other."""
    with services.database.read() as session:
        task, images = _find(session, user_id, task_id)
    if task.status != "finished":
        detail = f"This task's status is {task.status}: only one that is finished can be downloaded."
        raise Conflict(detail, code="task_not_finished")
    return zip_stream.stream(
        (file_name(image.name, suffix, image.media_type), _pieces(services, file_key(task_id, image.position, suffix)))
        for image in images
        for suffix in (ORIGINAL, *COPIES)
    )


def file_name(name: str, suffix: str, media_type: str) -> str:
    """Return `<name>_<suffix>.<ext>` for a client's file name; an extension that is not its type's gives way."""
    found = _EXTENSION.search(name)
    stem, extension = (name[: found.start()], found[1]) if found else (name, "")
    fitting = {"image/jpeg": ("jpg", "jpeg"), "image/png": ("png",)}[media_type]
    stem = zip_stream.without_middle(stem, 200) if stem.strip(" .") else "image"
    return f"{stem}_{suffix}.{extension if extension.lower() in fitting else fitting[0]}"


def _check_scaled(services: Services, name: str, picture: Picture) -> None:
    edit = transform.scale(services.factor)
    try:
        transform.check_size(*edit.size(picture.width, picture.height), picture.media_type)
    except TooLarge as error:
        detail = f"{printable(name)} cannot be scaled by {services.factor:g}. {error.detail}"
        raise TooLarge(detail, code=error.code, limit=error.limit) from error


def _add_rows(
    session: Session, user_id: str, task_id: str, uploads: Sequence[Upload], found: Sequence[Picture]
) -> None:
    moment = now()
    session.add(AugmentationTask(id=task_id, user_id=user_id, created_at=moment, total=len(uploads)))
    session.flush()
    images = [
        {
            "task_id": task_id,
            "position": position,
            "name": upload.name,
            "media_type": picture.media_type,
            "status": "pending",
        }
        for position, (upload, picture) in enumerate(zip(uploads, found, strict=True))
    ]
    session.execute(sa.insert(AugmentationImage), images)
    files = [
        {"task_id": task_id, "img_link": file_key(task_id, position, ORIGINAL), "created_at": moment}
        for position in range(len(uploads))
    ]
    session.execute(sa.insert(ImageTask), files)
    number = sa.cast(AugmentationImage.id, sa.String)
    chosen = sa.select(number, AugmentationImage.task_id, AugmentationImage.position)
    queue.enqueue(session, KIND, chosen.where(AugmentationImage.task_id == task_id))


def _find(session: Session, user_id: str, task_id: str) -> tuple[AugmentationTask, Sequence[AugmentationImage]]:
    task = session.get(AugmentationTask, task_id)
    if not task or task.user_id != user_id:
        raise NotFound("There is no such task.", code="task_not_found")
    images = sa.select(AugmentationImage).where(AugmentationImage.task_id == task_id)
    return task, session.scalars(images.order_by(AugmentationImage.position)).all()


def _link(services: Services, image: AugmentationImage, suffix: str) -> str:
    download = Download(file_name(image.name, suffix, image.media_type), image.media_type, inline=True)
    return services.intake.storage.url(file_key(image.task_id, image.position, suffix), LINK_SECONDS, download)


def _copies(services: Services, image: AugmentationImage) -> dict[str, str | None]:
    return {suffix: _link(services, image, suffix) if image.status == "finished" else None for suffix in COPIES}


def _pieces(services: Services, key: str) -> Iterator[bytes]:
    with services.intake.storage.open(key) as stream:
        while piece := stream.read(PIECE):
            yield piece
