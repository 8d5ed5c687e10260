"""Estimates by prediction-powered inference: figures of all photos, from a checked sample and the engine's answers.

Angelopoulos, Bates, Fannjiang, Jordan, Zrnic: Prediction-powered inference, Science 382 (2023); the power tuning is
that of Angelopoulos, Duchi, Zrnic: PPI++ (2023). Photos are the units, since faces of one photo are alike, and the
sample is drawn from them without replacement. Variances are those of the jackknife with the finite population
correction: Shao and Tu, The Jackknife and Bootstrap (1995), chapter 6.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from service.features.faces.figures import LEAST_PHOTOS, Column, Estimate, Figure, Interval

Table = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """The totals of photos, a row each: the engine's of all; the engine's and the true ones of those checked."""

    all_photos: Table
    engine: Table
    true: Table


def totals(photos: int) -> Table:
    """Return the totals of so many photos without faces."""
    table = np.zeros((photos, len(Column)))
    table[:, Column.PHOTOS] = 1
    return table


def estimate(sample: Sample, figure: Figure, confidence: float) -> Estimate | None:
    """Return the estimate of a figure; None of too few photos, and where the sample has nobody that it is about."""
    if len(sample.true) < LEAST_PHOTOS or not sample.true[:, figure.whole].any():
        return None
    powered, alone = (_interval(sample, figure, confidence, powered=powered) for powered in (True, False))
    if powered is None or alone is None:
        return None
    part, whole = sample.all_photos[:, figure.part].sum(), sample.all_photos[:, figure.whole].sum()
    uncorrected = _scale(sample, figure) * float(part / whole) if whole else None
    return Estimate(powered, uncorrected, alone)


def ratio_and_power(sample: Sample, figure: Figure) -> tuple[float, float]:
    """Return a figure as a ratio, and how much the engine's answers count in it: from 0 to 1, what varies least."""
    ratio, power = _ratio(sample, figure, *_moments(_pairs(sample, figure)), powered=True)
    return float(ratio), float(power)


def _interval(sample: Sample, figure: Figure, confidence: float, *, powered: bool) -> Interval | None:
    """Return the figure with the interval of the jackknife that leaves out a photo at a time."""
    pairs = _pairs(sample, figure)
    checked, photos = len(pairs), len(sample.all_photos)
    ratio, _ = _ratio(sample, figure, *_moments(pairs), powered=powered)
    without_one, _ = _ratio(sample, figure, *_moments_without_one(pairs), powered=powered)
    if not np.isfinite(ratio) or not np.isfinite(without_one).all():
        return None
    influence = without_one.mean() - without_one  # of each photo on the ratio, over n - 1
    spread = math.sqrt((influence**2).sum() * (checked - 1) / checked * (1 - checked / photos))
    quantile = student(confidence, checked - 1)
    skewness = _skewness(influence) if figure.is_total else 0.0
    middle = ratio + spread * skewness * (2 * quantile**2 + 1) / (6 * math.sqrt(checked))
    half = quantile * spread
    bounds = (float(np.clip(bound, 0, figure.most)) for bound in (ratio, middle - half, middle + half))
    return Interval(*(_scale(sample, figure) * bound for bound in bounds))


def _skewness(influence: Table) -> float:
    """Return how lopsided the errors are, by which an interval is shifted (Hall, Annals of Statistics 11, 1983).

    An engine misses more faces than it invents, so errors of a number of faces lie on one side. In those of ratios
    there is none to speak of, and to estimate it costs coverage: `python -m benchmarks.audits` shows both.
    """
    scale = math.sqrt((influence**2).mean())
    return float((influence**3).mean()) / scale**3 if scale else 0.0


def _pairs(sample: Sample, figure: Figure) -> Table:
    """Return the part and the whole of each checked photo, first the true ones and then the engine's: (n, 4)."""
    columns = [figure.part, figure.whole]
    return np.concatenate([sample.true[:, columns], sample.engine[:, columns]], axis=1)


def _moments(pairs: Table) -> tuple[Table, Table]:
    """Return means and covariances, (4,) and (4, 4)."""
    return pairs.mean(axis=0), np.cov(pairs, rowvar=False)


def _moments_without_one(pairs: Table) -> tuple[Table, Table]:
    """Return the same of the sample without each of its photos in turn, (n, 4) and (n, 4, 4)."""
    left = len(pairs) - 1
    means = (pairs.sum(axis=0) - pairs) / left
    products = pairs.T @ pairs - np.einsum("ni,nj->nij", pairs, pairs)
    return means, (products - left * np.einsum("ni,nj->nij", means, means)) / (left - 1)


def _ratio(
    sample: Sample, figure: Figure, means: Table, covariances: Table, *, powered: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the ratio of two means, each the sample's and `power` times what its photos lack; NaN where it has none.

    The power is the slope of the true values on the engine's, both as residuals of the ratio in the sample.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = means[..., 0] / means[..., 1]
        residual = np.stack([np.ones_like(alone), -alone], axis=-1)
        slope = [
            np.einsum("...i,...ij,...j", residual, covariances[..., rows, 2:], residual)
            for rows in (slice(2), slice(2, 4))
        ]
        power = np.where(slope[1] > 0, np.clip(slope[0] / slope[1], 0, 1), 0.0) * powered
        lacking = sample.all_photos[:, [figure.part, figure.whole]].mean(axis=0) - means[..., 2:]
        corrected = means[..., :2] + power[..., np.newaxis] * lacking
        return np.where(corrected[..., 1] > 0, corrected[..., 0] / corrected[..., 1], np.nan), power


def student(confidence: float, freedom: int) -> float:
    """Return the two-sided quantile of Student's t, from 29 degrees of freedom to 0.001 (Abramowitz, Stegun 26.7.5)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    terms = (z**3 + z, 5 * z**5 + 16 * z**3 + 3 * z, 3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z)
    return math.fsum((z, terms[0] / (4 * freedom), terms[1] / (96 * freedom**2), terms[2] / (384 * freedom**3)))


def _scale(sample: Sample, figure: Figure) -> int:
    return len(sample.all_photos) if figure.is_total else 1
