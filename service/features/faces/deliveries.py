"""The deliveries of a task's webhooks: what became of each, and sending one again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import notify
from service.errors import NotFound
from service.features.faces.models import WebhookEvent
from service.features.faces.operations import Services, find_task
from service.features.faces.webhooks import KIND
from service.jobs import queue
from service.jobs.models import Job


def list_deliveries(
    services: Services, task_id: str, limit: int, before: tuple[str, ...] | None
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Return a page of a task's deliveries, newest first, and the place where the next page begins."""
    place = sa.tuple_(WebhookEvent.created_at, WebhookEvent.id)
    chosen = sa.select(WebhookEvent).where(WebhookEvent.task_id == task_id)
    if before:
        chosen = chosen.where(place < sa.tuple_(*map(sa.literal, before)))
    chosen = chosen.order_by(WebhookEvent.created_at.desc(), WebhookEvent.id.desc()).limit(limit + 1)
    with services.database.read() as session:
        find_task(session, task_id)
        events = session.scalars(chosen).all()
        due = _due(session, task_id, [event.id for event in events])
    last = events[limit - 1] if len(events) > limit else None
    return [_shown(event, due) for event in events[:limit]], (last.created_at, last.id) if last else None


def redeliver(services: Services, task_id: str, delivery_id: str) -> dict[str, Any]:
    """Send an event again at once, with its `webhook-id`; one that still waits for its next try does not wait."""
    with services.database.write() as session:
        services.database.lock(session, [task_id])
        find_task(session, task_id)
        event = session.get(WebhookEvent, delivery_id)
        if not event or event.task_id != task_id:
            raise NotFound("There is no such delivery of this task.", code="delivery_not_found")
        if event.status != "pending" or not _due(session, task_id, [delivery_id]):
            event.status = "pending"
            session.execute(sa.delete(Job).where(Job.kind == KIND, Job.subject == delivery_id))
            queue.enqueue(session, KIND, sa.select(sa.literal(event.id), sa.literal(task_id), sa.literal(0)))
        else:
            waiting = (Job.kind == KIND, Job.subject == delivery_id, Job.status == "queued")
            session.execute(sa.update(Job).where(*waiting).values(not_before=0.0))
            notify(session, KIND)
        session.flush()
        return _shown(event, _due(session, task_id, [delivery_id]))


def _due(session: Session, task_id: str, ids: Sequence[str]) -> dict[str, float]:
    """Return when those of a task's deliveries that are open are tried next, in seconds since 1970."""
    # SQLite would read all webhooks that wait, were the kind a condition too.
    jobs = sa.select(Job.subject, Job.not_before).where(
        Job.task == task_id, Job.subject.in_(ids), Job.status.in_(("queued", "running"))
    )
    return dict(iter(session.execute(jobs)))


def _shown(event: WebhookEvent, due: dict[str, float]) -> dict[str, Any]:
    next_try = due.get(event.id) if event.status == "pending" else None
    return {
        "id": event.id,
        "type": event.type,
        "status": event.status,
        "created_at": event.created_at or None,
        "attempts": event.attempts,
        "tried_at": event.tried_at,
        "answer": event.answer,
        "detail": event.detail,
        "next_try": None if next_try is None else _time(next_try),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
