"""Gender and age of faces that were found, each with how sure it is, and how good the picture of the face is."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from service.features.faces.engines.local import calibration
from service.features.faces.engines.local.alignment import Placement, crop, placement
from service.features.faces.engines.local.sessions import Bytes, Floats, load
from service.features.faces.engines.local.yunet import Candidates

# What has been taken off red, green and blue: by dlib's `input_rgb_image`, and for Caffe's networks.
DLIB_MEAN = np.array([122.781998, 117.000999, 104.297997], np.float32)
CAFFE_MEAN = np.array([123.68, 116.779, 103.939], np.float32)
# faceres-deep sees more round the face: of 1 to 2 times the side, this was best on two labelled sets.
DEEP_ZOOM, DEEP_RISE = 1.5, -0.05
YEARS = np.arange(1, 101, dtype=np.float32)  # what faceres-deep's classes stand for


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
        if not len(faces.scores):
            return []
        # One by one: in a batch the layers of a network do not fit the processor's cache, and it takes 3 % longer.
        answers = np.array([self._ask(picture, placement(points)) for points in faces.landmarks])
        deep_age, spread, deep_odds, second_age, second_odds, small_odds, sharpness, brightness = answers.T

        doubts = calibration.doubt(sharpness, brightness)
        opinions = np.stack([small_odds, second_odds, deep_odds], axis=1)
        males = calibration.male_probability(opinions, doubts)
        ages = calibration.age(deep_age, second_age)
        wider = calibration.widening(doubts, faces.scores)
        low, high = calibration.age_range(ages, abs(second_age - deep_age), spread, wider)
        columns = (males, ages, low, high, sharpness, brightness)
        return [Attributes(*map(float, row)) for row in zip(*columns, strict=True)]

    def _ask(self, picture: Image.Image, place: Placement) -> tuple[float, ...]:
        """Return what `_ask_deep`, `_ask_second`, `_ask_small` and `_quality` say of the face at this place."""
        wide = crop(picture, place.widened(DEEP_ZOOM, DEEP_RISE), 224)
        tight, tiny = crop(picture, place, 112), crop(picture, place, 32)
        return (*self._ask_deep(wide), *self._ask_second(tight), self._ask_small(tiny), *_quality(tight))

    def _ask_deep(self, face: Bytes) -> tuple[float, float, float]:
        """Return mean age, its standard deviation and the log-odds of male."""
        outputs = ["age_pred/Softmax", "gender_pred/Sigmoid"]
        classes, males = self._deep.run(outputs, {"planes": less(face[None], CAFFE_MEAN)})
        mean = classes[0] @ YEARS
        variance = classes[0] @ YEARS**2 - mean**2
        return mean, math.sqrt(max(0, variance)), calibration.log_odds(males).mean()

    def _ask_second(self, face: Bytes) -> tuple[float, float]:
        """Return age in years and the log-odds of male."""
        ages, males = self._second.run(["age", "gender"], {"planes": less(with_mirror_image(face), DLIB_MEAN)})
        return ages.clip(0, 100).mean(), calibration.log_odds(males[:, 0]).mean()

    def _ask_small(self, face: Bytes) -> float:
        """Return the log-odds of male."""
        (genders,) = self._small.run(None, {"planes": less(with_mirror_image(face), DLIB_MEAN)})
        return float(calibration.log_odds(genders[:, 1]).mean())


def less(faces: Bytes, mean: Floats) -> Floats:
    """Return the planes of faces, (n, 3, h, w), without the mean of each."""
    return np.subtract(faces, mean[:, None, None])


def with_mirror_image(face: Bytes) -> Bytes:
    """Return the face and its mirror image, (2, 3, h, w)."""
    return np.stack([face, face[..., ::-1]])


def _quality(face: Bytes) -> tuple[float, float]:
    """Return sharpness and brightness."""
    red, green, blue = face.astype(np.float32)
    grey = (red + green + blue) / 3  # a third of the time of `mean` over so short an axis
    middle = grey[1:-1, 1:-1]
    laplacian = 4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return laplacian.var(), grey.mean() / 255
