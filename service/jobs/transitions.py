"""What becomes of runs: saved, tried again after a while, failed, lost with their process."""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.jobs import models
from service.jobs.operation import Failure, Operation, Postponed, Run, Undoing
from service.jobs.outcome_log import Ended

LOSSES = 3
"""So many dead runs fail a job: it may be what kills the worker. The last of them it runs alone."""


@dataclass(eq=False, slots=True)
class Held:
    """A run that this process has claimed and not yet written back."""

    run: Run
    loaded: Any
    lease_expires_at: float
    future: Future[None] | None = None
    outcome: Any = None
    seconds: float = 0.0
    cancelled: bool = False


def save(
    session: Session, operations: Mapping[str, Operation], finished: Sequence[Held], now: float
) -> tuple[list[Ended], float]:
    """Write what has finished; tell what became of each, and when the first of what runs again is due.

    A run whose row is not ours any more is cancelled.
    """
    told: dict[int, Ended] = {}
    next_due = float("inf")
    for kind, operation in operations.items():
        of_kind = [held for held in finished if held.run.kind == kind]
        done = [held for held in of_kind if not isinstance(held.outcome, Exception)]
        ours = models.finish(session, [held.run for held in done])
        saved = [held for held in done if held.run.id in ours]
        if saved:
            operation.save(session, [(held.run, held.outcome) for held in saved])
        told |= {held.run.id: Ended(held.run, "succeeded", None, held.seconds) for held in saved}
        failures, due = _save_failures(session, operation, of_kind, now)
        told |= failures
        next_due = min(next_due, due)
        dropped = [held for held in of_kind if not (held.run.id in told or isinstance(held.outcome, Postponed))]
        if dropped and isinstance(operation, Undoing):
            operation.undo(session, [(held.run, held.loaded) for held in dropped])
    for held in finished:
        if isinstance(held.outcome, Postponed):
            due = now + held.outcome.wait
            if models.give_back(session, [held.run], not_before=due):
                told[held.run.id] = Ended(held.run, "postponed", None, held.seconds)
            next_due = min(next_due, due)
    ended = [told.get(held.run.id) or Ended(held.run, "cancelled", None, held.seconds) for held in finished]
    return ended, next_due


def _save_failures(
    session: Session, operation: Operation, finished: Sequence[Held], now: float
) -> tuple[dict[int, Ended], float]:
    told: dict[int, Ended] = {}
    next_due = float("inf")
    again, final = [], []
    for held in finished:
        run, failure = held.run, held.outcome
        if not isinstance(failure, Failure):
            continue
        if run.attempt < failure.attempts:
            due = now + (back_off(run.attempt) if failure.wait is None else failure.wait)
            if models.requeue(session, run, not_before=due, code=failure.code):
                again.append((run, failure))
                told[run.id] = Ended(run, "backed_off", failure.code, held.seconds)
                next_due = min(next_due, due)
        elif models.fail(session, run, failure.code):
            final.append((run, failure))
            told[run.id] = Ended(run, "failed", failure.code, held.seconds)
    if again:
        operation.postpone(session, again)
    if final:
        operation.fail(session, final)
    return told, next_due


def back_off(attempt: int) -> float:
    """Return the seconds to wait after the n-th run: 0.5, 1, 2, 4 … at most 60, less up to half by chance."""
    longest: float = min(60.0, 0.5 * 2 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load and keeps no secret


def recover(session: Session, operations: Mapping[str, Operation], now: float) -> tuple[list[Run], list[Run]]:
    """Give jobs whose runs died back, and fail those that lost too many; return the runs of both."""
    again, lost = models.recover(session, operations.keys(), now=now, losses=LOSSES)
    text = f"The server process died {LOSSES} times while it worked on this file."
    for kind, operation in operations.items():
        failures = [(run, Failure("worker_lost", text)) for run in lost if run.kind == kind]
        if failures:
            operation.fail(session, failures)
    return again, lost


def is_suspect(run: Run) -> bool:
    """Tell whether one more loss would fail the job."""
    return run.losses >= LOSSES - 1
