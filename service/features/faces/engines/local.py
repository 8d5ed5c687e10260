"""The embedded engine: one network finds faces, three small ones guess age and gender. It needs no other machine.

Limits, measured: about one age in four is off by more than 10 years, people over 60 are guessed too young, and gender
is a two-way guess at appearance. Importing this module costs 14 MB (numpy), making the networks 70 MB more.
"""

import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import Problem
from service.features.faces.engines.engine import NONE, Detection, History, never
from service.imaging.decode import upright
from service.imaging.pixel_budget import PixelBudget
from service.jobs.operation import Cancelled, Failure

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.floating]

MODELS = Path(__file__).parent / "models"

CANVAS = 640  # pixels: the side of what the detector looks at
CLOSE_UP = 224  # pixels: the second look, for faces larger than the detector's range
DECODED_SIDE = 1600  # pixels: more than the detector needs, so that a small face still has an age
STRIDES = (8, 16, 32)
LEAST_SCORE = 0.75
MOST_OVERLAP = 0.3
BATCH = 16  # faces a run: a tenth faster than one by one, and the runtime keeps memory for each number that it has met

# Where the five landmarks lie in a face crop of side 1: the eye on the left of the picture, the other eye, the nose,
# the corners of the mouth. Medians over 734 faces of where they fall in the crops that the age network was trained on
# (dlib's `get_face_chip_details`, padding 0.2): so five points do what takes dlib a landmark model of its own.
TEMPLATE = np.array([[0.2943, 0.2864], [0.6933, 0.2844], [0.4884, 0.5170], [0.3183, 0.6849], [0.6778, 0.6818]])
TEMPLATE_CENTRE = TEMPLATE.mean(axis=0)

# What dlib's `input_rgb_image` does to a pixel: (RGB - mean) / 256.
DLIB_MEAN = np.array([122.781998, 117.000999, 104.297997], np.float32)
# The years that the 81 classes of the first age network stand for.
YEARS = np.array([0.25, *range(1, 81)], np.float32)
# The two opinions together are off by 6.8 years on average, over 163 portraits of people of known age.
WEIGHT_OF_SECOND_AGE = 0.65


class LocalEngine:
    """Finds faces in this process, in as many threads as call it; the networks are loaded at the first call."""

    def __init__(self, models: Path = MODELS, *, pixels: PixelBudget | None = None) -> None:
        self._models = models
        self._pixels = pixels or PixelBudget()
        self._loading = threading.Lock()
        self._loaded: tuple[int, _Networks] | None = None

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, history: History = NONE) -> list[Detection]:
        """Return the faces of a JPEG, PNG or WebP, largest box first, in pixels of the upright original.

        Raises `Failure`: `image_rejected`, which lasts, or `engine_failed`, which one more run may heal.
        """
        try:
            picture, scale = upright(image, self._pixels, max_side=DECODED_SIDE)
        except Problem as problem:
            raise Failure("image_rejected", problem.detail) from problem
        if cancelled():
            raise Cancelled
        try:
            found = self._networks().look_at(picture)
        except Exception as error:  # onnxruntime's errors have no class in common
            raise Failure("engine_failed", "The embedded face engine broke down on this image.", attempts=2) from error
        detections = [_detection(face, picture.size, scale) for face in found]
        return sorted(detections, key=lambda face: face.width * face.height, reverse=True)

    def limit(self) -> int | None:
        """Bound nothing: a thread of the pool is a core at work."""
        return None

    def close(self) -> None:
        """Let go of the networks."""
        self._loaded = None

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


@dataclass(frozen=True, slots=True)
class _Face:
    """One face in pixels of the decoded picture."""

    box: Floats  # (4,): left, top, right, bottom
    score: float  # 0 to 1
    age: float  # years
    male: float  # the chance of it, 0 to 1


def _detection(face: _Face, size: tuple[int, int], scale: float) -> Detection:
    """Cut the box to the picture and scale it back to the original."""
    left, top, right, bottom = (float(edge) / scale for edge in face.box.clip(0, [*size, *size]))
    return Detection(
        x=round(left),
        y=round(top),
        width=round(right - left),
        height=round(bottom - top),
        gender="male" if face.male > 0.5 else "female",
        age=round(face.age, 1),
        score=round(face.score, 4),
    )


