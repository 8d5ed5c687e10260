"""A bound on the calls of one kind over all processes: each takes a share of it for as long as it has work.

A share is a row, taken in the transaction that claims and given back in the one that saves the last result. So it costs
a call nothing, and the runs that are claimed ahead of need do not count: only those that a share lets begin. It runs
out with the leases of the runs that it was taken for; those do not begin any more then. So the shares that others may
take never allow more calls than the bound.
"""

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.orm import Session

from service.jobs import models
from service.jobs.claims import Claim, ClaimPolicy, Turn

ASK_SECONDS = 0.05
"""How often a process asks for more while the others have it all."""


class ConcurrencyLimit(ClaimPolicy):
    """The share that this process has of the calls of one kind."""

    def __init__(self, kind: str, bound: int, workers: int) -> None:
        """`bound` is for all processes together, `workers` the number of threads in this one."""
        self.locks = (f"share of {kind}",)
        self._kind = kind
        self._bound = bound
        self._workers = workers
        self._most = min(workers, bound)
        self._share = 0
        self._next = 0
        self._needs_refill = self._wants_more = False
        self._under_way = 0
        self._waiting: deque[Claim] = deque()
        self._ask_at = 0.0

    def narrow(self, wanted: Mapping[str, int], turn: Turn) -> Mapping[str, int]:
        """Want as many as the share needs; none while it is too early to ask for more."""
        if self._kind not in wanted:
            return wanted
        held = sum(claim.run.kind == self._kind for claim in turn.claims)
        room = min(wanted[self._kind], self._room(held, turn))
        return {kind: room if kind == self._kind else count for kind, count in wanted.items()}

    def _room(self, held: int, turn: Turn) -> int:
        spare = self._with_spare(self._share, turn)
        missing = spare - held
        self._needs_refill = missing > (spare - self._share) // 2
        if self._share < self._most and turn.monotonic >= self._ask_at:
            return self._with_spare(self._most, turn) - held
        return missing if self._needs_refill else 0

    def _with_spare(self, share: int, turn: Turn) -> int:
        """Return how many runs keep a share busy: those claimed ahead of need are in proportion to it."""
        return share + share * turn.ahead // self._workers

    def exhausted(self, session: Session, wanted: Collection[str], turn: Turn) -> Collection[str]:
        """Return the kind if the others have it all."""
        if self._kind not in wanted or self._needs_refill or self._share < self._left(session, turn):
            return ()
        self._ask_at = turn.monotonic + ASK_SECONDS
        return (self._kind,)

    def _left(self, session: Session, turn: Turn) -> int:
        return max(
            0,
            self._bound
            - models.calls_of_others(
                session, self._kind, turn.owner, now=turn.now, latest=turn.lease_expires_at + models.SLACK
            ),
        )

    def grant(self, session: Session, kind: str, wanted: int, held: int, turn: Turn) -> int:
        """Return how many runs the share allows that this process may have now."""
        if kind != self._kind:
            return wanted
        left = self._left(session, turn)
        self._wants_more = wanted > 0 and left < self._most
        self._next = min(self._most if wanted else self._share, left)
        return min(wanted, max(0, self._with_spare(self._next, turn) - held))

    def record(self, session: Session, held: Counter[str], turn: Turn) -> None:
        """Write down the share that so many runs need, as far as it is allowed."""
        self._next = min(self._next, held[self._kind])
        if self._next or self._share:
            models.take_share(session, self._kind, turn.owner, calls=self._next, until=turn.lease_expires_at)

    def committed(self, claimed: int, turn: Turn) -> None:
        """Use the share that was written down; where the others have the rest, ask for more a little later."""
        self._share = self._next
        if self._wants_more:
            self._ask_at = turn.monotonic + ASK_SECONDS

    def admit(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Keep back what goes beyond the share."""
        self._waiting.extend(claim for claim in claims if claim.run.kind == self._kind)
        admitted = [claim for claim in claims if claim.run.kind != self._kind]
        while self._waiting and self._under_way < self._share:
            self._under_way += 1
            admitted.append(self._waiting.popleft())
        return admitted

    def ended(self, claim: Claim) -> None:
        """Make room for the next run."""
        self._under_way -= claim.run.kind == self._kind
