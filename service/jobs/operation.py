"""What a feature gives to the jobs kernel, and what its work may raise."""

from __future__ import annotations

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # the engines import this module where there is no SQLAlchemy
    from sqlalchemy.orm import Session


class Failure(Exception):
    """A run failed; whoever raises it says whether another one may help.

    `code` and `detail` are what the client reads, so `detail` is a sentence without secrets.
    `attempts` is how many runs such a failure is worth in all: 1 is permanent. `wait` is the
    seconds that the other side asked for before the next one; None backs off by the kernel's rule.
    """

    def __init__(self, code: str, detail: str, *, attempts: int = 1, wait: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.attempts = attempts
        self.wait = wait


class Answered(Failure):
    """The other side answered, if only to refuse: so it is not away."""


class Unanswered(Failure):
    """The run came to no answer: it does not count as an attempt."""


class Unserved(Unanswered):
    """`who` did not serve the run. It costs time, not an attempt: the job waits for the operation's `patience`.

    `wait` is the seconds that it asked for; nothing of the kind begins before they are over.
    """

    def __init__(self, detail: str, *, who: str, code: str = "upstream_unavailable", wait: float | None = None) -> None:
        super().__init__(code, detail, attempts=sys.maxsize, wait=wait)
        self.who = who

    def given_up(self, patience: float) -> Unanswered:
        """Return the failure of a job that has waited for so many seconds."""
        return Unanswered(
            "upstream_unavailable", f"{self.who} has not answered for {_in_words(patience)}. {self.detail}"
        )


def _in_words(seconds: float) -> str:
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            number = int(seconds // unit)
            return f"{number} {name}" if number == 1 else f"{number} {name}s"
    return f"{seconds:g} s"


class Postponed(Exception):
    """The run has done nothing: its job goes back as if it had not been claimed."""


class Cancelled(Exception):
    """The run saw that its job was cancelled and stopped; nothing is to be saved."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, as claimed.

    `attempts` is how many runs before it came to an answer, `losses` how many died. `due_at` is since when it waited,
    in seconds since 1970: a first run since its job was made; `unserved_since` when the job was not served first.
    """

    id: int
    kind: str
    subject: str
    task: str
    position: int
    attempts: int
    fence: int
    losses: int
    due_at: float
    unserved_since: float | None

    @property
    def attempt(self) -> int:
        """The number of the attempt that this run is if it comes to an answer."""
        return self.attempts + 1


class Operation(ABC):
    """load → work → save. Only `work` takes time, and it touches no database.

    `failure_code` is the code of failures that nobody foresaw. `result` is the dataclass that `work` returns, where it
    must outlive a killed process: since another machine was asked for it. `patience` is for how many seconds a job
    waits for what does not serve it, from its first unserved run on; `longest_wait` the most seconds that a failed one
    is put off.
    """

    kind: ClassVar[str]
    failure_code: ClassVar[str] = "job_failed"
    result: ClassVar[type | None] = None
    patience: float = 7200.0
    longest_wait: float = 60.0

    @abstractmethod
    def load(self, session: Session, runs: Sequence[Run]) -> Sequence[Any]:
        """Return what `work` needs for each run, in order, in the transaction that claimed them."""

    @abstractmethod
    def work(self, loaded: Any, cancelled: Callable[[], bool]) -> Any:
        """Do the work in a pool thread and return its result; raise as `Failure` tells."""

    @abstractmethod
    def save(self, session: Session, results: Sequence[tuple[Run, Any]]) -> None:
        """Write the results in the transaction that ends their jobs."""

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:  # noqa: B027 - optional
        """Write down why these runs failed; they will be tried again."""

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:  # noqa: B027 - optional
        """Write down these final failures in the transaction that ends their jobs."""

    def outage_changed(self, session: Session) -> None:  # noqa: B027 - optional
        """Note that an outage of what these jobs need begins, goes on or ends with this transaction."""

    def undo(self, session: Session, dropped: Sequence[tuple[Run, Any]]) -> None:  # noqa: B027 - optional
        """Look after what these runs may have left, each with what was loaded for it: their results are not saved.

        Their jobs were deleted or taken over; touch nothing that a run which took over may need.
        """


def back_off(attempt: int) -> float:
    """Return the seconds to wait after the n-th run: 0.5, 1, 2, 4 … at most 60, less up to half by chance."""
    longest: float = min(60.0, 0.5 * 2 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load and keeps no secret
