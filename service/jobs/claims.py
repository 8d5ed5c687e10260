"""What a process has claimed, and the seam behind which policies decide how much it may claim."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.jobs.operation import Run


@dataclass(eq=False, slots=True)
class Claim:
    """A run that this process has claimed and whose outcome is not yet written. Its lease is by the monotonic clock."""

    run: Run
    loaded: Any
    lease_ends: float
    future: Future[None] | None = None
    outcome: Any = None
    seconds: float = 0.0
    cancelled: bool = False

    def is_void(self) -> bool:
        """Return whether the run must not go on: others may have taken it over."""
        return self.cancelled or time.monotonic() >= self.lease_ends


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the dispatcher. `now` and the end of leases are seconds since 1970.

    `claims` is all that the process has claimed, `under_way` how much of it has not finished, `ahead` how many runs it
    may claim ahead of need.
    """

    owner: str
    now: float
    monotonic: float
    lease_expires_at: float
    ahead: int
    claims: Collection[Claim]
    under_way: int


class ClaimPolicy:
    """Bounds what a process claims and when it begins. Here it bounds nothing; policies override what they need.

    The dispatcher's thread calls the methods in this order, at each turn, as far as the turn gets. The pool calls
    `admit` and `ended` under its lock, and `committed` is called under it too.
    """

    locks: Sequence[str] = ()
    """The names that a turn locks in the database before it writes; with them the process gives up its shares."""

    def narrow(self, wanted: Mapping[str, int], turn: Turn) -> Mapping[str, int]:
        """Return how many jobs of each kind are worth a question to the database, at most as many as are wanted."""
        return wanted

    def exhausted(self, session: Session, wanted: Collection[str], turn: Turn) -> Collection[str]:
        """Return the kinds of which nothing could be claimed now, before a transaction that writes is begun for them.

        It is called just before the question which jobs are due.
        """
        return ()

    def none_due(self) -> None:
        """Note that no job of the wanted kinds was due."""

    def grant(self, session: Session, kind: str, wanted: int, held: int, turn: Turn) -> int:
        """Return how many jobs of a kind may be claimed in this transaction, beside `held` that go on; 0 if none is.

        Kinds of which no job is wanted are asked for too.
        """
        return wanted

    def retain(self, runs: Sequence[Run], turn: Turn) -> Sequence[Run]:
        """Return those of the claimed runs that this process keeps; the others go back."""
        return runs

    def record(self, session: Session, held: Counter[str], turn: Turn) -> None:
        """Write down, in the same transaction, what so many runs of each kind use."""

    def committed(self, claimed: int, turn: Turn) -> None:
        """Note that the transaction is committed, in which so many jobs were claimed."""

    def admit(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Return what may begin now: of these, and of those that were kept back before."""
        return claims

    def may_begin(self, run: Run) -> bool:
        """Return whether a run that was admitted may begin after all; a pool's thread asks just before."""
        return True

    def ended(self, claim: Claim) -> None:
        """Note that a run has ended; `admit` follows."""
