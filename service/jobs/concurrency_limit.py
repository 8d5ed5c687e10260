"""A bound on the calls of one kind over all processes: each takes a share of it for as long as it has work.

A share is a row, taken in the transaction that claims and given back in the one that saves the last result. So it costs
a call nothing, and the runs that are claimed ahead of need do not count: only those that a share lets begin. It runs
out with the leases of the runs that it was taken for; those do not begin any more then. So the shares that others may
take never allow more calls than the bound.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.orm import Session

from service.jobs import models

ASK_SECONDS = 0.05
"""How often a process asks for more while the others have it all."""

T = TypeVar("T")


class Allowance(Generic[T]):
    """The runs of one bounded kind in this process. Its user's lock guards it."""

    def __init__(self, kind: str, bound: int, workers: int, begin: Callable[[T], None]) -> None:
        self.kind = kind
        self._bound = bound
        self._workers = workers
        self._begin = begin
        self._most = min(workers, bound)
        self._share = 0
        self._next = 0
        self._needs_refill = self._wants_more = False
        self._under_way = 0
        self._waiting: deque[T] = deque()
        self._ask_at = 0.0

    def room(self, held: int, ahead: int, now: float) -> int:
        """Return how many runs to claim beside those that are held; 0 while it is too early to ask for more."""
        spare = self._with_spare(self._share, ahead)
        missing = spare - held
        self._needs_refill = missing > (spare - self._share) // 2
        if self._share < self._most and now >= self._ask_at:
            return max(0, self._with_spare(self._most, ahead) - held)
        return missing if self._needs_refill else 0

    def _with_spare(self, share: int, ahead: int) -> int:
        """Return how many runs keep a share busy: those claimed ahead of need are in proportion to it."""
        return share + share * ahead // self._workers

    def worth_a_claim(self, session: Session, owner: str, now: float) -> bool:
        """Tell, before a transaction that writes, whether it could claim anything."""
        return self._needs_refill or self._share + self._calls_of_others(session, owner, now) < self._bound

    def _calls_of_others(self, session: Session, owner: str, now: float) -> int:
        return models.calls_of_others(session, self.kind, owner, now=now)

    def allowed(self, session: Session, owner: str, *, held: int, ahead: int, claiming: bool, now: float) -> int:
        """Return how many runs may be claimed; in a transaction that holds the name of the kind's shares."""
        left = max(0, self._bound - self._calls_of_others(session, owner, now))
        self._wants_more = claiming and left < self._most
        self._next = min(self._most if claiming else self._share, left)
        return max(0, self._with_spare(self._next, ahead) - held)

    def take(self, session: Session, owner: str, *, held: int, until: float) -> None:
        """Write down the share that so many runs need, as far as it is allowed."""
        self._next = min(self._next, held)
        if self._next or self._share:
            models.take_share(session, self.kind, owner, calls=self._next, until=until)

    def taken(self, now: float) -> None:
        """After the commit: let so many be under way."""
        self._share = self._next
        if self._wants_more:
            self.wait(now)
        self._go_on()

    def wait(self, now: float) -> None:
        """Ask for more a little later: the others have it all."""
        self._ask_at = now + ASK_SECONDS

    def add(self, run: T) -> None:
        """Let a run begin as soon as the share allows it."""
        self._waiting.append(run)
        self._go_on()

    def ended(self) -> None:
        """Let the next one begin."""
        self._under_way -= 1
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._under_way < self._share:
            self._under_way += 1
            self._begin(self._waiting.popleft())

    def clear(self) -> None:
        """Let nothing more begin."""
        self._waiting.clear()
