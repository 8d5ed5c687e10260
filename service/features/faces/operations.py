"""What a client can do with face tasks: plain values and streams in, plain values out."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.cpu_slots import CpuSlots
from service.db.database import Database
from service.db.results import record_result
from service.errors import Conflict, Invalid, NotFound, TooLarge
from service.features.faces import documents, rows
from service.features.faces.documents import DocumentCache, Documents, up_to_date
from service.features.faces.duplicates import digests_of, for_each_upload, read_missing_digests, without_known
from service.features.faces.job import KIND, stop_images, waiting_for
from service.features.faces.models import Face, Image, RemovedImage, Task, image_key, thumbnail_key
from service.features.faces.representation import (
    FACES,
    IMAGE_MEMBERS,
    IMAGES,
    SEARCH_MEMBERS,
    faces_by_image,
    image_with_faces,
    is_done,
    task_summary,
    without_faces,
)
from service.http import outbound
from service.imaging.intake import Intake, Upload
from service.imaging.validate import Picture
from service.jobs import queue
from service.jobs.executors import Executor
from service.jobs.file_deletion import delete_files
from service.storage.signed_urls import Download
from service.storage.spools import SpoolFolder
from service.storage.storage import Storage
from service.storage.stored_file import StoredFile

STATUSES = ("forming", "processing", "completed", "error")
_IMAGES_OF_TASK = sa.select(Image.id, Image.task_id, Image.position).where(Image.task_id == sa.bindparam("task"))
_ALL = queue.Enqueuing(KIND, _IMAGES_OF_TASK)
_FAILED = queue.Enqueuing(KIND, _IMAGES_OF_TASK.where(Image.status == "failed"))


@dataclass(frozen=True)
class Services:
    """What the operations of face tasks stand on.

    `drawings` bounds what is drawn or made small at once; `documents` keeps what answers are put together of.
    """

    database: Database
    storage: Storage
    executor: Executor
    intake: Intake
    images_per_task: int
    private_webhooks: bool
    drawings: CpuSlots
    documents: DocumentCache
    spools: SpoolFolder


@dataclass(frozen=True, slots=True)
class Changed:
    """A task as it was started or stopped: its members, and its first images."""

    members: dict[str, Any]
    images: Documents


def create_task(
    services: Services,
    name: str | None,
    webhook_url: str | None = None,
    uploads: Sequence[Upload] = (),
    *,
    started: bool = False,
) -> dict[str, Any]:
    """Create a task, empty or with these images, started or not: all of it or nothing."""
    if webhook_url is not None:
        _check_webhook(services, webhook_url)
    task_id = str(uuid.uuid4())
    ids = [str(uuid.uuid4()) for _ in uploads]
    keys = [image_key(task_id, image_id) for image_id in ids]
    with (
        services.intake.keeping(uploads, keys) as pictures,
        services.database.write() as session,
    ):
        connection = session.connection()
        task = rows.add_task(connection, task_id, name, webhook_url)
        images: list[dict[str, Any]] = []
        if ids:
            images = _add_rows(connection, services, task, list(zip(ids, uploads, pictures, strict=True)))
            task = rows.read_task(connection, task_id)
        if started:
            task = _start(session, task)
        created = task_summary(task, waiting_for(session) if started else None) | {
            "images": images,
            "images_next": None,
        }
        record_result(session, lambda: created)
    return created


def list_tasks(
    services: Services, status: str | None, limit: int, before: tuple[str, str] | None
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Return a page of tasks, newest first, and the place where the next page begins."""
    place = sa.tuple_(Task.created_at, Task.id)
    query = sa.select(Task).order_by(Task.created_at.desc(), Task.id.desc()).limit(limit + 1)
    if status:
        query = query.where(Task.status == status)
    if before:
        query = query.where(place < sa.tuple_(*map(sa.literal, before)))
    with services.database.read() as session:
        tasks, waiting = session.scalars(query).all(), waiting_for(session)
    last = tasks[limit - 1] if len(tasks) > limit else None
    return [task_summary(task, waiting) for task in tasks[:limit]], (last.created_at, last.id) if last else None


def get_task(services: Services, task_id: str) -> dict[str, Any]:
    """Return the task with its images and faces: three queries, whatever its size."""
    with services.database.read() as session:
        task = find_task(session, task_id)
        images = session.execute(IMAGES.where(Image.task_id == task_id).order_by(Image.position)).all()
        rows = session.execute(FACES.join(Image).where(Image.task_id == task_id).order_by(Face.number))
        faces = faces_by_image(rows)
        shown = [image_with_faces(row, faces) for row in images]
        return task_summary(task, waiting_for(session)) | {"images": shown, "images_next": None}


def rename_task(services: Services, task_id: str, name: str | None) -> None:
    """Give a task another name, or none."""
    with services.database.write() as session:
        task = _hold_task(services, session, task_id)
        if task.name != name:
            task.name, task.version = name, task.version + 1


