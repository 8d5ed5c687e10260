"""YuNet: boxes, scores and landmarks of the faces in a picture, at the size at which it is given."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from service.features.faces.engines.local.sessions import Bytes, Floats, load

STRIDES = (8, 16, 32)  # pixels: the sides of the cells of the network's three grids
LEAST_SCORE = 0.75


class Candidates(NamedTuple):
    """What may be faces, n of them, in pixels of one picture."""

    boxes: Floats  # (n, 4): left, top, right, bottom
    scores: Floats  # (n,): 0 to 1
    landmarks: Floats  # (n, 5, 2): x and y of the eyes, the nose, the corners of the mouth, each pair from the left

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return the candidates of several looks as one set."""
        if not parts:
            return cls(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def select(self, chosen: list[int]) -> Self:
        """Return some of them, in this order."""
        return type(self)(self.boxes[chosen], self.scores[chosen], self.landmarks[chosen])

    def moved(self, left: int, top: int, scale: float) -> Self:
        """Return them in pixels of the picture of which theirs was a part: from this corner, shrunk to this scale."""
        corner = np.array([left, top])
        boxes = (self.boxes + np.tile(corner, 2)) / scale
        return type(self)(boxes, self.scores, (self.landmarks + corner) / scale)

    def within(self, left: float, top: float, right: float, bottom: float) -> Self:
        """Return those whose boxes lie between these edges."""
        boxes = self.boxes
        inside = (boxes[:, 0] > left) & (boxes[:, 1] > top) & (boxes[:, 2] < right) & (boxes[:, 3] < bottom)
        return self.select(np.flatnonzero(inside).tolist())

    @property
    def best_score(self) -> float:
        """The highest score, 0.0 where there are none."""
        return float(self.scores.max(initial=0.0))


class YuNet:
    """The detector. It sees faces from some 20 to some 400 pixels of height, best above 30."""

    def __init__(self, models: Path) -> None:
        self._session = load(models / "yunet.onnx")

    def detect(self, picture: Image.Image) -> Candidates:
        """Return the candidates in an RGB picture, overlapping ones too.

        A cell's score is √(class · objectness); its box is centre + offset · stride, eˢⁱᶻᵉ · stride; its landmarks are
        cell + offset · stride: OpenCV's `FaceDetectorYN`, modules/objdetect/src/face_detect.cpp, `postProcess`.
        """
        canvas = _canvas(picture)
        scores, places = self._session.run(["scores", "places"], {"planes": canvas})
        chances = scores[0] * scores[1]
        likely = np.flatnonzero(chances >= LEAST_SCORE**2)
        corners, strides = (values[likely] for values in _cells(*canvas.shape[2:]))
        found = places[:, likely].T
        centres = corners + found[:, :2] * strides
        halves = np.exp(found[:, 2:4]) * strides / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=1)
        landmarks = (found[:, 4:] * strides).reshape(-1, 5, 2) + corners[:, None]
        return Candidates(boxes, np.sqrt(chances[likely].clip(0, 1)), landmarks)


def _canvas(picture: Image.Image) -> Bytes:
    """Return the network's input, planes of shape (1, 3, h, w), padded to multiples of 32."""
    width, height = picture.size
    canvas = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.uint8)
    for plane, colour in zip(canvas[0], "RGB", strict=True):  # faster than to transpose the pixels, or to split them
        plane[:height, :width] = np.frombuffer(picture.tobytes("raw", colour), np.uint8).reshape(height, width)
    return canvas


@lru_cache(maxsize=16)
def _cells(height: int, width: int) -> tuple[Floats, Floats]:
    """Return the corners of the cells of a canvas, (n, 2), x and y in its pixels, and their sides, (n, 1)."""
    corners = [np.indices((height // side, width // side))[::-1].reshape(2, -1).T * side for side in STRIDES]
    strides = [np.full((len(grid), 1), side) for side, grid in zip(STRIDES, corners, strict=True)]
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
