"""The embedded engine: bytes in, detections out. It needs no other machine.

Its figures and limits are in docs/engine.md. Importing this module costs 14 MB (numpy), the networks 60 MB more.
"""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from service.features.faces.engines.engine import Detection, Detections, Gender, Quality, never
from service.features.faces.engines.local.attributes import AttributeNetworks, Attributes
from service.features.faces.engines.local.search import EFFORTS, Found, Search, finest_scale, worthwhile_scale
from service.features.faces.engines.local.sessions import Floats, share_arena
from service.features.faces.engines.local.yunet import YuNet
from service.imaging.decode import upright
from service.imaging.failures import image_failures
from service.imaging.pixel_budget import PixelBudget
from service.imaging.structure import read_structure
from service.jobs.operation import Cancelled, Failure

MODELS = Path(__file__).parents[1] / "models"
DECODED_SIDE = 1600  # pixels: more than the first look needs, so that a small face still has an age

GENDER_THRESHOLD = 0.8
# Children's gender is little better than a guess: at 0.95 43 % of them are answered, and 96 % of these right.
CHILD_THRESHOLD, CHILD_AGE = 0.95, 13
LEAST_HEIGHT = 40  # pixels of the box; below it gender is unknown


class LocalEngine:
    """Finds faces in this process, in as many threads as call it; the networks are loaded at the first call.

    `search` is how closely photos are searched: `fast`, `balanced` or `thorough`. `gender` is `unknown` where the
    likelier one has a lower probability than `gender_threshold`. `pixels` bounds the memory of
    decoding.
    """

    def __init__(
        self,
        models: Path = MODELS,
        *,
        search: str = "balanced",
        gender_threshold: float = GENDER_THRESHOLD,
        pixels: PixelBudget | None = None,
    ) -> None:
        self._models = models
        self._pixels = pixels or PixelBudget()
        self._effort = EFFORTS[search]
        self._gender_threshold = gender_threshold
        self._loading = threading.Lock()
        self._loaded: tuple[int, _Networks] | None = None

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, due_at: float = 0.0) -> Detections:
        """Return the faces of an image of an accepted type, largest box first, in pixels of the upright original.

        Raises `Failure`: `image_rejected`, which lasts, or `engine_failed`, which one more run may heal.
        """
        with image_failures():
            picture, shrunk, scale = self._decode(image)
        if cancelled():
            raise Cancelled
        try:
            found, attributes = self._networks().look_at(picture, scale)
        except Exception as error:  # onnxruntime's errors have no class in common
            raise Failure("engine_failed", "The embedded face engine broke down on this image.", attempts=2) from error
        boxes = boxes_before(found, picture.size) / shrunk
        faces = [
            self._detection(box, float(score), face)
            for box, score, face in zip(boxes, found.candidates.scores, attributes, strict=True)
        ]
        faces.sort(key=lambda face: face.width * face.height, reverse=True)
        return Detections(faces, searched_width=max(1, round(picture.width * scale)), rotation=found.rotation)

    def close(self) -> None:
        """Let go of the networks."""
        self._loaded = None

    def _decode(self, image: bytes) -> tuple[Image.Image, float, float]:
        """Return the upright picture, its side over the original's, and the scale to search it at."""
        header = read_structure(io.BytesIO(image), "The image")
        finest = finest_scale(header.upright_size, self._effort)
        least = max(DECODED_SIDE, round(max(header.upright_size) * finest))
        picture, shrunk = upright(image, self._pixels, max_side=least, header=header)
        return picture, shrunk, worthwhile_scale(finest / shrunk)

    def _detection(self, box: Floats, score: float, face: Attributes) -> Detection:
        left, top, right, bottom = (float(edge) for edge in box)
        height = round(bottom - top)
        return Detection(
            x=round(left),
            y=round(top),
            width=round(right - left),
            height=height,
            gender=self._gender(face, height),
            age=round(face.age, 1),
            score=round(score, 4),
            male_probability=round(face.male_probability, 4),
            age_low=round(face.age_low, 1),
            age_high=round(face.age_high, 1),
            quality=Quality(height, round(face.sharpness, 1), round(face.brightness, 3)),
        )

    def _gender(self, face: Attributes, height: int) -> Gender:
        threshold = self._gender_threshold
        if face.age < CHILD_AGE:
            threshold = max(threshold, CHILD_THRESHOLD)
        if height < LEAST_HEIGHT or max(face.male_probability, 1 - face.male_probability) < threshold:
            return "unknown"
        return "male" if face.male_probability > 0.5 else "female"

    def _networks(self) -> "_Networks":
        """Return this process's networks. A forked child makes its own: their threads did not come along."""
        loaded = self._loaded
        if loaded and loaded[0] == os.getpid():
            return loaded[1]
        with self._loading:
            loaded = self._loaded
            if not loaded or loaded[0] != os.getpid():
                self._loaded = loaded = (os.getpid(), _Networks(self._models))
        return loaded[1]


class _Networks:
    """All networks of the engine, loaded."""

    def __init__(self, models: Path) -> None:
        share_arena()
        self._search = Search(YuNet(models))
        self._attributes = AttributeNetworks(models)

    def look_at(self, picture: Image.Image, scale: float) -> tuple[Found, list[Attributes]]:
        """Find the faces of an upright RGB picture at up to this scale, and estimate the attributes of each."""
        found = self._search.find(picture, scale)
        return found, self._attributes.estimate(found.picture, found.candidates)


def boxes_before(found: Found, size: tuple[int, int]) -> Floats:
    """Return the boxes, (n, 4), cut to the picture of this size as it was before its rotation."""
    width, height = size
    left, top, right, bottom = found.candidates.boxes.T
    if found.rotation == 90:
        left, top, right, bottom = top, height - right, bottom, height - left
    elif found.rotation == 180:
        left, top, right, bottom = width - right, height - bottom, width - left, height - top
    elif found.rotation == 270:
        left, top, right, bottom = width - bottom, left, width - top, right
    boxes: Floats = np.stack([left, top, right, bottom], axis=1).clip(0, [width, height, width, height])
    return boxes
