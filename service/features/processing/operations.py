"""What a client can do with processing: plain values and streams in, plain values out."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database
from service.db.results import record_result
from service.errors import Conflict, Invalid, NotAllowed, NotFound, TooLarge
from service.features.processing.job import KIND
from service.features.processing.models import LARGEST_ID, ProcessingFile, ProcessingTask, moment, upload_key
from service.imaging import transform
from service.imaging.intake import Intake, Upload
from service.jobs import queue
from service.jobs.file_deletion import delete_files
from service.storage.signed_urls import Download
from service.storage.stored_file import StoredFile

PREFIX = "processing/"
AT_A_TIME = 500
"""Tasks that are read at a time."""
_UNDER_WAY = ("pending", "processing")


@dataclass(frozen=True)
class Services:
    """What the operations of processing stand on."""

    database: Database
    intake: Intake


def add_files(services: Services, uploads: Sequence[Upload]) -> list[int]:
    """Check and store the files, then add their rows: all of them or none."""
    if not uploads:
        detail = "There is no file in this request: send one or more parts named `file`."
        raise Invalid(detail, pointer="#/file", code="file_missing")
    keys = [upload_key(str(uuid.uuid4())) for _ in uploads]
    with services.intake.keeping(uploads, keys) as found, services.database.write() as session:
        now = moment()
        rows = [
            {
                "key": key,
                "media_type": picture.media_type,
                "size": picture.size,
                "width": picture.width,
                "height": picture.height,
                "created_at": now,
            }
            for key, picture in zip(keys, found, strict=True)
        ]
        inserted = sa.insert(ProcessingFile).returning(ProcessingFile.id, sort_by_parameter_order=True)
        ids = list(session.scalars(inserted, rows))
        record_result(session, lambda: ids)
        return ids


def open_file(services: Services, file_id: int) -> StoredFile:
    """Return a file's bytes."""
    with services.database.read() as session:
        file = _find_file(session, file_id)
    try:
        stream = services.intake.storage.open(file.key)
    except FileNotFoundError as error:  # deleted between the two
        raise _unknown_file() from error
    return StoredFile(stream, file.size, str(file.id), Download("", file.media_type, inline=True))


def file_url(services: Services, file_id: int, lifetime: float) -> str:
    """Return an address from which the file comes without credentials, for so many seconds."""
    with services.database.read() as session:
        file = _find_file(session, file_id)
    return services.intake.storage.url(file.key, lifetime, Download("", file.media_type, inline=True))


def delete_file(services: Services, file_id: int) -> None:
    """Delete a file that no task under way needs: the row, then the bytes."""
    with services.database.write() as session:
        file = _find_file(session, file_id, lock=True)
        needing = sa.select(ProcessingTask.id).where(
            ProcessingTask.source_id == file_id, ProcessingTask.status.in_(_UNDER_WAY)
        )
        if (task := session.scalar(needing.limit(1))) is not None:
            raise Conflict(f"Task {task} needs this file. Delete it when the task has ended.", code="file_in_use")
        session.delete(file)
    delete_files(services.database, services.intake.storage, file.key)


def create_tasks(services: Services, file_ids: Sequence[int], algorithm: str, params: Mapping[str, Any]) -> list[int]:
    """Make a task of each file, and start them: one transaction with the jobs."""
    with services.database.write() as session:
        files = _find_files(session, file_ids)
        if algorithm == "resize":
            _check_size(services, params["width"], params["height"], {file.media_type for file in files})
        now = moment()
        rows = [
            {
                "algorithm": algorithm,
                "params": dict(params),
                "status": "pending",
                "source_id": file_id,
                "created_at": now,
                "updated_at": now,
            }
            for file_id in file_ids
        ]
        inserted = sa.insert(ProcessingTask).returning(ProcessingTask.id, sort_by_parameter_order=True)
        task_ids = list(session.scalars(inserted, rows))
        _enqueue(session, task_ids)
        record_result(session, lambda: task_ids)
    return task_ids


