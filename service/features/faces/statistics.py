"""The statistics of a task: how faces are counted, and what the counts must be read with."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.features.faces.engines.engine import EMBEDDED, Detection, Gender
from service.features.faces.models import MICRO, Task

OLD = 60  # years; above, the embedded engine's ages are too low
SMALL = 40  # pixels of height; below, it does not say a gender
MANY = 10  # one face in so many

COUNTERS = (
    *("faces", "men", "women", "men_with_age", "women_with_age", "men_age_sum", "women_age_sum"),
    *("over_60", "small_faces", "unsure"),
)
"""The columns of a task that `count` adds to; the last three are of the embedded engine's faces alone."""


class Counted(NamedTuple):
    """What is counted of a face, as in `Detection`."""

    height: int
    gender: Gender
    age: float | None
    age_low: float | None


def count(faces: Iterable[Detection | Counted], engine: str) -> Counter[str]:
    """Return what these faces, found by the engine of this name, add to their task's counters."""
    counts: Counter[str] = Counter()
    for face in faces:
        counts["faces"] += 1
        people = {"male": "men", "female": "women"}.get(face.gender)
        if people:
            counts[people] += 1
            if face.age is not None:
                counts[f"{people}_with_age"] += 1
                counts[f"{people}_age_sum"] += round(face.age * MICRO)
        if engine == EMBEDDED:
            # What a person has set is no estimate: an age without a range, the gender of a face however small.
            counts["over_60"] += face.age is not None and face.age >= OLD and face.age_low is not None
            counts["small_faces"] += face.height < SMALL and face.gender == "unknown"
            counts["unsure"] += face.gender == "unknown"
    return counts


def statistics_of(task: Task | sa.Row[Any]) -> dict[str, Any]:
    """Return a task's statistics as clients see them."""
    return {
        "faces": task.faces,
        "men": task.men,
        "women": task.women,
        "unknown": task.faces - task.men - task.women,
        "men_average_age": _average(task.men_age_sum, task.men_with_age),
        "women_average_age": _average(task.women_age_sum, task.women_with_age),
        "warnings": _warnings(task),
    }


def _average(age_sum: int, people: int) -> float | None:
    return age_sum / (MICRO * people) if people else None


def _warnings(task: Task | sa.Row[Any]) -> list[dict[str, str]]:
    """Return what is known to be wrong with the embedded engine's figures; docs/engine.md has the measurements."""
    warnings = []
    if task.over_60:
        old = f"{_faces(task.over_60)} estimated at {OLD} years or more."
        bias = "The embedded engine takes people over 60 for about five years younger than they are."
        warnings.append({"code": "age_bias_over_60", "detail": f"{old} {bias}"})
    if task.small_faces:
        small = f"{_faces(task.small_faces)} less than {SMALL} pixels high: too small to estimate a gender."
        warnings.append({"code": "small_faces", "detail": small})
    if task.unsure * MANY > task.faces:
        unsure = f"{_faces(task.unsure)} of unknown gender, of {task.faces} in all."
        warnings.append({"code": "many_unknown", "detail": f"{unsure} The figures of women and men leave them out."})
    return warnings


def _faces(number: int) -> str:
    return f"{number} {'face is' if number == 1 else 'faces are'}"
