"""Jobs run by threads of this process: the dispatcher owns the database, and its pool does the work."""

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from service.db.database import ANY, Database, News, first_line, is_away
from service.jobs import models, outages, transitions
from service.jobs.claims import Claim, ClaimPolicy, Turn
from service.jobs.executors import GRACE, owner_name
from service.jobs.leases import LeaseWatch
from service.jobs.operation import Failure, Operation, Run
from service.jobs.outage_gate import OutageGate
from service.jobs.outcome_journal import OutcomeJournal
from service.jobs.outcome_log import Ended, OutcomeLog
from service.jobs.pool import WorkerPool
from service.jobs.suspect_isolation import SuspectIsolation
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

AWAY = "the database is away or busy; the dispatcher tries again"
TURN_SECONDS = 0.01
"""The pause between two turns while something runs or waits for room."""
GATHER_SECONDS = 0.03
"""The same while enough is claimed: results gather for so long, since a turn costs as much as many of them."""
LOOK_SECONDS = 15.0
"""Without news the jobs are looked at so often: for lost news, and since the clock may have been set."""
WATCH_SECONDS = 2.0
"""Others' leases are looked at so often while there are any, or jobs of which others may have some."""
CANCEL_POLL = 0.2
"""Seconds within which a deletion in another process is noticed."""


