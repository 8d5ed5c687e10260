"""What a report shows of a result beside its summary: ages, sizes and how well faces can be seen."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from service.features.faces.analyze.result_folder import ResultFolder
from service.features.faces.analyze.tables import FACE_COLUMNS
from service.features.faces.statistics import SMALL

DECADES = tuple(range(0, 100, 10))
"""The first years of the histogram's bars; the last bar has all who are older."""
GENDERS = ("female", "male", "unknown")
BLURRED = 20  # variance of the Laplacian; below, a face is blurred (docs/engine.md)
CHART = (640, 200)  # pixels of the bars

_PLACES = {name: place for place, (name, _) in enumerate(FACE_COLUMNS)}


@dataclass
class Distribution:
    """Counts over all faces of a result; heights are in pixels."""

    ages: Counter[tuple[str, int]] = field(default_factory=Counter)  # by gender and decade
    without_age: int = 0
    heights: Counter[int] = field(default_factory=Counter)
    blurred: int = 0
    with_quality: int = 0
    faces_of_photos: Counter[int] = field(default_factory=Counter)  # photos by their number of faces

    @property
    def median_height(self) -> int | None:
        """The height that half of the faces exceed."""
        half, seen = (sum(self.heights.values()) + 1) // 2, 0
        for height in sorted(self.heights):
            seen += self.heights[height]
            if seen >= half:
                return height
        return None

    @property
    def small(self) -> int:
        """How many faces are too small for a gender."""
        return sum(count for height, count in self.heights.items() if height < SMALL)


def distribution_of(result: ResultFolder) -> Distribution:
    """Return the distribution, with a part in memory at a time."""
    found = Distribution()
    for part in result.parts():
        for status, faces in result.photos(part, "status", "faces"):
            if status == "done":
                found.faces_of_photos[min(faces, 5)] += 1
        for row in result.faces(part):
            _add(found, row)
    return found


def _add(found: Distribution, row: tuple[Any, ...]) -> None:
    gender, age, height, sharpness = (row[_PLACES[name]] for name in ("gender", "age", "height", "quality_sharpness"))
    found.heights[height] += 1
    if age is None:
        found.without_age += 1
    else:
        found.ages[gender, min(int(age) // 10 * 10, DECADES[-1])] += 1
    if sharpness is not None:
        found.with_quality += 1
        found.blurred += sharpness < BLURRED


def bars(found: Distribution) -> list[dict[str, Any]]:
    """Return the bars of the histogram: decade, count, and for each gender where it begins and how high it is."""
    totals = {decade: sum(found.ages[gender, decade] for gender in GENDERS) for decade in DECADES}
    highest = max(1, *totals.values())
    width, height = CHART
    drawn = []
    for place, (decade, total) in enumerate(totals.items()):
        pieces, top = [], float(height)
        for gender in GENDERS:
            tall = found.ages[gender, decade] / highest * height
            top -= tall
            pieces.append({"gender": gender, "top": round(top, 1), "tall": round(tall, 1)})
        label = f"{decade}–{decade + 9}" if decade < DECADES[-1] else f"{decade}+"
        drawn.append({"left": place * width // len(totals), "label": label, "count": total, "pieces": pieces})
    return drawn
