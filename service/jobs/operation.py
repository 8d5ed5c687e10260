"""What a feature gives to the jobs kernel, and what its work may raise."""

from __future__ import annotations

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


class Postponed(Exception):
    """The run did nothing and does not count: try it again in `wait` seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"not before {wait:.1f} s have passed")
        self.wait = wait


class Cancelled(Exception):
    """The run saw that its job was cancelled and stopped; nothing is to be saved."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at one job, as claimed.

    `losses` is how many runs before it died; `due_at` since when it waited, in seconds since 1970: a first run since
    its job was made.
    """

    id: int
    kind: str
    subject: str
    task: str
    position: int
    attempt: int
    losses: int
    due_at: float


class Operation(ABC):
    """load → work → save. Only `work` takes time, and it touches no database.

    `failure_code` is the code of failures that nobody foresaw.
    """

    kind: ClassVar[str]
    failure_code: ClassVar[str] = "job_failed"

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

    def undo(self, session: Session, dropped: Sequence[tuple[Run, Any]]) -> None:  # noqa: B027 - optional
        """Look after what these runs may have left, each with what was loaded for it: their results are not saved.

        Their jobs were deleted or taken over; touch nothing that a run which took over may need.
        """

    def limit(self) -> int | None:
        """Return how many jobs may run in this process now; None is no bound."""
        return None
