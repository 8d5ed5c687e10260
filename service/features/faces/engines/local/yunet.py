"""YuNet: boxes, scores and landmarks of the faces in a picture, at the size at which it is given."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from service.features.faces.engines.local.sessions import Floats, load

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
        self._outputs = [output.name for output in self._session.get_outputs()]

    def detect(self, picture: Image.Image) -> Candidates:
        """Return the candidates in an RGB picture, overlapping ones too."""
        canvas = _canvas(picture)
        results = self._session.run(self._outputs, {"input": canvas})
        output = {name: values[0] for name, values in zip(self._outputs, results, strict=True)}
        columns = canvas.shape[3]
        seen = [part for stride in STRIDES if (part := _decode(output, stride, columns // stride))]
        return Candidates.join(seen)


def _canvas(picture: Image.Image) -> Floats:
    """Return the network's input, BGR planes from 0 to 255 of shape (1, 3, h, w), padded to multiples of 32."""
    width, height = picture.size
    canvas = np.empty((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
    canvas[..., height:, :] = canvas[..., width:] = 0  # the padding alone: to clear all of it takes a quarter longer
    for plane, colour in enumerate("BGR"):  # faster than to transpose the pixels, or to split them into pictures
        values = np.frombuffer(picture.tobytes("raw", colour), np.uint8)
        canvas[0, plane, :height, :width] = values.reshape(height, width)
    return canvas


def _decode(output: dict[str, Floats], stride: int, columns: int) -> Candidates | None:
    """Read one grid of the network's answers, in pixels of the canvas; None where it is empty.

    A cell's score is √(class · objectness); its box is centre + offset · stride, eˢⁱᶻᵉ · stride; its landmarks are
    cell + offset · stride: OpenCV's `FaceDetectorYN`, modules/objdetect/src/face_detect.cpp, `postProcess`.
    """
    chances = output[f"cls_{stride}"][:, 0] * output[f"obj_{stride}"][:, 0]
    likely = np.flatnonzero(chances >= LEAST_SCORE**2)
    if not likely.size:
        return None
    rows, places = np.divmod(likely, columns)
    cells = np.stack([places, rows], axis=1).astype(np.float32) * stride
    shapes = output[f"bbox_{stride}"][likely]
    centres = cells + shapes[:, :2] * stride
    halves = np.exp(shapes[:, 2:]) * stride / 2
    offsets = output[f"kps_{stride}"][likely].reshape(-1, 5, 2)
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return Candidates(boxes, np.sqrt(chances[likely].clip(0, 1)), offsets * stride + cells[:, None])
