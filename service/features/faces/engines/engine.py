"""The seam between face tasks and what detects the faces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Gender = Literal["male", "female", "unknown"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One face as an engine saw it.

    The box is in pixels of the upright original, its origin top left; it may leave the image.
    `age` is in years, `score` is the engine's confidence from 0 to 1; both are None where the
    engine did not say.
    """

    x: int
    y: int
    width: int
    height: int
    gender: Gender
    age: float | None
    score: float | None


def never() -> bool:
    """Return False: the run cannot be cancelled."""
    return False


@dataclass(frozen=True, slots=True)
class History:
    """What an image has been through, in seconds since 1970: since when it waits, and since when it fails, if it does.

    What refused others after `due_at` may be taken to refuse it too.
    """

    due_at: float = 0.0
    failed_at: float | None = None


NONE = History()


class Engine(Protocol):
    """Finds faces. One object serves all threads of a process."""

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, history: History = NONE) -> list[Detection]:
        """Return the faces of a JPEG, PNG or WebP, largest box first; none is an empty list.

        `cancelled` is asked before every call to another machine. Raise `jobs.operation.Failure`
        when the image cannot be processed, `Postponed` when the engine takes no image now,
        `Cancelled` when `cancelled` said so.
        """

    def limit(self) -> int | None:
        """Return how many images may be under way in this process now; None is no bound.

        It is asked often and answers from memory. Zero asks for a pause, one for a single probe.
        """

    def close(self) -> None:
        """Release connections and memory."""
