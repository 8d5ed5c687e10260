"""What must hold among the rows of face tasks, their jobs and their files."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import now
from service.features.faces.engines.engine import EMBEDDED
from service.features.faces.job import KIND
from service.features.faces.models import MICRO, Face, Image, Task, image_key
from service.features.faces.statistics import OLD, SMALL
from service.features.faces.webhooks import announce
from service.jobs import queue
from service.jobs.models import Job
from service.maintenance.checks import Check, Inspection, Query, Stored

_OPEN = ("queued", "running")
_count = sa.func.count


def _number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _age_sum(gender: str) -> sa.ColumnElement[int]:
    millionths = sa.cast(sa.func.round(Face.age * MICRO), sa.BigInteger)
    return sa.func.coalesce(sa.func.sum(sa.case((Face.gender == gender, millionths), else_=0)), 0)


_PROGRESS = {
    "total": _count(Image.id),
    "done": _number(Image.status == "done"),
    "failed": _number(Image.status == "failed"),
}
_STATISTICS = {
    "faces": _count(Face.image_id),
    "men": _number(Face.gender == "male"),
    "women": _number(Face.gender == "female"),
    "men_with_age": _number((Face.gender == "male") & Face.age.is_not(None)),
    "women_with_age": _number((Face.gender == "female") & Face.age.is_not(None)),
    "over_60": _number((Image.engine == EMBEDDED) & (Face.age >= OLD) & Face.age_low.is_not(None)),
    "small_faces": _number((Image.engine == EMBEDDED) & (Face.height < SMALL) & (Face.gender == "unknown")),
    "unsure": _number((Image.engine == EMBEDDED) & (Face.gender == "unknown")),
}
_AGES = {"men": _age_sum("male"), "women": _age_sum("female")}


def _ages_differ(people: str) -> sa.ColumnElement[bool]:
    # Half a millionth of a year is rounded to the even side here and away from zero by some databases.
    stored, tolerance = sa.inspect(Task).columns[f"{people}_age_sum"], sa.inspect(Task).columns[f"{people}_with_age"]
    return sa.func.abs(stored - _AGES[people]) > tolerance


def _recount_progress(session: Session, tasks: Sequence[str]) -> None:
    _recount(session, tasks, sa.select(*_PROGRESS.values()).where(Image.task_id == sa.bindparam("task")), _PROGRESS)


def _recount_statistics(session: Session, tasks: Sequence[str]) -> None:
    columns = [*_STATISTICS.values(), *_AGES.values()]
    query = sa.select(*columns).select_from(Face).join(Image).where(Image.task_id == sa.bindparam("task"), Face.is_face)
    _recount(session, tasks, query, [*_STATISTICS, *(f"{people}_age_sum" for people in _AGES)])


def _recount(session: Session, tasks: Sequence[str], query: Query, names: Iterable[str]) -> None:
    for task_id in tasks:
        # The row is locked first: whoever saves a result changes it too, so nothing is counted twice or left out.
        task = session.get_one(Task, task_id, with_for_update=True)
        for name, value in zip(names, session.execute(query, {"task": task_id}).one(), strict=True):
            setattr(task, name, value)
        task.version += 1


def _end(session: Session, tasks: Sequence[str]) -> None:
    for task_id in tasks:
        task = session.get_one(Task, task_id, with_for_update=True)
        task.status, task.finished_at = "error" if task.failed else "completed", now()
        task.version += 1
        session.flush()
        announce(session, task_id)


def _queue_again(session: Session, images: Sequence[str]) -> None:
    chosen = Image.id.in_(images)
    _delete_jobs(session, session.scalars(sa.select(Job.id).where(Job.kind == KIND, Job.subject.in_(images))).all())
    queue.enqueue(session, KIND, sa.select(Image.id, Image.task_id, Image.position).where(chosen))


def _delete_jobs(session: Session, jobs: Sequence[int]) -> None:
    session.execute(sa.delete(Job).where(Job.id.in_(jobs)), execution_options={"synchronize_session": False})


def _delete_faces(session: Session, images: Sequence[str]) -> None:
    session.execute(sa.delete(Face).where(Face.image_id.in_(images)), execution_options={"synchronize_session": False})


_FACES = Check(
    key=Image.id,
    wrong=sa.select(Image.id, Image.task_id, Image.status).where(
        Image.status != "done", sa.exists().where(Face.image_id == Image.id)
    ),
    sentence="Image {id} of task {task_id} is {status}, but has faces.",
    mend=_delete_faces,
    mended="Removed the faces of image {id} of task {task_id}, which is {status}.",
)
_JOBS = Check(
    key=Job.id,
    wrong=sa.select(Job.id, Job.status, Job.subject, Job.task)
    .outerjoin(Image, Image.id == Job.subject)
    .outerjoin(Task, Task.id == Image.task_id)
    .where(
        Job.kind == KIND,
        Image.id.is_(None) | (Job.status.in_(_OPEN) & ((Image.status != "pending") | (Task.status != "processing"))),
    ),
    sentence="Job {id} is {status}, but image {subject} of task {task} does not wait for it, or is not there.",
    mend=_delete_jobs,
    mended="Removed job {id}: image {subject} of task {task} did not wait for it.",
)
_WITHOUT_JOBS = Check(
    key=Image.id,
    wrong=sa.select(Image.id, Image.task_id)
    .join(Task)
    .where(
        Task.status == "processing",
        Image.status == "pending",
        Image.id.not_in(sa.select(Job.subject).where(Job.kind == KIND, Job.status.in_(_OPEN))),
    ),
    sentence="Image {id} of task {task_id} is pending, and no job will process it.",
    mend=_queue_again,
    mended="Put image {id} of task {task_id} into the queue.",
)
_MISCOUNTED = Check(
    key=Task.id,
    wrong=sa.select(Task.id, Task.total, Task.done, Task.failed)
    .outerjoin(Image)
    .group_by(Task.id)
    .having(sa.or_(*(getattr(Task, name) != value for name, value in _PROGRESS.items()))),
    sentence="Task {id} counts {total} images, {done} done and {failed} failed, but a recount differs.",
    mend=_recount_progress,
    mended="Recounted the images of task {id}.",
)
_MISSTATED = Check(
    key=Task.id,
    wrong=sa.select(Task.id)
    .outerjoin(Image)
    .outerjoin(Face, (Face.image_id == Image.id) & Face.is_face)
    .group_by(Task.id)
    .having(
        sa.or_(
            *(getattr(Task, name) != value for name, value in _STATISTICS.items()),
            *(_ages_differ(name) for name in _AGES),
        )
    ),
    sentence="Task {id} has statistics that differ from a recount of its faces.",
    mend=_recount_statistics,
    mended="Recounted the faces of task {id}.",
)
_NOT_ENDED = Check(
    key=Task.id,
    wrong=sa.select(Task.id).where(Task.status == "processing", Task.done + Task.failed >= Task.total),
    sentence="Task {id} is processing, but all its images have ended.",
    mend=_end,
    mended="Ended task {id}.",
)
_ENDED_WRONG = Check(
    key=Task.id,
    wrong=sa.select(Task.id, Task.status).where(
        ((Task.status == "completed") & (Task.done != Task.total))
        | ((Task.status == "error") & ((Task.failed == 0) | (Task.done + Task.failed != Task.total)))
        | ((Task.status == "forming") & (Task.done + Task.failed > 0))
    ),
    sentence="Task {id} is {status}, which its images are not.",
)

INSPECTION = Inspection(
    checks=(_FACES, _JOBS, _WITHOUT_JOBS, _MISCOUNTED, _MISSTATED, _NOT_ENDED, _ENDED_WRONG),
    files=(
        Stored(
            key=Image.id,
            rows=sa.select(Image.id, Image.task_id),
            name=lambda row: image_key(row.task_id, row.id),
            sentence="Image {id} of task {task_id} has no file in the store: put it back from a backup.",
        ),
    ),
)
