"""YuNet: boxes, scores and landmarks of the faces in a picture, at the size at which it is given."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from service.features.faces.engines.local.sessions import Bytes, Floats, load

STRIDES = (8, 16, 32)  # pixels a cell, of the network's three grids
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
        self._outputs = [f"{kind}_{stride}" for stride in STRIDES for kind in ("scores", "places")]

    def detect(self, picture: Image.Image) -> Candidates:
        """Return the candidates in an RGB picture, overlapping ones too."""
        results = self._session.run(self._outputs, {"planes": _canvas(picture)})
        grids = zip(results[::2], results[1::2], STRIDES, strict=True)
        return Candidates.join([part for grid in grids if (part := _decode(*grid))])


def _canvas(picture: Image.Image) -> Bytes:
    """Return the network's input, planes of shape (1, 3, h, w), padded to multiples of 32."""
    width, height = picture.size
    canvas = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.uint8)
    for plane, colour in zip(canvas[0], "RGB", strict=True):  # faster than to transpose the pixels, or to split them
        plane[:height, :width] = np.frombuffer(picture.tobytes("raw", colour), np.uint8).reshape(height, width)
    return canvas


def _decode(scores: Floats, places: Floats, stride: int) -> Candidates | None:
    """Read one grid of the network's answers, in pixels of the canvas; None where it is empty.

    A cell's score is √(class · objectness); its box is centre + offset · stride, eˢⁱᶻᵉ · stride; its landmarks are
    cell + offset · stride: OpenCV's `FaceDetectorYN`, modules/objdetect/src/face_detect.cpp, `postProcess`.
    """
    chances = scores[0, 0] * scores[0, 1]
    rows, columns = np.nonzero(chances >= LEAST_SCORE**2)
    if not rows.size:
        return None
    cells = np.stack([columns, rows], axis=1).astype(np.float32) * stride
    found = places[0, :, rows, columns]
    centres = cells + found[:, :2] * stride
    halves = np.exp(found[:, 2:4]) * stride / 2
    offsets = found[:, 4:].reshape(-1, 5, 2)
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return Candidates(boxes, np.sqrt(chances[rows, columns].clip(0, 1)), offsets * stride + cells[:, None])
