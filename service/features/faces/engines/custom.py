"""An engine of another package: any class with `detect(image: bytes)`. docs/guides/engines.md has examples."""

import logging
import math
from collections.abc import Callable
from typing import Any, get_args

from service.features.faces.engines.engine import Detection, Detections, Gender, Quality, never
from service.jobs.operation import Cancelled, Failure
from service.once import Once

LARGEST_NUMBER = 2**31 - 1  # what the database's integers hold

log = logging.getLogger(__name__)


class CustomEngine:
    """Calls an object of a class that it makes, without arguments, with the first image of a process.

    What that returns may be in any order, and its numbers of any type that is one, as NumPy's are.
    """

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        self._engine = Once(make)
        self._name = name

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, due_at: float = 0.0) -> Detections:
        """Return the faces, largest box first. Whatever the engine raises is an `engine_failed`, worth two attempts."""
        try:
            return checked(self._engine().detect(image))
        except (Failure, Cancelled):
            raise
        except Exception as error:
            log.exception("%s broke down", self._name)
            detail = f"The face engine {self._name} broke down on this image."
            raise Failure("engine_failed", detail, attempts=2) from error

    def close(self) -> None:
        """Close the engine, if it was made and can be closed."""
        if close := getattr(self._engine.made, "close", None):
            close()


def checked(answer: Any) -> Detections:
    """Return an engine's answer in plain numbers, largest box first.

    Raises `AttributeError`, `TypeError` or `ValueError` where it is no answer.
    """
    found = Detections.of(answer)
    faces = sorted(map(_face, found.faces), key=lambda face: face.width * face.height, reverse=True)
    rotation = None if found.rotation is None else _whole(found.rotation)
    if rotation not in (None, 0, 90, 180, 270):
        raise ValueError(f"rotation is {rotation}")
    return Detections(faces, None if found.searched_width is None else _whole(found.searched_width), rotation)


def _face(face: Detection) -> Detection:
    if face.gender not in get_args(Gender):
        raise ValueError(f"gender is {face.gender!r}")
    return Detection(
        x=_whole(face.x),
        y=_whole(face.y),
        width=_whole(face.width),
        height=_whole(face.height),
        gender=face.gender,
        age=_real(face.age),
        score=_share(face.score),
        male_probability=_share(face.male_probability),
        age_low=_real(face.age_low),
        age_high=_real(face.age_high),
        quality=face.quality and _quality(face.quality),
    )


def _quality(seen: Quality) -> Quality:
    return Quality(_whole(seen.height), float(seen.sharpness), float(seen.brightness))


def _whole(value: Any) -> int:
    number = round(float(value))
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"{number} is too large")
    return number


def _real(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def _share(value: Any) -> float | None:
    number = _real(value)
    if number is not None and not 0 <= number <= 1:
        raise ValueError(f"{number} is not between 0 and 1")
    return number