class Dispatcher:
    """One thread owns the database; a pool of threads does the work and touches none."""

    def __init__(
        self,
        database: Database,
        operations: Sequence[Operation],
        outcome_log: OutcomeLog,
        journal: OutcomeJournal,
        *,
        workers: int,
        lease: float = 30.0,
        policies: Sequence[ClaimPolicy] = (),
    ) -> None:
        """`policies` bound what is claimed, beside the isolation of suspects; they are this dispatcher's own."""
        self._database = database
        self._outcome_log = outcome_log
        self._journal = journal
        self._operations: Mapping[str, Operation] = {operation.kind: operation for operation in operations}
        self._lease = lease
        self._owner = ""
        self._watch = LeaseWatch(lease)
        self._gate = OutageGate(self._operations.keys(), outcome_log.note_outage)
        self._policies = (*policies, self._gate, SuspectIsolation())
        self._locks = [name for policy in self._policies for name in policy.locks]
        self._news = threading.Event()
        self._pool = WorkerPool(self._operations, self._policies, workers, journal, self._news.set)
        self._look = True
        self._next_look = float("inf")
        self._renewed = self._recover_at = self._asked = 0.0
        self._troubles = 0
        self._give_up_at = float("inf")
        self._thread: threading.Thread | None = None

    # What other threads call.

    def start(self) -> None:
        """Start the dispatcher's thread and the pool."""
        # It must not wait 5 ms, the default, whenever a request or a worker computes.
        sys.setswitchinterval(0.001)
        self._owner = owner_name(os.getpid())
        self._journal.open(self._owner)
        self._pool.start()
        self._database.listen(self._hear)
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._thread.start()

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of jobs that are run here."""
        return tuple(self._operations)

    def _hear(self, news: News) -> None:
        if ANY in news:
            self._recover_at = 0.0
        elif news.keys().isdisjoint(self._operations):
            return
        self.wake()

    def wake(self) -> None:
        """Look for jobs at once."""
        self._look = True
        self._news.set()

    def cancel(self, task: str, kind: str | None = None) -> None:
        """Flag every run of the task that is here, of one kind or all."""
        self._pool.cancel(lambda claim: claim.run.task == task and kind in (None, claim.run.kind))

    def begin_stop(self) -> None:
        """Claim nothing more; the dispatcher gives back what has not begun."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + GRACE)
        self._pool.stopping = True
        self._news.set()

    def stop(self) -> None:
        """Wait for what runs, but no longer than the time of grace that `begin_stop` began."""
        self.begin_stop()
        if self._thread:
            self._thread.join(max(0.0, self._give_up_at - time.monotonic()) + 5)
            self._pool.shut_down()
            self._journal.close()

    def working(self) -> bool:
        """Return whether the dispatcher lives."""
        return self._thread is not None and self._thread.is_alive() and not self._pool.stopping

    def is_busy(self) -> bool:
        """Return whether a run is under way, if only one that was given up."""
        return self._pool.begun > 0

    def check(self) -> None:
        """Raise an error if the dispatcher does not live."""
        if not self.working():
            raise RuntimeError("the dispatcher does not run")

    # The dispatcher's thread.

    def _dispatch(self) -> None:
        while not (self._pool.stopping and not self._pool.claims):
            self._news.wait(self._pause())
            self._news.clear()
            try:
                self._take_turn()
                if self._pool.stopping:
                    self._wind_up()
                self._troubles = 0
            except Exception as error:
                # Nothing is forgotten: what has finished stays in the pool, and rows change by whole transactions.
                self._look = True
                if isinstance(error, SQLAlchemyError) and is_away(error):
                    logs.event(log, AWAY, logging.WARNING, said=first_line(error))
                else:
                    log.exception("the dispatcher failed; it tries again")
                    self._isolate(error)
                time.sleep(0.5)
        self._give_up_shares()

    def _pause(self) -> float:
        """Return the seconds until the next turn, where no news comes before."""
        if self._pool.has_enough():
            return GATHER_SECONDS
        if self._pool.claims or self._is_looking():
            return TURN_SECONDS
        return max(TURN_SECONDS, min(self._next_look, self._recover_at) - time.monotonic())

    def _is_looking(self) -> bool:
        """Return whether jobs are to be claimed as soon as the policies allow it."""
        return self._look

    def _isolate(self, error: Exception) -> None:
        """Keep one result that cannot be saved from blocking all others: save singly, and fail the one."""
        if isinstance(error, OperationalError):
            return  # no result's fault either: a full disk, say
        self._troubles += 1
        if self._troubles > 2 and self._pool.finished:
            first = self._pool.finished[0]
            code = self._operations[first.run.kind].failure_code
            first.outcome = Failure(code, "The result of this file could not be stored.")

    def _take_turn(self) -> None:
        """Write what has finished, renew, notice what was cancelled, recover, claim: one transaction for all."""
        pool, now, monotonic = self._pool, time.time(), time.monotonic()
        turn = Turn(self._owner, now, monotonic, now + self._lease, pool.ahead(), pool.claims.values(), pool.under_way)
        finished = pool.finished[: 1 if self._troubles else None]
        renewing = bool(pool.claims) and monotonic - self._renewed >= self._lease / 3
        dead = self._dead(monotonic)
        wanted = self._wanted(turn)
        overdue = self._overdue_tasks(finished, now)
        if not (finished or renewing or dead) and wanted:
            wanted = self._due(wanted, turn)
        claimed: list[Claim] = []
        ended: list[Ended] = []
        if finished or renewing or dead or wanted:
            with self._database.write() as session:
                self._lock_tasks(
                    session, pool.claims.values() if renewing else finished, overdue.union(lease.task for lease in dead)
                )
                self._gate.read(session)
                ended = transitions.save(session, self._operations, finished, now, self._gate)
                renewed = self._renew(session, turn) if renewing else {}
                if dead:
                    ended += self._recover(session, dead, now)
                claimed = self._claim(session, wanted, finished, turn)
            pool.note_storing(time.monotonic() - monotonic)
            with pool.lock:
                for policy in self._policies:
                    policy.committed(len(claimed), turn)
            if renewing:
                self._extend(renewed, turn)
        elif pool.claims and monotonic - self._asked >= CANCEL_POLL:
            self._asked = monotonic
            with self._database.read() as session:
                alive = models.alive(session, [claim.run for claim in pool.claims.values()])
            pool.cancel(lambda claim: claim.run.id not in alive)
        pool.exchange(finished, claimed)
        self._gate.forget(finished)
        if ended:
            self._outcome_log.write(ended)

    def _dead(self, monotonic: float) -> Sequence[models.Lease]:
        """Return the leases of dead processes, at most as often as is worth it."""
        watch_at = monotonic + min(WATCH_SECONDS, self._lease / 10)
        if self._is_looking():
            self._recover_at = min(self._recover_at, watch_at)
        if monotonic < self._recover_at:
            return ()
        self._look = True
        self._recover_at = monotonic + LOOK_SECONDS  # before the question, since news may come meanwhile
        left = self._journal.left()  # before it too: who is dead by now claims nothing more
        with self._database.read() as session:
            leases = models.leases_of_others(session, self._operations.keys(), self._owner)
        self._journal.sweep(left, leases)
        if leases:
            self._recover_at = min(self._recover_at, watch_at)
        return self._watch.dead(leases, monotonic)

    def _overdue_tasks(self, finished: Sequence[Claim], now: float) -> set[str]:
        """Return the tasks of which jobs have waited too long by now, where a probe has just failed."""
        failures = self._gate.failed_probes(finished)
        if not failures:
            return set()
        with self._database.read() as session:
            late = {kind: now - self._operations[kind].patience for kind in failures}
            return {task for kind, before in late.items() for task in outages.overdue_tasks(session, kind, before)}

    def _lock_tasks(self, session: Session, claims: Iterable[Claim], more: Iterable[str]) -> None:
        """Keep others from the tasks whose jobs this turn changes, and from what the policies share.

        A claim takes what is free and needs no task.
        """
        self._database.lock(session, chain((claim.run.task for claim in claims), more, self._locks))

    def _wanted(self, turn: Turn) -> Mapping[str, int]:
        """Return how many jobs of each kind could be claimed."""
        self._look |= turn.monotonic >= self._next_look
        if self._pool.stopping or not self._look:
            return {}
        free = self._pool.workers + turn.ahead - turn.under_way
        if free <= (turn.ahead // 2 if turn.claims else 0):
            return {}
        wanted: Mapping[str, int] = dict.fromkeys(self._operations, free)
        for policy in self._policies:
            wanted = policy.narrow(wanted, turn)
        return {kind: count for kind, count in wanted.items() if count > 0}

    def _latest(self, kind: str, now: float) -> float:
        """Return the latest time to which a job can be put off now."""
        return now + self._operations[kind].longest_wait + models.SLACK

    def latest(self, now: float) -> dict[str, float]:
        """Return the kinds of jobs that are run here, with the latest time to which each can be put off now."""
        return {kind: self._latest(kind, now) for kind in self._operations}

    def _due(self, wanted: Mapping[str, int], turn: Turn) -> Mapping[str, int]:
        """Keep the kinds of which a job is due; remember when the next one will be."""
        self._look, self._next_look = False, float("inf")  # before the question, since news may come meanwhile
        with self._database.read() as session:
            exhausted = {kind for policy in self._policies for kind in policy.exhausted(session, wanted, turn)}
            self._gate.read(session)
            latest = {kind: self._latest(kind, turn.now) for kind in wanted}
            queued = models.next_due(session, latest, now=turn.now)
        due = {kind: self._gate.earliest(kind, moment, turn.now) for kind, moment in queued.items()}
        ready = {kind for kind, moment in due.items() if moment is not None and moment <= turn.now}
        kept = {kind: count for kind, count in wanted.items() if kind in ready - exhausted}
        if kept:
            self._look = True
            return kept
        first = min((moment for moment in due.values() if moment is not None), default=float("inf"))
        self._next_look = turn.monotonic + max(0.0, first - turn.now)
        if not ready:
            for policy in self._policies:
                policy.none_due()
        return kept

    def _claim(self, session: Session, wanted: Mapping[str, int], finished: Sequence[Claim], turn: Turn) -> list[Claim]:
        ending = set(finished)
        held = Counter(claim.run.kind for claim in turn.claims if claim not in ending)
        runs: list[Run] = []
        for kind in self._operations:
            count = wanted.get(kind, 0)
            for policy in self._policies:
                count = policy.grant(session, kind, count, held[kind], turn)
            if count:
                take = models.claim_probe if self._gate.is_probing(kind) else models.claim
                times = {"now": turn.now, "latest": self._latest(kind, turn.now), "until": turn.lease_expires_at}
                runs += take(session, kind, count, owner=self._owner, **times)
        kept = self._retained(session, runs, turn)
        claimed: list[Claim] = []
        for kind, operation in self._operations.items():
            if ours := [run for run in kept if run.kind == kind]:
                loaded = operation.load(session, ours)
                claimed += [Claim(*pair, turn.monotonic + self._lease) for pair in zip(ours, loaded, strict=True)]
        held.update(run.kind for run in kept)
        for policy in self._policies:
            policy.record(session, held, turn)
        return claimed

    def _retained(self, session: Session, runs: Sequence[Run], turn: Turn) -> Sequence[Run]:
        """Give back what a policy does not keep, and look for it again."""
        kept = runs
        for policy in self._policies:
            kept = policy.retain(kept, turn)
        if len(kept) < len(runs):
            ours = {run.id for run in kept}
            models.give_back(session, [run for run in runs if run.id not in ours], not_before=turn.now)
        return kept

    def _renew(self, session: Session, turn: Turn) -> dict[Claim, bool]:
        """Extend the leases of what runs; return for each run whether it is still ours."""
        running = self._pool.running()
        ours = models.renew(session, [claim.run for claim in running], until=turn.lease_expires_at)
        return {claim: claim.run.id in ours for claim in running}

    def _extend(self, renewed: Mapping[Claim, bool], turn: Turn) -> None:
        """After the commit: what is ours may go on, the rest stops."""
        for claim, is_ours in renewed.items():
            claim.cancelled |= not is_ours
            claim.lease_ends = turn.monotonic + self._lease
        self._renewed = turn.monotonic

    def _recover(self, session: Session, dead: Sequence[models.Lease], now: float) -> list[Ended]:
        """Save what dead runs came to that their processes could not write down any more, and run the others again."""
        answers = [] if self._troubles else self._journal.answers(dead)
        ours = models.alive(session, [claim.run for claim in answers])
        answered = [claim for claim in answers if claim.run.id in ours]
        saved = transitions.save(session, self._operations, answered, now, self._gate)
        again, lost = transitions.recover(session, self._operations, dead, now, self._owner)
        return [*saved, *(Ended(run, "lost") for run in again), *(Ended(run, "failed", "worker_lost") for run in lost)]

    def _wind_up(self) -> None:
        """While stopping: give back what has not begun; past the time, also what still runs."""
        waiting, running = self._pool.withdraw()
        late = running if time.monotonic() >= self._give_up_at else []
        if not (waiting or late):
            return
        for claim in late:
            claim.cancelled = True
        now = time.time()
        with self._database.write() as session:
            self._lock_tasks(session, waiting + late, ())
            models.give_back(session, [claim.run for claim in waiting + late], not_before=now)
        self._pool.forget(waiting + late)
        self._outcome_log.write([Ended(claim.run, "interrupted") for claim in late])

    def _give_up_shares(self) -> None:
        """Let others have this process's shares at once."""
        if not self._locks:
            return
        try:
            with self._database.write() as session:
                models.give_up_shares(session, self._owner)
        except SQLAlchemyError as error:
            message = "the shares of this process run out with their leases"
            logs.event(log, message, logging.WARNING, said=first_line(error))
