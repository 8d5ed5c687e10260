"""Simulated audits: how often the intervals of estimates hold the truth, and how wide they are.

`python -m benchmarks.audits` draws 2,000 reviews of 200 photos out of 5,000, whose engine is biased: ages 4.4 years too
low, 3 % of the genders wrong, 5 % of the faces missed, women in both more often. `--photos` and `--reviewed` make
other audits.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.features.faces.estimation import Sample, Table, estimate, totals
from service.features.faces.figures import FIGURES, Column

AGES_LOW, AGES_NOISE = 4.4, 6.5  # years
MAN, WOMAN = 0, 1
WRONG_GENDER = np.array([0.02, 0.045])
MISSED = np.array([0.03, 0.075])
FACES = [0, 1, 2, 3, 4, 6, 10]
PHOTOS_WITH = [0.1, 0.35, 0.2, 0.12, 0.1, 0.08, 0.05]
"""How many photos have so many faces."""

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass
class Audits:
    """What the audits of one figure came to. `covered` and `uncorrected` are shares of audits."""

    covered: float
    sample_only_covered: float
    uncorrected_within: float
    width: float
    sample_only_width: float


def make_photos(rng: np.random.Generator, photos: int) -> tuple[Table, Table]:
    """Return the true and the engine's totals of photos whose people are alike in gender and age."""
    photo = np.repeat(np.arange(photos), rng.choice(FACES, photos, p=PHOTOS_WITH))
    lean = rng.normal(0, 0.8, photos)[photo]
    women = rng.random(len(photo)) < 1 / (1 + np.exp(0.2 - lean))
    ages = np.clip(rng.normal(38, 9, photos)[photo] + rng.normal(0, 10, len(photo)), 1, 95)
    seen = rng.random(len(photo)) > MISSED[np.where(women, WOMAN, MAN)]
    said = women ^ (rng.random(len(photo)) < WRONG_GENDER[np.where(women, WOMAN, MAN)])
    guessed = np.clip(ages - AGES_LOW + rng.normal(0, AGES_NOISE, len(photo)), 0, None)
    true = _summed(photos, photo, women, ages)
    return true, _summed(photos, photo[seen], said[seen], guessed[seen])


def _summed(photos: int, photo: npt.NDArray[np.int64], women: Flags, ages: Numbers) -> Table:
    table = totals(photos)
    for column, values in (
        (Column.FACES, np.ones(len(photo))),
        (Column.OF_KNOWN_GENDER, np.ones(len(photo))),
        (Column.WOMEN, women),
        (Column.WOMEN_WITH_AGE, women),
        (Column.MEN_WITH_AGE, ~women),
        (Column.AGES_OF_WOMEN, ages * women),
        (Column.AGES_OF_MEN, ages * ~women),
    ):
        np.add.at(table[:, column], photo, values)
    return table


def run_audits(audits: int, photos: int = 5000, reviewed: int = 200, seed: int = 7) -> dict[str, Audits]:
    """Return what so many audits of one task came to, by the name of the figure."""
    rng = np.random.default_rng(seed)
    true, engine = make_photos(rng, photos)
    drawn = [rng.choice(photos, reviewed, replace=False) for _ in range(audits)]
    return {name: _audited(name, true, engine, drawn) for name in FIGURES}


def _audited(name: str, true: Table, engine: Table, drawn: list[npt.NDArray[np.int64]]) -> Audits:
    figure = FIGURES[name]
    truth = true[:, figure.part].sum() / true[:, figure.whole].sum() * (len(true) if figure.is_total else 1)
    rows = []
    for chosen in drawn:
        found = estimate(Sample(engine, engine[chosen], true[chosen]), figure, 0.95)
        assert found and found.uncorrected is not None
        powered, alone = found.powered, found.sample_only
        rows.append(
            (
                powered.low <= truth <= powered.high,
                alone.low <= truth <= alone.high,
                powered.low <= found.uncorrected <= powered.high,
                powered.high - powered.low,
                alone.high - alone.low,
            )
        )
    return Audits(*(float(mean) for mean in np.array(rows, dtype=np.float64).mean(axis=0)))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("audits", 2000), ("photos", 5000), ("reviewed", 200), ("seed", 7)):
        parser.add_argument(f"--{option}", type=int, default=default)
    given = parser.parse_args()
    print("| Figure | Holds the truth | Sample only | Holds the uncorrected value | Width, of sample only |")
    print("|---|---|---|---|---|")
    for name, found in run_audits(given.audits, given.photos, given.reviewed, given.seed).items():
        shares = (found.covered, found.sample_only_covered, found.uncorrected_within)
        width = found.width / found.sample_only_width
        print(f"| `{name}` | {' | '.join(f'{100 * share:.1f} %' for share in shares)} | {width:.2f} |")


if __name__ == "__main__":
    main()
