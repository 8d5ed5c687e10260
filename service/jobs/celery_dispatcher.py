"""The threads of a worker that is told by messages how many jobs to claim."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from service.jobs.dispatcher import Threads
from service.jobs.transitions import Held


class Permit:
    """What one message is worth: so many jobs may be claimed."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.used = threading.Event()


class Crew(Threads):
    """Threads that claim as many jobs as there are permits for, and in the same order as all others.

    Permits are worth any due job: whoever claims takes the fairest ones, not those that a message happened to name.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._permits: deque[Permit] = deque()

    def take_on(self, jobs: int, seconds: float) -> int:
        """Let so many more jobs be claimed here, and wait for that; return how many could not be in the time.

        Returns 0 as soon as no job is due any more: others have claimed what was left.
        """
        permit = Permit(jobs)
        with self._lock:
            if not self._stopping:
                self._permits.append(permit)
        if not self._stopping:
            self.wake()
            permit.used.wait(seconds)
        with self._lock:
            if permit in self._permits:
                self._permits.remove(permit)
            return permit.jobs

    def lacks_permits(self) -> bool:
        """Tell whether nothing may be claimed here now."""
        return not self._permits

    def is_busy(self) -> bool:
        """Tell whether a run is under way, if only one that was given up."""
        return self._begun > 0

    def begin_stop(self) -> None:
        """Claim nothing more, and let the messages go."""
        super().begin_stop()
        with self._lock:
            for permit in self._permits:
                permit.used.set()

    # The dispatcher's thread.

    def _wanted(self, now: float) -> dict[str, tuple[int, bool]]:
        with self._lock:
            permitted = sum(permit.jobs for permit in self._permits)
        if not permitted:
            return {}
        return {kind: (min(count, permitted), probe) for kind, (count, probe) in super()._wanted(now).items()}

    def _due(self, wanted: dict[str, tuple[int, bool]], now: float) -> dict[str, tuple[int, bool]]:
        with self._lock:
            before = tuple(self._permits)
        kept = super()._due(wanted, now)
        if not kept and self._next_due > now:
            self._use(before)
        return kept

    def _take(self, finished: list[Held], claimed: list[Held]) -> None:
        super()._take(finished, claimed)
        self._use(tuple(self._permits), len(claimed))

    def _use(self, permits: Sequence[Permit], jobs: int | None = None) -> None:
        """Use up so many of the jobs that are permitted, or all."""
        with self._lock:
            for permit in permits:
                part = permit.jobs if jobs is None else min(jobs, permit.jobs)
                permit.jobs -= part
                jobs = None if jobs is None else jobs - part
                if not permit.jobs:
                    permit.used.set()
                    if permit in self._permits:
                        self._permits.remove(permit)
