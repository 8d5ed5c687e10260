"""The seam between face tasks and what detects the faces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Gender = Literal["male", "female", "unknown"]
EMBEDDED = "local"
"""The name of the embedded engine in the settings and at the images that it has looked at."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face can be seen."""

    height: int  # of the box, in pixels of the original
    sharpness: float  # variance of the Laplacian of the face in grey; below some 20 it is blurred
    brightness: float  # mean, 0 to 1


@dataclass(frozen=True, slots=True)
class Detection:
    """One face as an engine saw it.

    The box is in pixels of the original as its EXIF orientation makes it upright, its origin top left; it may leave the
    image. Ages are in years; `age_low` to `age_high` holds the true one nine times in ten. `score` is the engine's
    confidence that this is a face, from 0 to 1. What the engine does not say is None.
    """

    x: int
    y: int
    width: int
    height: int
    gender: Gender
    age: float | None
    score: float | None
    male_probability: float | None = None  # 0 to 1
    age_low: float | None = None
    age_high: float | None = None
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one image, largest box first, and how it was looked at.

    `searched_width` is the image's width in pixels at the closest look. `rotation`, in degrees clockwise, is what makes
    the faces upright after the EXIF orientation is applied: 0, 90, 180 or 270. Boxes are in the picture before it. Both
    are None where the engine does not say.
    """

    faces: Sequence[Detection]
    searched_width: int | None = None
    rotation: int | None = None

    @classmethod
    def of(cls, answer: "Answer") -> "Detections":
        """Return an engine's answer in full; of a bare list only the faces are known."""
        return answer if isinstance(answer, Detections) else cls(answer)


Answer = Detections | Sequence[Detection]
"""What an engine may return."""


def never() -> bool:
    """Return False: the run cannot be cancelled."""
    return False


class Engine(Protocol):
    """Finds faces. One object serves all threads of a process."""

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, due_at: float = 0.0) -> Answer:
        """Return the faces of an image of an accepted type, largest box first; none is an empty list.

        `cancelled` is asked before every call to another machine. `due_at` is since when the image has been waiting, in
        seconds since 1970. Raise `jobs.operation.Failure` when the image cannot be processed, `Unserved` when the
        other machine does not serve it now, `Cancelled` when `cancelled` said so.
        """

    def close(self) -> None:
        """Release connections and memory."""
