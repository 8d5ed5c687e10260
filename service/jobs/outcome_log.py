"""What became of runs, for the log and the counters."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from service.jobs.operation import Run
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

Outcome = Literal["succeeded", "failed", "backed_off", "postponed", "interrupted", "lost", "cancelled"]
LEVELS: dict[str, int] = {"failed": logging.WARNING, "lost": logging.WARNING}
"""The levels of outcomes other than INFO."""


class Ended(NamedTuple):
    """A run that is over: how, with which error code, and after how many seconds of work."""

    run: Run
    outcome: Outcome
    error: str | None = None
    seconds: float = 0.0


class OutcomeLog:
    """Writes down ended runs, many at a time: a line each, in one record, and a count each, in one step an outcome."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def note_outage(self, kind: str, is_known: bool) -> None:
        """Show whether this process knows of an outage of what jobs of a kind need."""
        self._metrics.outages.labels(kind).set(is_known)

    def write(self, ended: Sequence[Ended]) -> None:
        """Write them down; to be called after the commit that ended them. What their calls came to is counted first."""
        self._metrics.buffer.flush()
        for (kind, outcome), number in Counter((one.run.kind, one.outcome) for one in ended).items():
            self._metrics.jobs.labels(kind, outcome).inc(number)
        for level in (logging.INFO, logging.WARNING):
            if log.isEnabledFor(level):
                lines = [_fields(one) for one in ended if LEVELS.get(one.outcome, logging.INFO) == level]
                logs.events(log, "job", lines, level)


def _fields(ended: Ended) -> logs.Fields:
    run = ended.run
    fields = {
        "kind": run.kind,
        "job": run.id,
        "task": run.task,
        "subject": run.subject,
        "attempt": run.attempt,
        "outcome": ended.outcome,
        "ms": round(ended.seconds * 1000, 1),
    }
    return fields | {"error": ended.error} if ended.error else fields
