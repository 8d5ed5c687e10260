"""A row of the table: a figure here beside a peer's and beside a limit, all taken in turns in one run."""

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")

PAIRS = 10
"""From so many on a ratio has an interval."""
FLOOR = 0.90
RESAMPLES = 4_000
MORE_IS_BETTER = ("tasks/s", "photos/s", "images/s", "photos/s of CPU")
HEADER = "| what | ours | peer | limit | ours ÷ peer | part of the limit | bar |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Bar:
    """What a figure is held to: in the row's unit, or as a speed over that of the peer or of the limit."""

    figure: float
    of: Literal["ours", "peer", "limit"] = "ours"


@dataclass(frozen=True)
class Row:
    """What was found of one thing in turns, by `ours`, `peer` and `limit`, of which the last two may be missing.

    `peer_name` is empty for the earlier commit; a program with a name and without figures is not installed. Ratios are
    of speeds: above 1 means faster here, in every unit. The upper end of the interval must not fall below `floor`.
    """

    what: str
    unit: str
    found: Mapping[str, Sequence[float]]
    peer_name: str = ""
    bars: Sequence[Bar] = ()
    floor: float = FLOOR

    def __str__(self) -> str:
        """Return the row in Markdown."""
        if self.peer:
            peer = f"{figure(self.peer)} {self.peer_name}".strip()
        else:
            peer = f"{self.peer_name} is not installed" if self.peer_name else "–"
        limit = figure(self.limit) if self.limit else "–"
        part = f"{self.part_of_limit:.2f}" if self.limit else "–"
        ours = f"{figure(self.ours)} {self.unit}"
        bars = "; ".join(map(self._against, self.bars)) or "–"
        return f"| {' | '.join((self.what, ours, peer, limit, self._over_peer(), part, bars))} |"

    def _over_peer(self) -> str:
        if not self.peer:
            return "–"
        if len(self.ours) < PAIRS:
            return f"{self.over_peer:.2f}"
        low, high = interval(self.ratios)
        return f"{self.over_peer:.2f} ({low:.2f} to {high:.2f})"

    @property
    def ours(self) -> Sequence[float]:
        """What the code here came to."""
        return self.found["ours"]

    @property
    def peer(self) -> Sequence[float]:
        """What the peer came to."""
        return self.found.get("peer", ())

    @property
    def limit(self) -> Sequence[float]:
        """What the limit came to."""
        return self.found.get("limit", ())

    def _against(self, bar: Bar) -> str:
        of = "" if bar.of == "ours" else f" of the {bar.of}"
        is_missed = bar.of in self.found and not self._reaches(bar)
        return f"{bar.figure:,g}{of}{', **missed**' if is_missed else ''}"

    def _reaches(self, bar: Bar) -> bool:
        if bar.of == "peer":
            return self.over_peer >= bar.figure
        if bar.of == "limit":
            return self.part_of_limit >= bar.figure
        return self._speed(statistics.median(self.ours), bar.figure) >= 1

    @property
    def ratios(self) -> list[float]:
        """The speeds here over the peer's, pair by pair."""
        return [self._speed(*pair) for pair in zip(self.ours, self.peer, strict=True)]

    @property
    def over_peer(self) -> float:
        """The speed here over the peer's: the geometric mean of the pairs."""
        return math.exp(statistics.fmean(map(math.log, self.ratios)))

    @property
    def part_of_limit(self) -> float:
        """The speed here over the limit's."""
        return self._speed(statistics.median(self.ours), statistics.median(self.limit))

    @property
    def is_slower(self) -> bool:
        """Whether ten pairs or more with the earlier commit lie wholly below the floor."""
        if self.peer_name or len(self.peer) < PAIRS:
            return False
        return interval(self.ratios)[1] < self.floor

    def _speed(self, one: float, other: float) -> float:
        return one / other if self.unit in MORE_IS_BETTER else other / one


def figure(found: Sequence[float]) -> str:
    """Return the median, with three digits or the whole number."""
    median = statistics.median(found)
    return f"{median:,.0f}" if median >= 100 else f"{median:.3g}"


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the geometric mean of the ratios, by resampling."""
    chance = random.Random(1)
    logs = [math.log(ratio) for ratio in ratios]
    means = sorted(statistics.fmean(chance.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    return math.exp(means[RESAMPLES // 40]), math.exp(means[-RESAMPLES // 40])


def in_turns(rounds: int, ways: Mapping[str, Callable[[], T]], *, warm_up: bool = True) -> dict[str, list[T]]:
    """Return what each way came to in each round; the order changes. A first time, which is slower, does not count."""
    for way in ways.values() if warm_up else ():
        way()
    found: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in reversed([*ways]) if number % 2 else ways:
            found[name].append(ways[name]())
    return found


def of(found: Mapping[str, Sequence[Mapping[str, float]]], name: str) -> dict[str, list[float]]:
    """Return one figure of those that each way came to; a way without it is left out."""
    return {way: [each[name] for each in rounds] for way, rounds in found.items() if name in rounds[0]}
