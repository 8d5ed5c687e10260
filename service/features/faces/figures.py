"""The figures of all photos that a checked sample tells: what is summed up, and how an estimate is told."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

LEAST_PHOTOS = 30
"""Checked photos below which nothing is estimated: the interval is one of large samples."""


class Column(IntEnum):
    """What is summed up over the faces of a photo. PHOTOS is 1."""

    PHOTOS = 0
    FACES = 1
    WOMEN = 2
    OF_KNOWN_GENDER = 3
    WOMEN_WITH_AGE = 4
    MEN_WITH_AGE = 5
    AGES_OF_WOMEN = 6
    AGES_OF_MEN = 7


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of all photos: the sum of one column over that of another; `is_total`: times the number of photos."""

    part: Column
    whole: Column
    most: float = math.inf
    is_total: bool = False


FIGURES: Mapping[str, Figure] = {
    "faces": Figure(Column.FACES, Column.PHOTOS, is_total=True),
    "women_share": Figure(Column.WOMEN, Column.OF_KNOWN_GENDER, most=1.0),
    "men_average_age": Figure(Column.AGES_OF_MEN, Column.MEN_WITH_AGE),
    "women_average_age": Figure(Column.AGES_OF_WOMEN, Column.WOMEN_WITH_AGE),
}


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the bounds between which the figure is with the confidence asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure from the sample and the engine, from the engine alone, and from the sample alone."""

    powered: Interval
    uncorrected: float | None
    sample_only: Interval


def columns_of(gender: str, age: float | None) -> Iterable[tuple[Column, float]]:
    """Return what a face adds to the totals of its photo."""
    yield Column.FACES, 1
    if gender in ("male", "female"):
        is_woman = gender == "female"
        yield Column.OF_KNOWN_GENDER, 1
        yield Column.WOMEN, is_woman
        if age is not None:
            yield Column.WOMEN_WITH_AGE if is_woman else Column.MEN_WITH_AGE, 1
            yield Column.AGES_OF_WOMEN if is_woman else Column.AGES_OF_MEN, age
