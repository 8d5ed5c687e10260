"""The dispatcher of a worker that is told by messages how many jobs to claim."""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from service.jobs.claims import ClaimPolicy, Turn
from service.jobs.dispatcher import Dispatcher


class Permit:
    """What one message is worth: so many jobs may be claimed."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.used = threading.Event()


class MessagePermits(ClaimPolicy):
    """Allows as many claims as there are permits for, of any due job: the fairest, not those that a message names."""

    def __init__(self) -> None:
        self._permits: list[Permit] = []
        self._asked: Sequence[Permit] = ()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._permits)

    def add(self, permit: Permit) -> None:
        """Allow what a permit is worth."""
        with self._lock:
            self._permits.append(permit)

    def take_back(self, permit: Permit) -> int:
        """Return how many jobs were not claimed on a permit, which allows none any more."""
        with self._lock:
            if permit in self._permits:
                self._permits.remove(permit)
            return permit.jobs

    def release(self) -> None:
        """Let nobody wait for a permit any longer."""
        with self._lock:
            for permit in self._permits:
                permit.used.set()

    def narrow(self, wanted: Mapping[str, int], turn: Turn) -> Mapping[str, int]:
        """Want no more than is permitted."""
        with self._lock:
            permitted = sum(permit.jobs for permit in self._permits)
        return {kind: min(count, permitted) for kind, count in wanted.items()}

    def exhausted(self, session: Session, wanted: Collection[str], turn: Turn) -> Collection[str]:
        """Note which permits the coming question is about."""
        with self._lock:
            self._asked = tuple(self._permits)
        return ()

    def none_due(self) -> None:
        """Use up these permits: others have claimed what was left."""
        self._use(self._asked)

    def committed(self, claimed: int, turn: Turn) -> None:
        """Use up what was claimed, from the oldest permit on."""
        self._use(tuple(self._permits), claimed)

    def _use(self, permits: Sequence[Permit], jobs: float = float("inf")) -> None:
        with self._lock:
            for permit in permits:
                part = int(min(jobs, permit.jobs))
                permit.jobs -= part
                jobs -= part
                if not permit.jobs:
                    permit.used.set()
                    if permit in self._permits:
                        self._permits.remove(permit)


class CeleryDispatcher(Dispatcher):
    """A dispatcher that claims as many jobs as there are permits for, and in the same order as all others."""

    def __init__(self, *args: Any, policies: Sequence[ClaimPolicy] = (), **options: Any) -> None:
        self._permits = MessagePermits()
        super().__init__(*args, policies=(*policies, self._permits), **options)

    def permit(self, jobs: int, seconds: float) -> int:
        """Allow so many more claims here, and wait for them; return how many could not be made in the time.

        Returns 0 as soon as no job is due any more: others have claimed what was left.
        """
        permit = Permit(jobs)
        if not self._pool.stopping:
            self._permits.add(permit)
            self.wake()
            permit.used.wait(seconds)
        return self._permits.take_back(permit)

    def has_permits(self) -> bool:
        """Return whether something may be claimed here now."""
        return len(self._permits) > 0

    def _is_looking(self) -> bool:
        return self._look and self.has_permits()

    def begin_stop(self) -> None:
        """Claim nothing more, and let the messages go."""
        super().begin_stop()
        self._permits.release()
