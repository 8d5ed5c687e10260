"""The threads that work on claimed runs, and what they have finished. They touch no database."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from service.jobs.claims import Claim, ClaimPolicy
from service.jobs.operation import Cancelled, Failure, Operation, Postponed
from service.jobs.outcome_journal import OutcomeJournal

SLOW = 1.0
"""Work of more seconds than this is not claimed ahead, so that no other process idles meanwhile."""
AHEAD = 0.05
"""Seconds of quick work that are claimed ahead, beside two transactions, so that no thread waits for the database."""

log = logging.getLogger(__name__)


class WorkerPool:
    """What this process has claimed, from the claim until its outcome is written."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        policies: Sequence[ClaimPolicy],
        workers: int,
        journal: OutcomeJournal,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when results are to be written or more is to be claimed."""
        self.workers = workers
        self.claims: dict[int, Claim] = {}
        self.finished: list[Claim] = []
        self.begun = 0
        self.stopping = False
        self.lock = threading.Lock()
        self._operations = operations
        self._policies = policies
        self._journal = journal
        self._wake = wake
        self._seconds = AHEAD
        self._storing_seconds = 0.01

    def start(self) -> None:
        """Make the threads; call it after the fork."""
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="worker")

    def shut_down(self) -> None:
        """Begin nothing more; wait for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def under_way(self) -> int:
        """How many runs have not finished, those not begun among them."""
        return len(self.claims) - len(self.finished)

    def ahead(self) -> int:
        """Return how many runs may be claimed ahead of need, by the time that the last ones took."""
        if self._seconds > SLOW:
            return 0
        seconds = AHEAD + 2 * self._storing_seconds
        return min(16 * self.workers, max(self.workers, int(self.workers * seconds / max(self._seconds, 1e-4))))

    def has_enough(self) -> bool:
        """Return whether as much waits to begin as keeps all threads busy for a while."""
        return self.under_way - self.begun > self.ahead() // 2

    # The dispatcher's thread.

    def note_storing(self, seconds: float) -> None:
        """Note how long it took to store results."""
        self._storing_seconds += 0.1 * (seconds - self._storing_seconds)

    def exchange(self, written: Collection[Claim], claimed: Collection[Claim]) -> None:
        """After the commit: forget what is written, and begin what was claimed."""
        self._journal.forget(written)
        with self.lock:
            self._forget(written)
            del self.finished[: len(written)]
            self.claims.update({claim.run.id: claim for claim in claimed})
            self._begin(tuple(claimed))

    def running(self) -> list[Claim]:
        """Return the claims that have not finished."""
        with self.lock:
            ending = {claim.run.id for claim in self.finished}
            return [claim for claim in self.claims.values() if claim.run.id not in ending]

    def withdraw(self) -> tuple[list[Claim], list[Claim]]:
        """Let nothing begin that has not begun; return that, and what runs."""
        with self.lock:
            waiting = [claim for claim in self.claims.values() if not claim.future or claim.future.cancel()]
            return waiting, [claim for claim in self.claims.values() if claim not in waiting + self.finished]

    def forget(self, claims: Collection[Claim]) -> None:
        """Forget what was given back."""
        with self.lock:
            self._forget(claims)

    def _forget(self, claims: Collection[Claim]) -> None:
        for claim in claims:
            self.claims.pop(claim.run.id, None)

    # Any thread.

    def cancel(self, which: Callable[[Claim], bool]) -> None:
        """Flag the runs of which this is true."""
        with self.lock:
            for claim in self.claims.values():
                claim.cancelled |= which(claim)

    def _begin(self, claimed: Sequence[Claim] = ()) -> None:
        if self.stopping:
            return  # what has not begun is given back
        for policy in self._policies:
            claimed = policy.admit(claimed)
        for claim in claimed:
            claim.future = self._threads.submit(self._work, claim)

    # The pool's threads.

    def _work(self, claim: Claim) -> None:
        begin = time.perf_counter()
        operation = self._operations[claim.run.kind]
        with self.lock:
            self.begun += 1
        try:
            # A process that was stopped for longer than its lease must not begin what others have taken over.
            if claim.is_void():
                raise Cancelled
            if self.stopping or not all(policy.may_begin(claim.run) for policy in self._policies):
                raise Postponed
            claim.outcome = operation.work(claim.loaded, claim.is_void)
        except (Failure, Postponed, Cancelled) as outcome:
            claim.outcome = outcome
        except Exception:
            run = claim.run
            fields = {"kind": run.kind, "job": run.id, "task": run.task, "attempt": run.attempt}
            log.exception("job broke", extra={"lines": (fields,)})
            text = "The processing of this file broke down here."
            claim.outcome = Failure(operation.failure_code, text, attempts=2)
        self._finish(claim, time.perf_counter() - begin)

    def _finish(self, claim: Claim, seconds: float) -> None:
        claim.seconds = seconds
        self._journal.add(claim)
        with self.lock:
            self.begun -= 1
            self.finished.append(claim)
            for policy in self._policies:
                policy.ended(claim)
            self._begin()
            if not isinstance(claim.outcome, Postponed):
                self._seconds += 0.1 * (seconds - self._seconds)
            # While enough is claimed ahead, results gather for the next look; one transaction writes them all.
            if not self.has_enough():
                self._wake()
