"""Gender and age of faces that were found, each with how sure it is, and how good the picture of the face is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from service.features.faces.engines.local import calibration
from service.features.faces.engines.local.alignment import crops, placement
from service.features.faces.engines.local.sessions import Bytes, Floats, load
from service.features.faces.engines.local.yunet import Candidates

BATCH = 16  # faces: there is memory for the crops of so many
# faceres-deep sees more round the face: of 1 to 2 times the side, this was best on two labelled sets.
DEEP_ZOOM, DEEP_RISE = 1.5, -0.05
YEARS = np.arange(1, 101, dtype=np.float32)  # what faceres-deep's classes stand for
MOMENTS = np.stack([YEARS, YEARS**2], axis=1)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is told of one face; ages in years."""

    male_probability: float
    age: float
    age_low: float
    age_high: float
    sharpness: float  # variance of the Laplacian of the crop in grey, 112 pixels wide; below some 20 it is blurred
    brightness: float  # mean of that crop, 0 to 1


class AttributeNetworks:
    """Three networks: faceres-deep (age, gender), agegender-fa (age, gender) and gender-v1.

    The last two are asked twice, about the face and its mirror image.
    """

    def __init__(self, models: Path) -> None:
        self._deep = load(models / "faceres-deep.onnx")
        self._second = load(models / "agegender-fa.onnx")
        self._small = load(models / "gender-v1.onnx")

    def estimate(self, picture: Image.Image, faces: Candidates) -> list[Attributes]:
        """Return the attributes of the faces of an RGB picture, in whose pixels they are."""
        order = list(range(len(faces.scores)))
        batches = (faces.select(order[first : first + BATCH]) for first in range(0, len(order), BATCH))
        return [face for batch in batches for face in self._batch(picture, batch)]

    def _batch(self, picture: Image.Image, faces: Candidates) -> list[Attributes]:
        placements = [placement(points) for points in faces.landmarks]
        wide = crops(picture, [place.widened(DEEP_ZOOM, DEEP_RISE) for place in placements], 224)
        tight, tiny = crops(picture, placements, 112), crops(picture, placements, 32)
        deep_age, spread, deep_odds = self._ask_deep(wide)
        second_age, second_odds = self._ask_second(tight)
        small_odds = self._ask_small(tiny)
        sharpness, brightness = _quality(tight)

        doubts = calibration.doubt(sharpness, brightness)
        opinions = np.stack([small_odds, second_odds, deep_odds], axis=1)
        males = calibration.male_probability(opinions, doubts)
        ages = calibration.age(deep_age, second_age)
        wider = calibration.widening(doubts, faces.scores)
        low, high = calibration.age_range(ages, abs(second_age - deep_age), spread, wider)
        columns = (males, ages, low, high, sharpness, brightness)
        return [Attributes(*map(float, row)) for row in zip(*columns, strict=True)]

    def _ask_deep(self, faces: Bytes) -> tuple[Floats, Floats, Floats]:
        """Return mean age, its standard deviation and the log-odds of male, (n,) each."""
        classes, males = _answers(self._deep.run, ["age_pred/Softmax", "gender_pred/Sigmoid"], faces[:, None])
        means, squares = (classes[:, 0] @ MOMENTS).T
        return means, np.sqrt((squares - means**2).clip(0)), calibration.log_odds(males[:, 0, 0])

    def _ask_second(self, faces: Bytes) -> tuple[Floats, Floats]:
        """Return ages in years and the log-odds of male, (n,) each."""
        ages, males = _answers(self._second.run, ["age", "gender"], with_mirror_images(faces))
        return ages[..., 0].clip(0, 100).mean(axis=1), calibration.log_odds(males[..., 0]).mean(axis=1)

    def _ask_small(self, faces: Bytes) -> Floats:
        """Return the log-odds of male, (n,)."""
        (genders,) = _answers(self._small.run, ["probabilities"], with_mirror_images(faces))
        odds: Floats = calibration.log_odds(genders[..., 1]).mean(axis=1)
        return odds


def with_mirror_images(faces: Bytes) -> Bytes:
    """Return each of n faces and its mirror image, (n, 2, 3, h, w)."""
    return np.stack([faces, faces[..., ::-1]], axis=1)


def _answers(run: Callable[..., Sequence[Floats]], outputs: Sequence[str], faces: Bytes) -> list[Floats]:
    """Return what `run` of a network says of each row, one by one: together they would not fit the processor's cache.

    `faces` are n rows of k faces, (n, k, 3, h, w), and the answers (n, k, …).
    """
    runs = [run(outputs, {"planes": row}) for row in faces]
    return [np.stack(answers) for answers in zip(*runs, strict=True)]


def _quality(faces: Bytes) -> tuple[Floats, Floats]:
    """Return sharpness and brightness, (n,) each."""
    red, green, blue = faces.astype(np.int16).swapaxes(0, 1)
    total = red + green + blue  # three times the grey, in whole numbers of 16 bits: half of the time of floats
    middle = total[:, 1:-1, 1:-1]
    laplacian = 4 * middle - total[:, :-2, 1:-1] - total[:, 2:, 1:-1] - total[:, 1:-1, :-2] - total[:, 1:-1, 2:]
    return laplacian.astype(np.float32).var(axis=(1, 2)) / 9, total.mean(axis=(1, 2)) / (3 * 255)