def delete_task(services: Services, task_id: str) -> None:
    """Delete the task whatever it is doing: the rows first, then what runs, then the files."""
    with services.database.write() as session:
        services.database.lock(session, [task_id])
        if not session.execute(sa.delete(Task).where(Task.id == task_id).returning(Task.id)).first():
            raise unknown_task()
        queue.remove(session, task_id)
    services.executor.cancel(task_id)
    services.documents.forget(task_id)
    delete_files(services.database, services.storage, f"tasks/{task_id}/")


def start(services: Services, task_id: str) -> Changed:
    """Start a task: all its images, or after an error those that failed. One transaction with the jobs.

    Return the task as it is then, with nothing done yet.
    """
    with services.database.connect() as connection:
        since = _known(rows.read_state(connection, task_id)).version
        before = services.documents.first_images(connection, task_id, since)
    with services.database.write() as session:
        task = _hold_state(services, session, task_id)
        is_same = task.version == since and task.status == "forming"  # a start after an error changes images
        task = _start(session, task)
        images = before if is_same else up_to_date(session.connection(), task_id, before, since)
        started = Changed(task_summary(task, waiting_for(session)), images)
        record_result(session, lambda: started)
    return started


def stop(services: Services, task_id: str) -> Changed:
    """Stop a task that is processing: what is done stays, the rest fails, and a start takes it up again.

    Return the task as it is then.
    """
    with services.database.write() as session:
        task = _hold_task(services, session, task_id)
        if task.status != "processing":
            detail = f"This task is {task.status}: only one that is processing can be stopped."
            raise Conflict(detail, code="task_not_processing")
        stop_images(session, task_id)
        session.refresh(task)
        stopped = Changed(task_summary(task), documents.read(session.connection(), task_id))
        record_result(session, lambda: stopped)
    services.executor.cancel(task_id, KIND)
    return stopped


def add_images(
    services: Services, task_id: str, uploads: Sequence[Upload], *, skip_existing: bool = False
) -> list[dict[str, Any]]:
    """Check and store the files, then add their rows: all of them or none.

    With `skip_existing` bytes that the task has are left out; the images that have them are returned as skipped.
    """
    if not uploads:
        detail = "There is no image in this request: send one or more parts named `image`."
        raise Invalid(detail, pointer="#/image", code="file_missing")
    if skip_existing:
        read_missing_digests(services.database, services.storage, task_id)
    with services.database.connect() as connection:
        fresh = without_known(uploads, digests_of(connection, task_id)) if skip_existing else uploads
        _check_room(services, _known(rows.read_state(connection, task_id)), len(fresh))
    keys = {str(uuid.uuid4()): upload for upload in fresh}
    unneeded = []
    try:
        paths = [image_key(task_id, image_id) for image_id in keys]
        with services.intake.keeping(fresh, paths) as pictures, services.database.write() as session:
            task = _hold_state(services, session, task_id)
            known = (
                digests_of(session.connection(), task_id) if skip_existing else set()
            )  # another request may have added some
            files = [(*pair, picture) for pair, picture in zip(keys.items(), pictures, strict=True)]
            unneeded = [image_id for image_id, upload, _ in files if upload.digest in known]
            chosen = [file for file in files if file[1].digest not in known]
            images = _add_rows(session.connection(), services, task, chosen)
            if skip_existing:
                images = for_each_upload(session, task_id, uploads, [image["id"] for image in images])
            record_result(session, lambda: images)
    except FileNotFoundError:  # a deletion took the folder away while it was written to
        with services.database.read() as session:
            find_task(session, task_id)
        raise
    if unneeded:
        surplus = [image_key(task_id, image_id) for image_id in unneeded]
        delete_files(services.database, services.storage, *surplus)
    return images


def get_image(services: Services, task_id: str, image_id: str) -> dict[str, Any]:
    """Return one image with its faces."""
    with services.database.connect() as connection:
        return read_image(connection, task_id, image_id)


def read_image(connection: sa.Connection, task_id: str, image_id: str) -> dict[str, Any]:
    """Return one image with its faces as this transaction sees it; raise NotFound, also for one of another task."""
    row = rows.read_image(connection, task_id, image_id)
    if not row:
        raise unknown_image()
    return image_with_faces(row, rows.read_faces_of(connection, image_id) if is_done(row) else {})


def delete_image(services: Services, task_id: str, image_id: str) -> None:
    """Take an image out of a task that is still forming: the row, then the file."""
    with services.database.write() as session:
        task = _hold_task(services, session, task_id)
        image = find_image(session, task_id, image_id)
        if task.status != "forming":
            raise _not_forming(task)
        session.delete(image)
        task.total -= 1
        task.version += 1
        session.add(RemovedImage(task_id=task_id, id=image_id, version=task.version))
    keys = (image_key(task_id, image_id), thumbnail_key(task_id, image_id))
    delete_files(services.database, services.storage, *keys)


