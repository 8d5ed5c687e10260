"""Face engines as another package would bring them."""

import io
import os
import signal
import time

import numpy as np
from PIL import Image

from service.features.faces.engines.engine import Detection, Detections


class Bare:
    """Returns a bare list, smallest first, with NumPy's numbers."""

    def detect(self, image: bytes) -> list[Detection]:
        small = Detection(np.int64(1), np.float32(2.4), 10, 10, "female", np.float32(64.0), np.float64(0.5))
        return [small, Detection(20, 1, 30, 40, "unknown", None, None)]


class Full:
    """Says all that can be said."""

    def detect(self, image: bytes) -> Detections:
        face = Detection(1, 2, 30, 35, "male", 70.0, 0.9, male_probability=0.75, age_low=60.0, age_high=80.0)
        return Detections([face], searched_width=640, rotation=90)


class Broken:
    """Breaks down on every image."""

    def detect(self, image: bytes) -> list[Detection]:
        raise RuntimeError("a secret of the inside")


class Nonsense:
    """Returns what is no face."""

    def detect(self, image: bytes) -> list[Detection]:
        return [Detection(1, 2, 3, 4, "robot", None, float("nan"))]  # type: ignore[arg-type]


class Slow:
    """Takes its time, so that a run can be broken off."""

    def detect(self, image: bytes) -> list[Detection]:
        time.sleep(0.01)
        return [Detection(1, 2, 30, 35, "female", 20.0, 0.9)]


class DeadlyOnce:
    """Kills the first process that is asked, if the file that DEADLY_MARK names is not there yet."""

    def detect(self, image: bytes) -> list[Detection]:
        try:
            os.close(os.open(os.environ["DEADLY_MARK"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return []
        os.kill(os.getpid(), signal.SIGKILL)
        return []


class Deadly:
    """Kills its process at photos of one width, 99 pixels."""

    def detect(self, image: bytes) -> list[Detection]:
        if Image.open(io.BytesIO(image)).width == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        return []
