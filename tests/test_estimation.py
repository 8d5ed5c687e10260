"""Estimates from a checked sample and the engine's answers: right numbers, and intervals that keep their word."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from benchmarks.audits import run_audits
from service.features.faces.estimation import Sample, estimate, ratio_and_power, student, totals
from service.features.faces.figures import FIGURES, columns_of

AUDITS = 500


def audited() -> Sample:
    """Return a sample of 60 photos out of 400, whose engine errs in gender and age, and misses faces."""
    photos = 400
    engine, true = totals(photos), totals(photos)
    for photo in range(photos):
        for face in range((7 * photo * photo + 3 * photo) % 5):
            is_woman = (photo + face) % 3 == 0
            is_taken_for_one = is_woman != ((photo + face) % 29 == 0)
            age = 20 + (11 * photo + 5 * face) % 40
            for column, value in columns_of("female" if is_taken_for_one else "male", age - 4.0 + (photo * face) % 7):
                engine[photo, column] += value
            for column, value in columns_of("female" if is_woman else "male", age):
                true[photo, column] += value
        if photo % 11 == 0:
            for column, value in columns_of("female", 33.0):
                true[photo, column] += value
    chosen = [(37 * place) % photos for place in range(60)]
    return Sample(engine, engine[chosen], true[chosen])


ORACLE = {
    "faces": 2.0833333333333335,
    "women_share": 0.35071726185278973,
    "men_average_age": 40.182542584017654,
    "women_average_age": 39.52444265721789,
}
"""What `ppi_mean_pointestimate` of ppi-python 0.2.3 says of `audited`: one mean over the other, at the power used."""
ORACLE_INTERVAL = 1.6253283661614617, 2.5413383005052053
"""Its `ppi_mean_ci` of faces a photo, of the sample alone (`lam=0`), at 95 %."""


@pytest.mark.parametrize("name", ORACLE)
def test_estimates_are_those_of_the_package_of_the_method(name: str) -> None:
    sample, figure = audited(), FIGURES[name]
    ratio, power = ratio_and_power(sample, figure)
    assert ratio == pytest.approx(ORACLE[name], rel=1e-9)
    assert 0 < power <= 1
    found = estimate(sample, figure, 0.95)
    assert found is not None
    times = len(sample.all_photos) if figure.is_total else 1
    assert found.powered.value == pytest.approx(ORACLE[name] * times, rel=1e-9)


def test_the_spread_of_a_sample_alone_is_that_of_the_package_for_a_finite_number_of_photos() -> None:
    sample = audited()
    ages = sample.true[:, FIGURES["faces"].part]
    oracle = (ORACLE_INTERVAL[1] - ORACLE_INTERVAL[0]) / 2 / NormalDist().inv_cdf(0.975)
    assert oracle == pytest.approx(ages.std() / math.sqrt(60), rel=1e-9)
    found = estimate(sample, FIGURES["faces"], 0.95)
    assert found is not None
    half = (found.sample_only.high - found.sample_only.low) / 2 / 400
    assert half == pytest.approx(oracle * math.sqrt(60 / 59 * (1 - 60 / 400)) * student(0.95, 59), rel=1e-9)


@pytest.mark.parametrize(("freedom", "quantile"), [(29, 2.04523), (59, 2.00100), (199, 1.97196)])
def test_the_quantile_is_students(freedom: int, quantile: float) -> None:
    assert student(0.95, freedom) == pytest.approx(quantile, abs=1e-4)


def test_a_sample_of_all_photos_is_the_truth() -> None:
    sample = audited()
    everything = Sample(sample.engine, sample.engine, sample.true)
    for name, figure in FIGURES.items():
        found = estimate(everything, figure, 0.95)
        times = 60 if figure.is_total else 1
        truth = times * sample.true[:, figure.part].sum() / sample.true[:, figure.whole].sum()
        assert found is not None
        for bound in (found.powered.value, found.powered.low, found.powered.high, found.sample_only.low):
            assert bound == pytest.approx(truth, rel=1e-9), name


def test_nothing_is_estimated_of_few_photos_or_of_nobody() -> None:
    sample = audited()
    few = Sample(sample.all_photos, sample.engine[:29], sample.true[:29])
    assert [estimate(few, figure, 0.95) for figure in FIGURES.values()] == [None] * 4
    nobody = Sample(sample.all_photos, sample.engine, totals(60))
    found = {name: estimate(nobody, figure, 0.95) for name, figure in FIGURES.items()}
    assert [name for name, one in found.items() if one] == ["faces"]
    assert found["faces"] is not None
    assert np.isfinite(found["faces"].powered.high)


def test_intervals_hold_the_truth_as_often_as_they_say_and_the_uncorrected_value_hardly_ever_is_in_them() -> None:
    for name, audits in run_audits(AUDITS).items():
        assert 0.92 <= audits.covered <= 0.98, name
        assert audits.width <= 0.65 * audits.sample_only_width, name
        assert audits.uncorrected_within <= (0.5 if name == "women_share" else 0.0), name
