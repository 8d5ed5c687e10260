"""What a user can do with images: plain values and streams in, plain values out. All of another user's is unknown."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, days_ago, now
from service.db.keyset import newest
from service.db.results import record_result
from service.errors import Conflict, Invalid, NotFound, TooLarge, TooManyRequests
from service.features.augmentation.files import file_row
from service.features.augmentation.job import KIND
from service.features.augmentation.models import (
    COPIES,
    ORIGINAL,
    AugmentationImage,
    AugmentationTask,
    ImageTask,
)
from service.imaging import transform
from service.imaging.intake import Intake, Upload, pointing_at
from service.imaging.validate import Picture, printable
from service.jobs import queue
from service.storage import zip_stream
from service.storage.signed_urls import Download

LINK_SECONDS = 3600
TYPES = ("image/jpeg", "image/png")
PNG = b"\x89PNG\r\n\x1a\n"
SUFFIXES = (ORIGINAL, *COPIES)
PIECE = 256 * 1024
DAY = 86_400
"""Seconds after which who has used a quota up may ask again."""


@dataclass(frozen=True)
class Quota:
    """What a user may upload: bytes in all, files in 24 hours; 0 is no bound."""

    bytes: int
    files_per_day: int


@dataclass(frozen=True)
class Services:
    """What the operations of augmentation stand on. `factor` is that of the scaled copies."""

    database: Database
    intake: Intake
    factor: float
    quota: Quota


def add_images(services: Services, user_id: str, uploads: Sequence[Upload]) -> str:
    """Check and store the files, and start a task for them: all of them or none. Return its id."""
    if not uploads:
        detail = "There is no file in this request: send one or more parts named `files`."
        raise Invalid(detail, pointer="#/files", code="file_missing")
    with services.database.read() as session:
        _check_quota(services.quota, session, user_id, uploads)
    task_id = str(uuid.uuid4())
    files = [
        file_row(task_id, position, upload.name, ORIGINAL, _media_type(upload))
        for position, upload in enumerate(uploads)
    ]
    with services.intake.keeping(uploads, [file["key"] for file in files]) as found:
        for upload, picture in zip(uploads, found, strict=True):
            with pointing_at(upload):
                _check_scaled(services, upload.name, picture)
        with services.database.write() as session:
            services.database.lock(session, [user_id])
            _check_quota(services.quota, session, user_id, uploads)
            _add_rows(session, user_id, task_id, uploads, found)
            session.execute(sa.insert(ImageTask), files)
            record_result(session, lambda: task_id)
    return task_id


def _check_quota(quota: Quota, session: Session, user_id: str, uploads: Sequence[Upload]) -> None:
    """Raise TooManyRequests where the user would have more than is allowed."""
    of_user = AugmentationTask.user_id == user_id
    if quota.bytes:
        used = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(AugmentationTask.size), 0)).where(of_user)) or 0
        if used + _size(uploads) > quota.bytes:
            raise TooManyRequests(
                f"You may upload {quota.bytes} bytes in all, and have uploaded {used}.", DAY, code="quota_used_up"
            )
    if quota.files_per_day:
        lately = AugmentationTask.created_at > days_ago(1)
        total = sa.func.coalesce(sa.func.sum(AugmentationTask.total), 0)
        used = session.scalar(sa.select(total).where(of_user, lately)) or 0
        if used + len(uploads) > quota.files_per_day:
            raise TooManyRequests(
                f"You may upload {quota.files_per_day} files in 24 hours, and have uploaded {used}.",
                DAY,
                code="quota_used_up",
            )


def _size(uploads: Sequence[Upload]) -> int:
    size = 0
    for upload in uploads:
        size += upload.stream.seek(0, SEEK_END)
        upload.stream.seek(0)
    return size


def show_status(services: Services, user_id: str, task_id: str) -> dict[str, Any]:
    """Return how far a task is, with its images; links are made anew."""
    with services.database.read() as session:
        task, images = _find(session, user_id, task_id)
        files = _files(session, ImageTask.task_id == task_id)
    return {
        "task_id": task_id,
        "status": task.status,
        "images": [
            {
                "img_link": _link(services, image, files[image.task_id, image.position, ORIGINAL]),
                "status": image.status,
                "name": image.name,
                **_copies(services, image, files),
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
        .where(AugmentationImage.user_id == user_id)
    )
    with services.database.read() as session:
        rows, end = newest(session, query, limit, before)
        # Not by pairs, for which SQLite reads all files. Images of a task follow each other, so few are read in vain.
        tasks, positions = ({getattr(row[1], name) for row in rows} for name in ("task_id", "position"))
        files = _files(session, ImageTask.task_id.in_(tasks) & ImageTask.position.in_(positions))
    items = [
        {
            "task_id": image.task_id,
            "created_at": created_at,
            "name": image.name,
            "status": image.status,
            ORIGINAL: _link(services, image, files[image.task_id, image.position, ORIGINAL]),
            **_copies(services, image, files),
        }
        for _, image, created_at in rows
    ]
    return items, end


def archive(services: Services, user_id: str, task_id: str) -> Iterator[bytes]:
    """Return a zip of all files of a finished task, made while it is sent; raises Conflict for any other."""
    with services.database.read() as session:
        task, _ = _find(session, user_id, task_id)
        files = _files(session, ImageTask.task_id == task_id)
    if task.status != "finished":
        detail = f"This task's status is {task.status}: only one that is finished can be downloaded."
        raise Conflict(detail, code="task_not_finished")
    return zip_stream.stream(
        (file.img_link, _pieces(services, file.key))
        for file in sorted(files.values(), key=lambda file: (file.position, SUFFIXES.index(file.suffix)))
    )


def _media_type(upload: Upload) -> str:
    """Return the type that the first bytes show; what is of neither is refused before it is stored."""
    head = upload.stream.read(len(PNG))
    upload.stream.seek(0)
    return "image/png" if head == PNG else "image/jpeg"


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
    size = sum(picture.size for picture in found)
    session.add(AugmentationTask(id=task_id, user_id=user_id, created_at=now(), total=len(uploads), size=size))
    session.flush()
    images = [
        {
            "task_id": task_id,
            "user_id": user_id,
            "position": position,
            "name": upload.name,
            "media_type": picture.media_type,
            "status": "pending",
        }
        for position, (upload, picture) in enumerate(zip(uploads, found, strict=True))
    ]
    session.execute(sa.insert(AugmentationImage), images)
    number = sa.cast(AugmentationImage.id, sa.String)
    chosen = sa.select(number, AugmentationImage.task_id, AugmentationImage.position)
    queue.enqueue(session, KIND, chosen.where(AugmentationImage.task_id == task_id))


def _find(session: Session, user_id: str, task_id: str) -> tuple[AugmentationTask, Sequence[AugmentationImage]]:
    task = session.get(AugmentationTask, task_id)
    if not task or task.user_id != user_id:
        raise NotFound("There is no such task.", code="task_not_found")
    images = sa.select(AugmentationImage).where(AugmentationImage.task_id == task_id)
    return task, session.scalars(images.order_by(AugmentationImage.position)).all()


def _files(session: Session, which: sa.ColumnElement[bool]) -> dict[tuple[str, int, str], ImageTask]:
    """Return the files of which this is true, by task, position and suffix."""
    files = session.scalars(sa.select(ImageTask).where(which))
    return {(file.task_id, file.position, file.suffix): file for file in files}


def _link(services: Services, image: AugmentationImage, file: ImageTask) -> str:
    download = Download(file.img_link, image.media_type, inline=True)
    return services.intake.storage.url(file.key, LINK_SECONDS, download)


def _copies(
    services: Services, image: AugmentationImage, files: dict[tuple[str, int, str], ImageTask]
) -> dict[str, str | None]:
    found = {suffix: files.get((image.task_id, image.position, suffix)) for suffix in COPIES}
    return {suffix: _link(services, image, file) if file else None for suffix, file in found.items()}


def _pieces(services: Services, key: str) -> Iterator[bytes]:
    with services.intake.storage.open(key) as stream:
        while piece := stream.read(PIECE):
            yield piece
