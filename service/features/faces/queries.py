"""What clients ask about a task again and again: each answer is one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.features.faces import documents, rows
from service.features.faces.documents import Documents
from service.features.faces.job import waiting_for
from service.features.faces.operations import Services, unknown_task
from service.features.faces.representation import task_summary


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as of its version: the members of the answer, and those of its images that were asked for."""

    version: int
    members: dict[str, Any]
    images: Documents | None


def task_state(services: Services, task_id: str) -> tuple[int, str]:
    """Return a number that is another one after each change of the task, and the task's status; raise NotFound."""
    with services.database.connect() as connection:
        row = rows.read_state(connection, task_id)
    if not row:
        raise unknown_task()
    return row.version, row.status


def view_task(
    services: Services, task_id: str, is_known: Callable[[int], bool], *, since: int | None, images: bool
) -> TaskView | int:
    """Return the task, or its version alone if the client has that already; raise NotFound.

    With `since` the images are those that changed after that version, and the members tell which were removed.
    """
    with services.database.read() as session:
        connection = session.connection()
        row = rows.read_task(connection, task_id)
        if not row:
            raise unknown_task()
        if is_known(row.version):
            version: int = row.version
            return version
        members = task_summary(row, waiting_for(session) if row.status == "processing" else None)
        if since is not None:
            members |= {"version": row.version, "removed": rows.removed_since(connection, task_id, since)}
        return TaskView(row.version, members, _images(services, connection, row, since) if images else None)


def _images(services: Services, connection: sa.Connection, task: Any, since: int | None) -> Documents:
    if since is None:
        return services.documents.first_images(connection, task.id, task.version)
    return documents.read(connection, task.id, since=since)


def page_of_images(services: Services, task_id: str, limit: int, after: int, since: int) -> Documents:
    """Return a page of images in the order of upload, those that changed after a version; raise NotFound."""
    with services.database.connect() as connection:
        if not rows.read_state(connection, task_id):
            raise unknown_task()
        return documents.read(connection, task_id, since=since, after=after, limit=limit)
