"""Keeps runs away from what does not serve them: one probe goes for all processes, until it is served."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy.orm import Session

from service.jobs import outages
from service.jobs.claims import Claim, ClaimPolicy, Turn
from service.jobs.operation import Answered, Operation, Run, Unserved
from service.telemetry import logging as logs

log = logging.getLogger(__name__)


class OutageGate(ClaimPolicy):
    """What this process knows of outages: the rows as it read them last, and what its own runs met since.

    A job that fails again while others of its kind are served is a suspect: it waits for itself, and says nothing of
    the other side.
    """

    def __init__(self, kinds: Collection[str], observe: Callable[[str, bool], object]) -> None:
        """`observe` hears of a kind whether this process knows of an outage, whenever that changes."""
        self._kinds = kinds
        self._observe = observe
        self._open: Mapping[str, outages.Open] = {}
        self._shut: set[str] = set()
        self._pauses: dict[str, float] = {}
        self._served: dict[str, float] = {}
        self._probes: set[int] = set()

    # The dispatcher's thread.

    def read(self, session: Session) -> None:
        """Read the outages."""
        self._know({kind: outage for kind, outage in outages.open_outages(session).items() if kind in self._kinds})

    def _know(self, known: Mapping[str, outages.Open]) -> None:
        for kind in known.keys() ^ self._open.keys():
            self._observe(kind, kind in known)
        self._open = known

    def earliest(self, kind: str, due: float | None, now: float) -> float | None:
        """Return when a job of a kind that is due then may run."""
        outage = self._open.get(kind)
        return due if due is None or outage is None else max(due, outage.due_at(now))

    def grant(self, session: Session, kind: str, wanted: int, held: int, turn: Turn) -> int:
        """Return how many jobs may be claimed: in an outage the next probe, where it is this process's."""
        outage = self._open.get(kind)
        if outage is None or not wanted:
            return wanted
        return int(outages.begin_probe(session, outage, turn.now))

    def is_probing(self, kind: str) -> bool:
        """Return whether what is claimed now is a probe."""
        return kind in self._open

    def retain(self, runs: Sequence[Run], turn: Turn) -> Sequence[Run]:
        """Keep all, and remember the probes."""
        self._probes.update(run.id for run in runs if run.kind in self._open)
        return runs

    def committed(self, claimed: int, turn: Turn) -> None:
        """Let runs begin again where the rows say that an outage is over."""
        self._shut &= self._open.keys()

    def settle(self, session: Session, operation: Operation, finished: Sequence[Claim], now: float) -> bool:
        """Begin, prolong or end the outage that these runs of one kind show; return whether there is one now."""
        kind, is_changed = operation.kind, False
        unserved = [claim for claim in finished if self._says_away(claim)]
        is_served = any(_is_served(claim) for claim in finished)
        outage = self._open.get(kind)
        for claim in unserved:
            failure: Unserved = claim.outcome
            if outage:
                if claim.run.id in self._probes:
                    outages.forgive(session, outage, now)
                is_changed |= outages.go_on(session, outage, failure, now, is_probe=claim.run.id in self._probes)
            elif not is_served or failure.wait is not None:
                is_changed = outages.begin(session, kind, failure, now)
                if is_changed:
                    logs.event(log, "calls paused", logging.WARNING, kind=kind, reason=failure.detail)
                self.read(session)
                outage = self._open.get(kind)
        if is_served and outage and not outage.is_pause(now) and outages.end(session, kind, now):
            logs.event(log, "calls go on", kind=kind, seconds=round(now - outage.since))
            self._know({other: row for other, row in self._open.items() if other != kind})
            is_changed = True
        if is_changed:
            operation.outage_changed(session)
        return kind in self._open

    def failed_probes(self, finished: Sequence[Claim]) -> Mapping[str, Unserved]:
        """Return by kind why the probes among these were not served."""
        probes = [claim for claim in finished if claim.run.id in self._probes]
        return {claim.run.kind: claim.outcome for claim in probes if isinstance(claim.outcome, Unserved)}

    def forget(self, written: Sequence[Claim]) -> None:
        """Forget that these were probes: it is committed what became of them."""
        self._probes.difference_update(claim.run.id for claim in written)

    # Any thread.

    def _says_away(self, claim: Claim) -> bool:
        outcome = claim.outcome
        return isinstance(outcome, Unserved) and (outcome.wait is not None or not self.is_suspect(claim))

    def is_suspect(self, claim: Claim) -> bool:
        """Return whether it is likelier the job than the other side that a run was not served."""
        run = claim.run
        if run.unserved_since is None or run.id in self._probes:
            return False
        return time.monotonic() - self._served.get(run.kind, float("-inf")) < outages.LONGEST

    def may_begin(self, run: Run) -> bool:
        """Return whether a claimed run may begin now, by what the runs before it met."""
        return run.kind not in self._shut or run.id in self._probes

    def ended(self, claim: Claim) -> None:
        """Shut or open the gate at once, before the rows are written."""
        kind, outcome, now = claim.run.kind, claim.outcome, time.monotonic()
        if isinstance(outcome, Unserved):
            if outcome.wait is not None:
                self._pauses[kind] = now + outcome.wait
            if self._says_away(claim):
                self._shut.add(kind)
        elif _is_served(claim):
            self._served[kind] = now
            if now >= self._pauses.get(kind, 0.0):
                self._shut.discard(kind)


def _is_served(claim: Claim) -> bool:
    return isinstance(claim.outcome, Answered) or not isinstance(claim.outcome, Exception)