def open_content(services: Services, task_id: str, image_id: str) -> StoredFile:
    """Return an image's original bytes."""
    with services.database.read() as session:
        image = find_image(session, task_id, image_id)
    try:
        stream = services.storage.open(image_key(task_id, image_id))
    except FileNotFoundError as error:  # deleted between the two
        raise unknown_image() from error
    return StoredFile(stream, image.size, image_id, Download("", image.media_type, inline=True))


def content_url(services: Services, task_id: str, image_id: str, lifetime: float) -> str:
    """Return an address of an image's original bytes that lives for so many seconds."""
    with services.database.read() as session:
        image = find_image(session, task_id, image_id)
    return services.storage.url(image_key(task_id, image_id), lifetime, Download("", image.media_type, inline=True))


def known_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Return those of the storage keys that some row knows: originals, and their thumbnails."""
    ids = {key.rpartition("/")[2].removesuffix(".thumbnail") for key in keys}
    rows = session.execute(sa.select(Image.task_id, Image.id).where(Image.id.in_(ids)))
    return {key(task, image) for task, image in rows for key in (image_key, thumbnail_key)}


def _check_webhook(services: Services, url: str) -> None:
    try:
        outbound.check_url(url, private_allowed=services.private_webhooks)
    except outbound.Refused as refusal:
        errors = [{"detail": str(refusal), "pointer": "#/webhook_url"}]
        raise Invalid(
            f"The webhook's address cannot be used. {refusal}", errors, code="webhook_url_refused"
        ) from refusal


def _add_rows(
    connection: sa.Connection, services: Services, task: Any, files: Sequence[tuple[str, Upload, Picture]]
) -> list[dict[str, Any]]:
    """Add the images' rows to the task's, given its state, and return them as clients see them."""
    _check_room(services, task, len(files))
    new = [
        {
            "id": image_id,
            "task_id": task.id,
            "position": task.next_position + number,
            "name": upload.name,
            "status": "pending",
            "media_type": picture.media_type,
            "size": picture.size,
            "width": picture.width,
            "height": picture.height,
            "attempts": 0,
            "digest": upload.digest,
            "version": task.version + 1,
            "last_added": 0,
        }
        for number, (image_id, upload, picture) in enumerate(files)
    ]
    rows.add_images(connection, task.id, new)
    fresh: dict[str, Any] = {"error": None, **dict.fromkeys(SEARCH_MEMBERS)}
    return [{name: row[name] for name in IMAGE_MEMBERS} | fresh | without_faces() for row in new]


def _start(session: Session, task: Any) -> Any:
    """Start a task, given its state, and return its row."""
    if task.status not in ("forming", "error"):
        detail = f"This task is {task.status}: only one that is forming, or ended in error, can be started."
        raise Conflict(detail, code="task_not_startable")
    if not task.total:
        raise Conflict("This task has no images. Upload some, then start it.", code="task_has_no_images")
    if task.status == "forming":
        _ALL.enqueue(session, task=task.id)
    else:
        queue.remove(session, task.id, failed_only=True)
        _FAILED.enqueue(session, task=task.id)
        rows.forget_failures(session.connection(), task)
    return rows.note_start(session.connection(), task.id)


def find_task(session: Session, task_id: str) -> Task:
    """Return a task's row; raise NotFound."""
    task: Task = _known(session.get(Task, task_id))
    return task


def _known(task: Any) -> Any:
    """Return a task or its row if there is one; raise NotFound."""
    if not task:
        raise unknown_task()
    return task


def _hold_task(services: Services, session: Session, task_id: str) -> Task:
    """Return the task as it stays until this transaction ends: its status, its counters, its next position."""
    services.database.lock(session, [task_id])
    return find_task(session, task_id)


def _hold_state(services: Services, session: Session, task_id: str) -> Any:
    """Return what `read_state` does, as it stays until this transaction ends; raise NotFound."""
    services.database.lock(session, [task_id])
    return _known(rows.read_state(session.connection(), task_id))


def find_image(session: Session, task_id: str, image_id: str) -> Image:
    """Return an image's row; raise NotFound, also for an image of another task."""
    image = session.get(Image, image_id)
    if not image or image.task_id != task_id:
        raise unknown_image()
    return image


def _check_room(services: Services, task: Any, number: int) -> None:
    if task.status != "forming":
        raise _not_forming(task)
    most = services.images_per_task
    if task.total + number > most:
        raise TooLarge(
            f"A task takes at most {most} images: this one has {task.total}, and {number} more came. "
            "Put the rest into another task.",
            code="too_many_images",
            limit=most,
        )


def unknown_task() -> NotFound:
    """Return the problem of a task that is not there."""
    return NotFound("There is no such task. It may have been deleted.", code="task_not_found")


def unknown_image() -> NotFound:
    """Return the problem of an image that is not there."""
    return NotFound("There is no such image in this task. It may have been deleted.", code="image_not_found")


def _not_forming(task: Any) -> Conflict:
    detail = f"This task is {task.status}: images can be added and removed only before it is started."
    return Conflict(detail, code="task_not_forming")
