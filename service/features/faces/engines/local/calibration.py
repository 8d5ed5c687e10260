"""From what the networks say to what may be told: probabilities, years and ranges.

Every constant was fitted to labelled photos; docs/engine.md says to which, and how well it does on others.
"""

import numpy as np

from service.features.faces.engines.local.sessions import Floats

# Years to add to the mean of the two age networks: both take the old for younger than they are. Less after 75 than the
# fits ask for, since the fitted set has far more people over 85 than photos have.
AGE_CURVE_AT = (0, 25, 35, 45, 55, 65, 75, 85)
AGE_CURVE = (0, 0, 0.5, 2, 3.5, 4.5, 5, 4)
# The share of faceres-deep in that mean, by age: it is the worse of the two for children.
DEEP_SHARE_AT, DEEP_SHARE = (12, 22), (0.2, 0.5)
# Quantile regressions, 5 % and 95 %, of the age's error in years on a constant, age/50, (age/50)², the two networks'
# disagreement/10 and the spread of faceres-deep's classes/10.
RANGE_LOW = np.array([0.65, -15.13, 6.83, -0.19, -6.02])
RANGE_HIGH = np.array([0.75, 16.42, -8.84, 2.24, 5.91])
# A logistic regression on the log-odds of male by gender-v1, agegender-fa and faceres-deep, and its constant.
GENDER_WEIGHTS, GENDER_CONSTANT = np.array([0.25, 0.9, 0.15]), -0.2

# In a dark or blurred crop the networks see less than they say. Log-odds are divided by 0.2/brightness below 0.2, and
# by √(10/sharpness) below 10: then "0.8" is right as often as in light. Brightening the crop amplifies noise, and the
# networks become surer without being right more often.
DARK, BLURRED, MOST_DOUBT = 0.2, 10.0, 8.0
# A covered face scores less with the detector: masks 0.88 to 0.92, and 97 % of portraits more. The range is
# wider by 30 % for each hundredth below that.
FULL_VIEW, WIDER_BY_SCORE, MOST_WIDER, OLDEST = 0.92, 30.0, 3.0, 110


def log_odds(probabilities: Floats) -> Floats:
    """Return ln(p / (1 - p)), with p kept 0.0001 away from 0 and 1."""
    p = probabilities.astype(np.float64).clip(1e-4, 1 - 1e-4)
    odds: Floats = np.log(p / (1 - p))
    return odds


def doubt(sharpness: Floats, brightness: Floats) -> Floats:
    """Return what to divide log-odds by, (n,), at least 1, from sharpness and brightness of the crops."""
    dark = DARK / brightness.clip(1e-3, DARK)
    blurred = np.sqrt(BLURRED / sharpness.clip(1e-3, BLURRED))
    product: Floats = (dark * blurred).clip(1, MOST_DOUBT)
    return product


def widening(doubts: Floats, scores: Floats) -> Floats:
    """Return by how much the range of ages is wider than for a clear face, (n,), 1 to 3."""
    covered = 1 + WIDER_BY_SCORE * (FULL_VIEW - scores).clip(0)
    factor: Floats = (np.sqrt(doubts) * covered).clip(1, MOST_WIDER)
    return factor


def male_probability(opinions: Floats, doubts: Floats) -> Floats:
    """Return the probability of male, (n,), from three networks' log-odds, (n, 3), and the doubt, (n,)."""
    odds = (opinions @ GENDER_WEIGHTS + GENDER_CONSTANT) / doubts
    probability: Floats = 1 / (1 + np.exp(-odds))
    return probability


def age(deep: Floats, second: Floats) -> Floats:
    """Return ages in years from those of faceres-deep and agegender-fa, (n,) each."""
    share = np.interp((deep + second) / 2, DEEP_SHARE_AT, DEEP_SHARE)
    mean = share * deep + (1 - share) * second
    years: Floats = np.clip(mean + np.interp(mean, AGE_CURVE_AT, AGE_CURVE), 0, 100)
    return years


def age_range(years: Floats, disagreement: Floats, spread: Floats, wider: Floats) -> tuple[Floats, Floats]:
    """Return the ages that hold the true one nine times in ten, (n,) each; all arguments are years but `wider`."""
    about = years / 50
    features = np.stack([np.ones_like(about), about, about**2, disagreement / 10, spread / 10], axis=1)
    low = years + np.minimum(features @ RANGE_LOW, 0) * wider
    high = years + np.maximum(features @ RANGE_HIGH, 0) * wider
    return low.clip(0), high.clip(0, OLDEST)