def page_of_tasks(services: Services, limit: int, after: int | None) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of tasks in the order in which they were made, and the number after which the next one begins."""
    with services.database.read() as session:
        rows = _tasks_after(session, after or 0, limit + 1)
    page = rows[:limit]
    return page, page[-1]["id"] if len(rows) > limit else None


def all_tasks(services: Services) -> Iterator[dict[str, Any]]:
    """Give all tasks that are there now, in the order in which they were made; a part of them is in memory."""
    with services.database.read() as session:
        last = session.scalar(sa.select(sa.func.max(ProcessingTask.id))) or 0
    after = 0
    while after < last:
        with services.database.read() as session:
            rows = _tasks_after(session, after, AT_A_TIME, last)
        if not rows:
            return
        yield from rows
        after = rows[-1]["id"]


def _tasks_after(session: Session, after: int, limit: int, last: int = LARGEST_ID) -> list[dict[str, Any]]:
    chosen = _TASKS.where(ProcessingTask.id > after, ProcessingTask.id <= last).order_by(ProcessingTask.id).limit(limit)
    return [dict(row) for row in session.execute(chosen).mappings()]


def get_task(services: Services, task_id: int) -> dict[str, Any]:
    """Return one task."""
    with services.database.read() as session:
        return _task(session, task_id)


def restart(services: Services, task_id: int) -> dict[str, Any]:
    """Run a task that ended in error again, from its source; of several restarts at once one is accepted."""
    with services.database.write() as session:
        _task(session, task_id)
        failed = (ProcessingTask.id == task_id, ProcessingTask.status == "error")
        fresh = sa.update(ProcessingTask).where(*failed).values(status="pending", updated_at=moment())
        if not session.execute(fresh.returning(ProcessingTask.id)).first():
            raise NotAllowed("task hasn't failed", code="task_has_not_failed", headers={"Allow": "POST, OPTIONS"})
        queue.remove(session, f"{PREFIX}{task_id}")
        _enqueue(session, [task_id])
        task = _task(session, task_id)
        record_result(session, lambda: task)
    return task


def _enqueue(session: Session, task_ids: Sequence[int]) -> None:
    number = sa.cast(ProcessingTask.id, sa.String)
    place = sa.func.row_number().over(order_by=ProcessingTask.id) - 1
    chosen = sa.select(number, sa.literal(PREFIX) + number, place).where(ProcessingTask.id.in_(task_ids))
    queue.enqueue(session, KIND, chosen)


def _find_files(session: Session, file_ids: Sequence[int]) -> Sequence[ProcessingFile]:
    """Return the files, which are kept from being deleted until the transaction ends."""
    wanted = {file_id for file_id in file_ids if 0 < file_id <= LARGEST_ID}
    query = sa.select(ProcessingFile).where(ProcessingFile.id.in_(wanted)).order_by(ProcessingFile.id)
    files = session.scalars(query.with_for_update()).all()
    if unknown := set(file_ids) - {file.id for file in files}:
        raise _unknown_file(f"file {min(unknown)}")
    return files


def _find_file(session: Session, file_id: int, *, lock: bool = False) -> ProcessingFile:
    file = session.get(ProcessingFile, file_id, with_for_update=lock) if file_id <= LARGEST_ID else None
    if not file:
        raise _unknown_file()
    return file


def _check_size(services: Services, width: int, height: int, media_types: set[str]) -> None:
    most = services.intake.limits.pixels
    try:
        if width * height > most:
            raise TooLarge(
                f"{width} × {height} are too many pixels: at most {most} are made.", code="too_many_pixels", limit=most
            )
        for media_type in media_types:
            transform.check_size(width, height, media_type)
    except TooLarge as error:
        pointers = ("#/params/width", "#/params/height")
        faults = [{"detail": "is too large", "pointer": pointer} for pointer in pointers]
        raise Invalid(error.detail, faults, code="invalid_member") from error


def _unknown_file(file: str = "such file") -> NotFound:
    return NotFound(f"There is no {file}. It may have been deleted.", code="file_not_found")


_MEMBERS = ("algorithm", "created_at", "id", "params", "result_id", "source_id", "status", "updated_at")
_TASKS = sa.select(*(getattr(ProcessingTask, name) for name in _MEMBERS))


def _task(session: Session, task_id: int) -> dict[str, Any]:
    row = None
    if task_id <= LARGEST_ID:
        row = session.execute(_TASKS.where(ProcessingTask.id == task_id)).mappings().first()
    if not row:
        raise NotFound("There is no such task.", code="task_not_found")
    return dict(row)
