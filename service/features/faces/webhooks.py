"""Webhooks: POST the end of a task to the address that the client named, signed as Standard Webhooks say."""

import hashlib
import logging
import random
import re
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

from service.db.database import now
from service.features.faces.models import Task, WebhookEvent
from service.features.faces.representation import task_summary
from service.http import outbound
from service.jobs import queue
from service.jobs.operation import Cancelled, Failure, Operation, Run
from service.telemetry import logging as logs

KIND = "webhook"
WAITS = (1, 5, 30, 300, 1_800, 7_200, 18_000, 36_000, *(39_200,) * 5)
"""Seconds after the first, second … attempt; with the last one they make fourteen attempts in three days."""
_HEADERS = {"User-Agent": "media-batch-service", "Content-Type": "application/json"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt at delivering one event."""

    event: str
    task: str
    attempt: int
    url: str
    body: str


def announce(session: Session, task_id: str) -> None:
    """Write the event of the task's end and queue its delivery, in the transaction of the end: both or neither."""
    task = session.get(Task, task_id, populate_existing=True)
    if not task or not task.webhook_url:
        return
    content = {"type": f"task.{task.status}", "timestamp": task.finished_at, "data": task_summary(task)}
    event = WebhookEvent(
        id=f"msg_{uuid.uuid4()}", task_id=task_id, body=orjson.dumps(content).decode(), created_at=now()
    )
    session.add(event)
    session.flush()
    queue.enqueue(session, KIND, sa.select(sa.literal(event.id), sa.literal(task_id), sa.literal(0)))


class Undelivered(Failure):
    """The receiver did not take an event; `answer` is the status that it answered with, if it did."""

    def __init__(self, code: str, detail: str, answer: int | None = None, **again: Any) -> None:
        super().__init__(code, detail, **again)
        self.answer = answer


@cache
def derived_secret(password: str) -> str:
    """Return the secret that signs where none is set.

    It is slow to make, on purpose: receivers know it, and must not find the password by trying.
    """
    key = hashlib.scrypt(password.encode(), salt=b"webhooks", n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    return f"whsec_{b64encode(key).decode()}"


class WebhookDelivery(Operation):
    """load → work → save for webhooks. An attempt may be made twice if a process dies; its `webhook-id` is the same."""

    kind = KIND
    longest_wait = 1.1 * WAITS[-1]

    def __init__(self, secret: Callable[[], str], *, private_allowed: bool) -> None:
        self._secret = secret
        self._private_allowed = private_allowed

    def load(self, session: Session, runs: Sequence[Run]) -> list[Delivery | None]:
        """Return the events with the addresses of their tasks."""
        chosen = WebhookEvent.id.in_([run.subject for run in runs])
        rows = session.execute(sa.select(WebhookEvent.id, Task.webhook_url, WebhookEvent.body).join(Task).where(chosen))
        found = {event: (url or "", body) for event, url, body in rows}
        return [
            Delivery(run.subject, run.task, run.attempt, *found[run.subject]) if run.subject in found else None
            for run in runs
        ]

    def work(self, delivery: Delivery | None, cancelled: Callable[[], bool]) -> int:
        """Post the event and return the answer's status; 2xx is success, 410 the end, all else is tried again."""
        if not delivery or cancelled():
            raise Cancelled
        begin = time.perf_counter()
        try:
            answer = self.post(delivery.url, delivery.event, delivery.body)
        except outbound.Refused as refusal:
            raise Undelivered("webhook_refused", str(refusal)) from refusal
        except outbound.Unreachable as error:
            raise Undelivered("webhook_failed", str(error), **_again(delivery, None)) from error
        if 200 <= answer.status < 300:
            took = round(1000 * (time.perf_counter() - begin))
            where: dict[str, Any] = {"event": delivery.event, "task": delivery.task, "attempt": delivery.attempt}
            logs.event(log, "webhook delivered", **where, status=answer.status, ms=took)
            return answer.status
        text = f"{urlsplit(delivery.url).hostname} answered {answer.status}."
        if answer.status == 410:
            raise Undelivered("webhook_gone", text, answer.status)
        raise Undelivered("webhook_failed", text, answer.status, **_again(delivery, answer.retry_after))

    def post(self, url: str, event: str, body: str) -> outbound.Answer:
        """Post an event, signed; raises what `outbound.post` does."""
        moment = datetime.now(UTC)
        headers = _HEADERS | {
            "webhook-id": event,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(self._secret()).sign(event, moment, body),
        }
        return outbound.post(url, body.encode(), headers, private_allowed=self._private_allowed)

    def save(self, session: Session, results: Sequence[tuple[Run, int]]) -> None:
        """Note that the events were delivered."""
        for run, status in results:
            _note(session, run, status="delivered", answer=status, detail=None)

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Note and log why."""
        for run, failure in failures:
            _note(session, run, status="pending", answer=_answer(failure), detail=failure.detail)
            fields = {**_where(run), "again_in": round(failure.wait or 0), "detail": failure.detail}
            logs.event(log, "webhook failed", logging.WARNING, **fields)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Note and log why."""
        for run, failure in failures:
            _note(session, run, status="failed", answer=_answer(failure), detail=failure.detail)
            fields = {**_where(run), "code": failure.code, "detail": failure.detail}
            logs.event(log, "webhook given up", logging.ERROR, **fields)


def _answer(failure: Failure) -> int | None:
    return failure.answer if isinstance(failure, Undelivered) else None


def _note(session: Session, run: Run, *, status: str, answer: int | None, detail: str | None) -> None:
    """Write down what became of an attempt."""
    noted = {"status": status, "answer": answer, "detail": detail, "tried_at": now()}
    counted = WebhookEvent.attempts + 1
    session.execute(sa.update(WebhookEvent).where(WebhookEvent.id == run.subject).values(**noted, attempts=counted))


def _where(run: Run) -> dict[str, Any]:
    return {"event": run.subject, "task": run.task, "attempt": run.attempt}


def _again(delivery: Delivery, retry_after: str | None) -> dict[str, Any]:
    """Return what a failure says of the next attempt; a receiver may ask for a longer wait than ours."""
    seconds = re.fullmatch("[0-9]{1,9}", retry_after or "")
    asked = int(seconds[0]) if seconds else 0
    ours = WAITS[min(delivery.attempt, len(WAITS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - it spreads load
    return {"attempts": len(WAITS) + 1, "wait": max(ours, min(asked, WAITS[-1]))}