class _Candidates(NamedTuple):
    """What the detector saw, in pixels of the picture it was given, n of each."""

    boxes: Floats  # (n, 4): left, top, right, bottom
    scores: Floats  # (n,): 0 to 1
    landmarks: Floats  # (n, 5, 2): x and y, in the order of TEMPLATE


_NOTHING = _Candidates(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))


class _Networks:
    """The four networks. `InferenceSession.run` may be called by many threads at once and lets go of the GIL."""

    def __init__(self, models: Path) -> None:
        self._detector = _session(models / "yunet.onnx")
        self._first_age = _session(models / "age-v1.onnx")
        self._first_gender = _session(models / "gender-v1.onnx")
        self._second_opinion = _session(models / "agegender-fa.onnx")
        self._outputs = [output.name for output in self._detector.get_outputs()]
        self._anchors = {stride: _anchors(stride) for stride in STRIDES}

    def look_at(self, picture: Image.Image) -> list[_Face]:
        """Find the faces of an upright RGB picture and guess at each."""
        candidates = self._find(picture, CANVAS)
        if not len(candidates.scores):
            candidates = self._find(picture, CLOSE_UP)
        kept = _without_overlaps(candidates.boxes, candidates.scores)
        faces = []
        for batch in (kept[first : first + BATCH] for first in range(0, len(kept), BATCH)):
            ages, males = self._guess(picture, candidates.landmarks[batch])
            for face, age, male in zip(batch, ages, males, strict=True):
                score = float(candidates.scores[face])
                faces.append(_Face(candidates.boxes[face], score, float(age), float(male)))
        return faces

    def _find(self, picture: Image.Image, longest: int) -> _Candidates:
        """Run the detector on the picture at no more than this side, laid into the corner of a black square."""
        canvas, scale = _on_canvas(picture, longest)
        results = self._detector.run(self._outputs, {"input": canvas})
        output = {name: values[0] for name, values in zip(self._outputs, results, strict=True)}
        seen = [part for stride in STRIDES if (part := self._decode(output, stride))]
        if not seen:
            return _NOTHING
        boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        return _Candidates(boxes / scale, scores, landmarks / scale)

    def _decode(self, output: dict[str, Floats], stride: int) -> _Candidates | None:
        """Turn one grid of YuNet's answers into boxes and landmarks, in pixels of the canvas; None where it is empty.

        A cell's score is √(class · objectness); its box is centre + offset · stride, eˢⁱᶻᵉ · stride; its landmarks are
        cell + offset · stride: OpenCV's `FaceDetectorYN`, modules/objdetect/src/face_detect.cpp, `postProcess`.
        """
        chances = output[f"cls_{stride}"][:, 0] * output[f"obj_{stride}"][:, 0]
        likely = np.flatnonzero(chances >= LEAST_SCORE**2)
        if not likely.size:
            return None
        cells = self._anchors[stride][likely]
        shapes = output[f"bbox_{stride}"][likely]
        centres = cells + shapes[:, :2] * stride
        halves = np.exp(shapes[:, 2:]) * stride / 2
        offsets = output[f"kps_{stride}"][likely].reshape(-1, 5, 2)
        boxes = np.concatenate([centres - halves, centres + halves], axis=1)
        scores = np.sqrt(chances[likely].clip(0, 1))
        return _Candidates(boxes, scores, offsets * stride + cells[:, None])

    def _guess(self, picture: Image.Image, landmarks: Floats) -> tuple[Floats, Floats]:
        """Return ages in years and the chances of male, each (n,), from n faces' landmarks in pixels, (n, 5, 2)."""
        ways = [_way(points) for points in landmarks]
        (classes,) = self._first_age.run(None, {"images": _as_dlib(_crops(picture, ways, 64))})
        (genders,) = self._first_gender.run(None, {"images": _as_dlib(_crops(picture, ways, 32))})
        second_ages, second_genders = self._second_opinion.run(["age", "gender"], {"image": _crops(picture, ways, 112)})
        first_ages = classes @ YEARS
        ages = first_ages + WEIGHT_OF_SECOND_AGE * (second_ages[:, 0].clip(0, 100) - first_ages)
        return ages, (genders[:, 1] + second_genders[:, 0]) / 2


