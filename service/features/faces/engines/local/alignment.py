"""Upright square crops of faces, cut along five landmarks."""

import math
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from service.features.faces.engines.local.sessions import Bytes, Floats

# Where the five landmarks lie in a face crop of side 1: the eye on the left of the picture, the other eye, the nose,
# the corners of the mouth. Medians over 734 faces of where they fall in the crops that dlib's networks were trained on
# (`get_face_chip_details`, padding 0.2): so five points do what takes dlib a landmark model of its own.
TEMPLATE = np.array([[0.2943, 0.2864], [0.6933, 0.2844], [0.4884, 0.5170], [0.3183, 0.6849], [0.6778, 0.6818]])
TEMPLATE_CENTRE = TEMPLATE.mean(axis=0)


class Placement(NamedTuple):
    """From a square of side 1 into the picture: (u, v) ↦ (a·u - b·v + x, b·u + a·v + y), in pixels.

    Plain numbers: numpy takes ten times as long for matrices of this size, and there are three crops a face.
    """

    a: float
    b: float
    x: float
    y: float

    def widened(self, zoom: float, rise: float) -> Self:
        """Return a larger square about the same face: `zoom` times the side, moved by `rise` sides (up is negative)."""
        u, v = 0.5 - 0.5 * zoom, 0.5 + rise - 0.5 * zoom
        a, b, x, y = self
        return type(self)(a * zoom, b * zoom, x + a * u - b * v, y + b * u + a * v)


def placement(landmarks: Floats) -> Placement:
    """Return the placement of the template on a face whose landmarks are at these pixels, shape (5, 2).

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
    return Placement(a, b, float(centre[0]) - a * u + b * v, float(centre[1]) - b * u - a * v)


def crops(picture: Image.Image, placements: list[Placement], side: int) -> Bytes:
    """Return the squares as planes of red, green and blue, shape (n, 3, side, side)."""
    planes = np.empty((len(placements), 3, side, side), np.uint8)
    for square, place in zip(planes, placements, strict=True):
        crop = _crop(picture, place, side)
        for plane, colour in zip(square, "RGB", strict=True):
            plane[:] = np.frombuffer(crop.tobytes("raw", colour), np.uint8).reshape(side, side)
    return planes


def _crop(picture: Image.Image, place: Placement, side: int) -> Image.Image:
    """Return one square of so many pixels.

    A face more than twice that size is reduced first, or the warp, which looks at four pixels a point, would alias.
    """
    a, b, x, y = place
    shrink = max(1, int(math.hypot(a, b) / side))
    if shrink > 1:
        across, down = (0.0, a, -b, a - b), (0.0, b, a, a + b)
        left, top = math.floor(x + min(across)) - 2, math.floor(y + min(down)) - 2
        right, bottom = math.ceil(x + max(across)) + 2, math.ceil(y + max(down)) + 2
        picture = picture.crop((left, top, right, bottom)).reduce(shrink)
        a, b, x, y = (value / shrink for value in (a, b, x - left, y - top))
    affine = (a / side, -b / side, x, b / side, a / side, y)
    return picture.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
