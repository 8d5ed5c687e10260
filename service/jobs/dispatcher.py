"""Jobs run by threads of this process: the dispatcher and its pool."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from service.db.database import Database, first_line, is_away
from service.jobs import models
from service.jobs import transitions as outcomes
from service.jobs.concurrency_limit import Allowance
from service.jobs.executors import Added, owner_name
from service.jobs.operation import Cancelled, Failure, Operation, Postponed, Run
from service.jobs.outcome_log import Ended, Journal
from service.jobs.transitions import Held
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

AWAY = "the database is away or busy; the dispatcher tries again"
POLL = 0.01
"""Seconds between two looks at the database's version: how soon other processes join in."""
CANCEL_POLL = 0.2
"""Seconds within which a deletion in another process is noticed."""
SLOW = 1.0
"""Work of more seconds than this is not claimed ahead, so that no other process idles meanwhile."""
AHEAD = 0.05
"""Seconds of quick work that are claimed ahead, so that the threads never wait for the database."""


class Threads:
    """One dispatcher thread owns the database; a pool of threads does the work and touches none."""

    def __init__(
        self,
        database: Database,
        operations: Sequence[Operation],
        journal: Journal,
        *,
        workers: int,
        lease: float = 30.0,
        poll: float = POLL,
        bounds: Mapping[str, int] | None = None,
    ) -> None:
        """`bounds` says for a kind how many calls all processes together may have under way."""
        self._database = database
        self._journal = journal
        self._operations: Mapping[str, Operation] = {operation.kind: operation for operation in operations}
        self._workers = workers
        self._lease = lease
        self._poll = poll
        self._owner = ""
        self._allowances = {
            kind: Allowance(kind, bound, workers, self._submit) for kind, bound in (bounds or {}).items()
        }
        self._held: dict[int, Held] = {}
        self._finished: list[Held] = []
        self._begun = 0
        self._seconds = AHEAD
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._look = True
        self._draining = False
        self._next_due = 0.0
        self._renewed = self._recovered = self._asked = 0.0
        self._troubles = 0
        self._stopping = False
        self._give_up_at = float("inf")
        self._thread: threading.Thread | None = None

    # What other threads call.

    def start(self) -> None:
        """Start the dispatcher's thread and the pool."""
        self._owner = owner_name(os.getpid())
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="worker")
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._thread.start()

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of jobs that are run here."""
        return tuple(self._operations)

    def wake(self, added: Added | None = None) -> None:
        """Look for jobs at once."""
        self._look = True
        self._news.set()

    def cancel(self, task: str) -> None:
        """Flag every run of the task that is here."""
        with self._lock:
            for held in self._held.values():
                if held.run.task == task:
                    held.cancelled = True

    def begin_stop(self) -> None:
        """Claim nothing more; the dispatcher gives back what has not begun."""
        self._stopping = True
        self._news.set()

    def stop(self, grace: float) -> None:
        """Wait for what runs, but no longer than `grace` seconds."""
        self._give_up_at = time.monotonic() + grace
        self.begin_stop()
        if self._thread:
            self._thread.join(grace + 5)
            self._pool.shutdown(wait=False, cancel_futures=True)

    def working(self) -> bool:
        """Tell whether the dispatcher lives."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    def check(self) -> None:
        """Raise an error if it does not."""
        if not self.working():
            raise RuntimeError("the dispatcher does not run")

    # The pool's threads.

    def _work(self, held: Held) -> None:
        begin = time.perf_counter()
        operation = self._operations[held.run.kind]
        with self._lock:
            self._begun += 1
        try:
            # A process that was stopped for longer than its lease must not begin what others have taken over.
            if held.cancelled or time.time() >= held.lease_expires_at:
                raise Cancelled
            if self._stopping:
                raise Postponed(0.0)
            held.outcome = operation.work(held.loaded, lambda: held.cancelled or time.time() >= held.lease_expires_at)
        except (Failure, Postponed, Cancelled) as outcome:
            held.outcome = outcome
        except Exception:
            run = held.run
            fields = {"kind": run.kind, "job": run.id, "task": run.task, "attempt": run.attempt}
            log.exception("job broke", extra={"lines": (fields,)})
            held.outcome = Failure("engine_failed", "The processing of this file broke down here.", attempts=2)
        self._hand_in(held, time.perf_counter() - begin)

    def _hand_in(self, held: Held, seconds: float) -> None:
        held.seconds = seconds
        with self._lock:
            self._begun -= 1
            self._finished.append(held)
            if allowance := self._allowances.get(held.run.kind):
                allowance.ended()
            self._seconds += 0.1 * (seconds - self._seconds)
            waiting = len(self._held) - self._begun - len(self._finished)
            # While enough is claimed ahead, results gather for the next look; one transaction writes them all.
            if waiting <= self._ahead() // 2:
                self._news.set()

    def _ahead(self) -> int:
        if self._seconds > SLOW:
            return 0
        return min(16 * self._workers, max(self._workers, int(self._workers * AHEAD / max(self._seconds, 1e-4))))

    # The dispatcher's thread.

    def _dispatch(self) -> None:
        changed: Callable[[], bool] | None = None
        while not (self._stopping and not self._held):
            self._news.wait(self._poll)
            self._news.clear()
            try:
                changed = changed or self._database.watch()
                self._look |= changed()
                self._turn()
                if self._stopping:
                    self._wind_up()
                self._troubles = 0
            except Exception as error:
                # Nothing is forgotten: what has finished stays in `_finished`, and rows change by whole transactions.
                if isinstance(error, SQLAlchemyError) and is_away(error):
                    logs.event(log, AWAY, logging.WARNING, said=first_line(error))
                else:
                    log.exception("the dispatcher failed; it tries again")
                    self._isolate(error)
                time.sleep(0.5)
        self._leave()

    def _isolate(self, error: Exception) -> None:
        """Keep one result that cannot be saved from blocking all others: save singly, and fail the one."""
        if isinstance(error, OperationalError):
            return  # no result's fault either: a full disk, say
        self._troubles += 1
        if self._troubles > 2 and self._finished:
            self._finished[0].outcome = Failure("engine_failed", "The result of this file could not be stored.")

    def _turn(self) -> None:
        """Write what has finished, renew, notice what was cancelled, recover, claim: one transaction for all."""
        now, monotonic = time.time(), time.monotonic()
        finished = self._finished[: 1 if self._troubles else None]
        wanted = self._wanted(now)
        renewing = bool(self._held) and monotonic - self._renewed >= self._lease / 3
        dead: set[str] = set()
        if monotonic - self._recovered >= min(2.0, self._lease / 10):
            self._recovered = monotonic
            with self._database.read() as session:
                dead = models.dead(session, self._operations.keys(), now=now)
        if not (finished or renewing or dead) and wanted:
            wanted = self._due(wanted, now)
        claimed: list[Held] = []
        ended: list[Ended] = []
        if finished or renewing or dead or wanted:
            with self._database.write() as session:
                self._hold_tasks(session, self._held.values() if renewing else finished, dead)
                saved, due = outcomes.save(session, self._operations, finished, now)
                ended += saved
                self._next_due = min(self._next_due, due)
                renewed = self._renew(session, now) if renewing else {}
                if dead:
                    ended += self._recover(session, now)
                claimed = self._claim(session, wanted, now, self._unfinished(finished))
            self._settle(monotonic)
            if renewing:
                self._extend(renewed, now)
                self._renewed = monotonic
        elif self._held and monotonic - self._asked >= CANCEL_POLL:
            self._asked = monotonic
            with self._database.read() as session:
                self._flag_all_but(models.alive(session, [held.run for held in self._held.values()]))
        self._take(finished, claimed)
        if ended:
            self._journal.write(ended)

    def _hold_tasks(self, session: Session, runs: Iterable[Held], more: Iterable[str]) -> None:
        """Keep others from the tasks whose jobs this turn changes, and from the shares of what is bounded.

        A claim takes what is free and needs no task.
        """
        shares = (f"share of {kind}" for kind in self._allowances)
        self._database.hold(session, chain((held.run.task for held in runs), more, shares))

    def _unfinished(self, finished: Sequence[Held]) -> Counter[str]:
        """Count what is held beside what this turn saves, by kind."""
        if not self._allowances:
            return Counter()
        ending = set(finished)
        return Counter(held.run.kind for held in self._held.values() if held not in ending)

    def _settle(self, monotonic: float) -> None:
        with self._lock:
            for allowance in self._allowances.values():
                allowance.taken(monotonic)

    def _wanted(self, now: float) -> dict[str, tuple[int, bool]]:
        """Return how many jobs of each kind could be claimed, and whether as a probe."""
        if self._stopping or self._waits_for_suspect() or not (self._look or now >= self._next_due):
            return {}
        free = self._workers + self._ahead() - (len(self._held) - len(self._finished))
        if free <= (self._ahead() // 2 if self._held else 0):
            return {}
        wanted = {}
        for kind, operation in self._operations.items():
            limit = operation.limit()
            count = free
            if allowance := self._allowances.get(kind):
                held = sum(held.run.kind == kind for held in self._held.values())
                count = min(free, allowance.room(held, self._ahead(), time.monotonic()))
            if limit is not None:
                count = min(count, limit - sum(held.run.kind == kind for held in self._held.values()))
            if count > 0:
                wanted[kind] = (count, limit is not None)
        return wanted

    def _due(self, wanted: dict[str, tuple[int, bool]], now: float) -> dict[str, tuple[int, bool]]:
        """Keep the kinds of which a job is due; remember when the next one will be."""
        with self._database.read() as session:
            due = models.next_due(session, tuple(wanted), now=now)
            full = {
                kind
                for kind, allowance in self._allowances.items()
                if kind in wanted and self._is_full(session, allowance, now)
            }
        ready = {kind for kind, moment in due.items() if moment is not None and moment <= now}
        kept = {kind: wanted[kind] for kind in ready - full}
        if not kept:
            # An engine that takes nothing now is asked again at every turn, which costs no query.
            self._look = any(operation.limit() is not None for operation in self._operations.values())
            self._next_due = min((moment for moment in due.values() if moment is not None), default=float("inf"))
        return kept

    def _claim(
        self, session: Session, wanted: dict[str, tuple[int, bool]], now: float, held: Counter[str]
    ) -> list[Held]:
        allowed = {
            kind: self._allowed(session, allowance, kind in wanted, held[kind], now)
            for kind, allowance in self._allowances.items()
        }
        runs: list[Run] = []
        for kind, (most, probe) in wanted.items():
            count = min(most, allowed.get(kind, most))
            if count:
                runs += models.claim(session, kind, count, owner=self._owner, now=now, lease=self._lease, probe=probe)
        runs = self._without_neighbours(session, runs, now)
        claimed: list[Held] = []
        for kind in wanted:
            ours = [run for run in runs if run.kind == kind]
            loaded = self._operations[kind].load(session, ours) if ours else []
            claimed += [Held(run, data, now + self._lease) for run, data in zip(ours, loaded, strict=True)]
            held[kind] += len(ours)
        for kind, allowance in self._allowances.items():
            allowance.take(session, self._owner, held=held[kind], until=now + self._lease)
        return claimed

    def _allowed(self, session: Session, allowance: Allowance[Held], claiming: bool, held: int, now: float) -> int:
        return allowance.allowed(session, self._owner, held=held, ahead=self._ahead(), claiming=claiming, now=now)

    def _is_full(self, session: Session, allowance: Allowance[Held], now: float) -> bool:
        if allowance.worth_a_claim(session, self._owner, now):
            return False
        allowance.wait(time.monotonic())
        return True

    def _without_neighbours(self, session: Session, runs: list[Run], now: float) -> list[Run]:
        """Let a run whose loss would be the last be the only one here, so that no innocent neighbour dies with it.

        While others are still under way, it goes back and nothing is claimed until they have ended.
        """
        suspects = [run for run in runs if outcomes.is_suspect(run)]
        if not suspects:
            return runs
        self._draining = len(self._held) > len(self._finished)
        kept = [run for run in runs if not outcomes.is_suspect(run)] if self._draining else suspects[:1]
        ours = {run.id for run in kept}
        models.give_back(session, [run for run in runs if run.id not in ours], not_before=now)
        self._look = True
        return kept

    def _waits_for_suspect(self) -> bool:
        under_way = len(self._held) > len(self._finished)
        self._draining &= under_way
        return self._draining or any(outcomes.is_suspect(held.run) for held in self._held.values())

    def _take(self, finished: list[Held], claimed: list[Held]) -> None:
        """After the commit: forget what is written, and begin what is ours."""
        with self._lock:
            for held in finished:
                self._held.pop(held.run.id, None)
            del self._finished[: len(finished)]
            self._held.update({held.run.id: held for held in claimed})
            for held in claimed:
                if allowance := self._allowances.get(held.run.kind):
                    allowance.add(held)
                else:
                    self._submit(held)

    def _submit(self, held: Held) -> None:
        held.future = self._pool.submit(self._work, held)

    def _leave(self) -> None:
        """Let others have this process's shares at once."""
        if not self._allowances:
            return
        try:
            with self._database.write() as session:
                models.leave(session, self._owner)
        except SQLAlchemyError as error:
            message = "the shares of this process run out with their leases"
            logs.event(log, message, logging.WARNING, said=first_line(error))

    def _renew(self, session: Session, now: float) -> dict[Held, bool]:
        """Extend the leases of what runs; return for each run whether it is still ours."""
        with self._lock:
            ending = {held.run.id for held in self._finished}
            running = [held for held in self._held.values() if held.run.id not in ending]
        ours = models.renew(session, [held.run for held in running], now=now, lease=self._lease)
        return {held: held.run.id in ours for held in running}

    def _extend(self, renewed: Mapping[Held, bool], now: float) -> None:
        """After the commit: what is ours may go on, the rest stops."""
        for held, ours in renewed.items():
            held.cancelled |= not ours
            held.lease_expires_at = now + self._lease

    def _flag_all_but(self, ours: set[int]) -> None:
        with self._lock:
            for held in self._held.values():
                held.cancelled |= held.run.id not in ours

    def _recover(self, session: Session, now: float) -> list[Ended]:
        again, lost = outcomes.recover(session, self._operations, now)
        self._look = True
        return [*(Ended(run, "lost") for run in again), *(Ended(run, "failed", "worker_lost") for run in lost)]

    def _wind_up(self) -> None:
        """While stopping: give back what has not begun; past the time, also what still runs."""
        with self._lock:
            for allowance in self._allowances.values():
                allowance.clear()
            waiting = [held for held in self._held.values() if not held.future or held.future.cancel()]
            late = [held for held in self._held.values() if held not in waiting and held not in self._finished]
        if time.monotonic() < self._give_up_at:
            late = []
        if waiting or late:
            for held in late:
                held.cancelled = True
            now = time.time()
            with self._database.write() as session:
                self._hold_tasks(session, waiting + late, ())
                models.give_back(session, [held.run for held in waiting], not_before=now)
                models.interrupt(session, [held.run for held in late], not_before=now)
                self._database.announce(session)
            with self._lock:
                for held in waiting + late:
                    self._held.pop(held.run.id, None)
            self._journal.write([Ended(held.run, "interrupted") for held in late])