def _session(path: Path) -> "InferenceSession":
    """Load a network to run on the caller's core alone: the pool's threads share the cores, and none may spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _anchors(stride: int) -> Floats:
    """Return the corners of the detector's cells, row by row, in pixels of the canvas, shape (n, 2)."""
    rows, columns = np.indices((CANVAS // stride, CANVAS // stride), np.float32)
    return np.stack([columns, rows], axis=-1).reshape(-1, 2) * stride


def _on_canvas(picture: Image.Image, longest: int) -> tuple[Floats, float]:
    """Return the detector's input, BGR planes from 0 to 255 of shape (1, 3, 640, 640), and how much it was shrunk."""
    scale = min(1.0, longest / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    canvas = np.zeros((1, 3, CANVAS, CANVAS), np.float32)
    for plane, colour in enumerate(reversed(picture.split())):  # faster than to transpose the pixels
        canvas[0, plane, :height, :width] = np.asarray(colour)
    return canvas, scale


def _without_overlaps(boxes: Floats, scores: Floats) -> list[int]:
    """Return which boxes stay when each gives way to a better one that it overlaps (greedy non-maximum suppression)."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = scores.argsort()[::-1]
    kept = []
    while left.size:
        best, rest = left[0], left[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        across = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner
        shared = across.clip(0).prod(axis=1)
        left = rest[shared / (areas[best] + areas[rest] - shared) <= MOST_OVERLAP]
    return kept


class _Way(NamedTuple):
    """From the template's square of side 1 into the picture: (u, v) ↦ (a·u - b·v + x, b·u + a·v + y), in pixels.

    Plain numbers: numpy takes ten times as long for matrices of this size, and there are three crops a face.
    """

    a: float
    b: float
    x: float
    y: float


def _way(landmarks: Floats) -> _Way:
    """Return the way from the template to a face whose landmarks are at these pixels, shape (5, 2).

    It is the inverse of the turn, scale and shift that brings the landmarks closest to the template. Least squares in
    the plane: with both sets about their means, a = Σ p·q / Σ p² and b = Σ p×q / Σ p² for the matrix [[a, -b], [b, a]]
    (Umeyama 1991, in two dimensions and without reflection).
    """
    centre = landmarks.mean(axis=0)
    p, q = landmarks - centre, TEMPLATE - TEMPLATE_CENTRE
    spread = float((p * p).sum())
    there_a = float((p * q).sum()) / spread
    there_b = float(p[:, 0] @ q[:, 1] - p[:, 1] @ q[:, 0]) / spread
    size = there_a * there_a + there_b * there_b
    a, b = there_a / size, -there_b / size
    u, v = (float(value) for value in TEMPLATE_CENTRE)
    return _Way(a, b, float(centre[0]) - a * u + b * v, float(centre[1]) - b * u - a * v)


def _crop(picture: Image.Image, way: _Way, side: int) -> Image.Image:
    """Return the upright face in a square of so many pixels.

    A face more than twice that size is reduced first, or the warp, which looks at four pixels a point, would alias.
    """
    a, b, x, y = way
    shrink = max(1, int(math.hypot(a, b) / side))
    if shrink > 1:
        across, down = (0.0, a, -b, a - b), (0.0, b, a, a + b)
        left, top = math.floor(x + min(across)) - 2, math.floor(y + min(down)) - 2
        right, bottom = math.ceil(x + max(across)) + 2, math.ceil(y + max(down)) + 2
        picture = picture.crop((left, top, right, bottom)).reduce(shrink)
        a, b, x, y = (value / shrink for value in (a, b, x - left, y - top))
    affine = (a / side, -b / side, x, b / side, a / side, y)
    return picture.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)


def _crops(picture: Image.Image, ways: list[_Way], side: int) -> Floats:
    """Return the faces as RGB from 0 to 255, shape (n, side, side, 3)."""
    return np.stack([np.asarray(_crop(picture, way, side)) for way in ways]).astype(np.float32)


def _as_dlib(crops: Floats) -> Floats:
    """Return crops as planes, shape (n, 3, side, side), as dlib's networks take them."""
    return ((crops - DLIB_MEAN) / 256).transpose(0, 3, 1, 2)
