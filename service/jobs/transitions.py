"""What becomes of runs: saved, tried again after a while, failed, lost with their process."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from service.jobs import models, outages
from service.jobs.claims import Claim
from service.jobs.executors import family_of
from service.jobs.models import Lease
from service.jobs.operation import Failure, Operation, Postponed, Run, Unanswered, Unserved, back_off
from service.jobs.outage_gate import OutageGate
from service.jobs.outcome_log import Ended

LOSSES = 4
"""So many dead runs that others outlived fail a job: it may be what kills the worker. The last two it runs alone."""
ALONE = 2
"""After so many it runs alone."""


def save(
    session: Session, operations: Mapping[str, Operation], finished: Sequence[Claim], now: float, gate: OutageGate
) -> list[Ended]:
    """Write what has finished, and tell what became of each; a run whose row is not ours any more is cancelled."""
    told: dict[int, Ended] = {}
    for kind, operation in operations.items():
        of_kind = [claim for claim in finished if claim.run.kind == kind]
        if not of_kind:
            continue
        done = [claim for claim in of_kind if not isinstance(claim.outcome, Exception)]
        ours = models.finish(session, [claim.run for claim in done])
        saved = [claim for claim in done if claim.run.id in ours]
        if saved:
            operation.save(session, [(claim.run, claim.outcome) for claim in saved])
        told |= {claim.run.id: Ended(claim.run, "succeeded", None, claim.seconds) for claim in saved}
        told |= _save_failures(session, operation, of_kind, now, gate)
        dropped = [claim for claim in of_kind if not (claim.run.id in told or isinstance(claim.outcome, Postponed))]
        if dropped:
            operation.undo(session, [(claim.run, claim.loaded) for claim in dropped])
    postponed = [claim for claim in finished if isinstance(claim.outcome, Postponed)]
    if postponed:
        given = models.give_back(session, [claim.run for claim in postponed], not_before=now)
        told |= {claim.run.id: Ended(claim.run, "postponed") for claim in postponed if claim.run.id in given}
    return [told.get(claim.run.id) or Ended(claim.run, "cancelled", None, claim.seconds) for claim in finished]


def _save_failures(
    session: Session, operation: Operation, finished: Sequence[Claim], now: float, gate: OutageGate
) -> dict[int, Ended]:
    told: dict[int, Ended] = {}
    again, final = [], []
    failed_probe = gate.failed_probes(finished).get(operation.kind)
    is_away = gate.settle(session, operation, finished, now)
    since = outages.unserved_since(session, [claim.run.id for claim in finished if isinstance(claim.outcome, Unserved)])
    for claim in finished:
        run, failure = claim.run, claim.outcome
        if not isinstance(failure, Failure):
            continue
        waited = max(0.0, now - since.get(run.id, now))
        wait = _seconds_until_again(failure, run.attempt, waited, operation.patience)
        is_held = is_away and isinstance(failure, Unserved) and not gate.is_suspect(claim)
        if wait is None:
            failure = failure.given_up(operation.patience) if isinstance(failure, Unserved) else failure
            if models.fail(session, run, failure.code):
                final.append((run, failure))
                told[run.id] = Ended(run, "failed", failure.code, claim.seconds)
        elif _queue_again(session, run, failure, now if is_held else now + wait, now - waited):
            again.append((run, failure))
            told[run.id] = Ended(run, "backed_off", failure.code, claim.seconds)
    if failed_probe:
        overdue = outages.give_up(session, operation.kind, now - operation.patience)
        final += [(run, failed_probe.given_up(operation.patience)) for run in overdue]
        told |= {run.id: Ended(run, "failed", "upstream_unavailable") for run in overdue}
    if again:
        operation.postpone(session, again)
    if final:
        operation.fail(session, final)
        outages.forget_idle(session)
    return told


def _seconds_until_again(failure: Failure, attempt: int, waited: float, patience: float) -> float | None:
    """Return how long a failed job is put off, None for ever; `waited` is the seconds since it was not served first."""
    if isinstance(failure, Unserved):
        return outages.back_off(waited) if waited < patience else None
    if attempt >= failure.attempts:
        return None
    return back_off(attempt) if failure.wait is None else failure.wait


def _queue_again(session: Session, run: Run, failure: Failure, due: float, since: float) -> bool:
    if isinstance(failure, Unserved):
        return models.wait(session, run, not_before=due, code=failure.code, since=since)
    return models.requeue(session, run, not_before=due, code=failure.code)


def recover(
    session: Session, operations: Mapping[str, Operation], dead: Sequence[Lease], now: float, owner: str = ""
) -> tuple[list[Run], list[Run]]:
    """Give jobs whose runs died back, and fail those that lost too many; return the runs of both.

    `owner` is the process that does it: where one of its family died it counts as a loss.
    """
    family = family_of(owner) if owner else ""
    again, lost = models.recover(session, dead, now=now, losses=LOSSES, owner=owner, family=family)
    text = f"The server process died {LOSSES} times while it worked on this file."
    for kind, operation in operations.items():
        failures = [(run, Unanswered("worker_lost", text)) for run in lost if run.kind == kind]
        if failures:
            operation.fail(session, failures)
    return again, lost
