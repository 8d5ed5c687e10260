"""Gender and age of faces that were found, each with how sure it is, and how good the picture of the face is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from service.features.faces.engines.local import calibration
from service.features.faces.engines.local.alignment import crops, placement
from service.features.faces.engines.local.sessions import Bytes, Floats, load
from service.features.faces.engines.local.yunet import Candidates

BATCH = 16  # faces a run: a tenth faster than one by one, and memory for no more is kept
# What dlib's `input_rgb_image` does to a pixel: (RGB - mean) / 256.
DLIB_MEAN = np.array([122.781998, 117.000999, 104.297997], np.float32)
# What Caffe's networks have taken off: blue, green, red.
CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)
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
        order = list(range(len(faces.scores)))
        batches = (faces.select(order[first : first + BATCH]) for first in range(0, len(order), BATCH))
        return [face for batch in batches for face in self._batch(picture, batch)]

    def _batch(self, picture: Image.Image, faces: Candidates) -> list[Attributes]:
        placements = [placement(points) for points in faces.landmarks]
        wide = crops(picture, [place.widened(DEEP_ZOOM, DEEP_RISE) for place in placements], 224)
        tight = crops(picture, placements, 112)
        deep_age, spread, deep_odds = self._ask_deep(wide)
        second_age, second_odds = self._ask_second(tight)
        small_odds = self._ask_small(crops(picture, placements, 32))
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
        outputs = ["age_pred/Softmax", "gender_pred/Sigmoid"]
        classes, males = self._deep.run(outputs, {"input_1": _as_caffe(faces)})
        means = classes @ YEARS
        variances = classes @ YEARS**2 - means**2
        return means, np.sqrt(variances.clip(0)), calibration.log_odds(males[:, 0])

    def _ask_second(self, faces: Bytes) -> tuple[Floats, Floats]:
        """Return ages in years and the log-odds of male."""
        ages, males = self._second.run(["age", "gender"], {"image": _with_mirror_images(faces)})
        return _mean_of_both(ages[:, 0].clip(0, 100)), _mean_of_both(calibration.log_odds(males[:, 0]))

    def _ask_small(self, faces: Bytes) -> Floats:
        """Return the log-odds of male."""
        planes = (_with_mirror_images(faces) - DLIB_MEAN[:, None, None]) / 256
        (genders,) = self._small.run(None, {"images": planes})
        return _mean_of_both(calibration.log_odds(genders[:, 1]))


def _as_caffe(faces: Bytes) -> Floats:
    """Return the faces as BGR without the mean."""
    planes = np.empty(faces.shape, np.float32)
    for colour, mean in enumerate(CAFFE_MEAN):
        np.subtract(faces[:, 2 - colour], mean, out=planes[:, colour])
    return planes


def _with_mirror_images(faces: Bytes) -> Floats:
    return np.concatenate([faces, faces[..., ::-1]]).astype(np.float32)


def _mean_of_both(answers: Floats) -> Floats:
    """Return the mean of what was said of each face and of its mirror image, (n,) from (2n,)."""
    mean: Floats = answers.reshape(2, -1).mean(axis=0)
    return mean


def _quality(faces: Bytes) -> tuple[Floats, Floats]:
    """Return sharpness and brightness, (n,) each."""
    red, green, blue = faces.astype(np.float32).swapaxes(0, 1)
    grey = (red + green + blue) / 3  # a third of the time of `mean` over so short an axis
    middle = grey[:, 1:-1, 1:-1]
    laplacian = 4 * middle - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    return laplacian.var(axis=(1, 2)), grey.mean(axis=(1, 2)) / 255
