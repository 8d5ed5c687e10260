"""Faces cut out of a photo, as upright JPEGs without metadata."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image

from service.features.faces.engines.engine import Detections
from service.imaging.decode import upright_within
from service.imaging.pixel_budget import PixelBudget
from service.imaging.structure import read_structure

MARGIN = 0.4
"""How much is shown around a face on each side, as a part of the longer side of its box."""
LONGEST = 1024
"""Pixels: a longer side is scaled down to this or less."""
_MOST_PIXELS = 16_000_000
_TURNS = {
    90: PIL.Image.Transpose.ROTATE_270,
    180: PIL.Image.Transpose.ROTATE_180,
    270: PIL.Image.Transpose.ROTATE_90,
}
"""What turns a picture clockwise by so many degrees."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut out of an upright photo, in its pixels, and the turn that makes the face upright, clockwise."""

    left: int
    top: int
    right: int
    bottom: int
    rotation: int

    @classmethod
    def around(cls, box: tuple[int, int, int, int], image: tuple[int, int], margin: float, rotation: int) -> "Cut":
        """Return what is cut out around a box (x, y, width, height), within an image (width, height)."""
        x, y, width, height = box
        more = round(margin * max(width, height))
        left, top = (min(max(begin - more, 0), side - 1) for begin, side in zip((x, y), image, strict=True))
        right = min(max(x + width + more, left + 1), image[0])
        return cls(left, top, right, min(max(y + height + more, top + 1), image[1]), rotation)

    @property
    def longest(self) -> int:
        """The longer side, in pixels."""
        return max(self.right - self.left, self.bottom - self.top)


def cut_out(image: bytes, cuts: Sequence[Cut], pixels: int, budget: PixelBudget) -> list[bytes]:
    """Return JPEGs of parts of an image of so many pixels; one whose smallest face is large is not decoded in full.

    Raises `Invalid` when the image does not decode.
    """
    shrunk = min(1.0, LONGEST / min(cut.longest for cut in cuts))
    most = min(_MOST_PIXELS, max(1, round(pixels * shrunk**2)))
    with upright_within(image, most, budget) as (picture, scale):
        return [_jpeg(picture, cut, scale) for cut in cuts]


def cut_faces(image: bytes, found: Detections, budget: PixelBudget) -> list[bytes]:
    """Return a JPEG of each face that was found in an image, with the usual margin, in their order."""
    if not found.faces:
        return []
    size = read_structure(io.BytesIO(image), "The image").upright_size
    boxes = ((face.x, face.y, face.width, face.height) for face in found.faces)
    cuts = [Cut.around(box, size, MARGIN, found.rotation or 0) for box in boxes]
    return cut_out(image, cuts, size[0] * size[1], budget)


def _jpeg(picture: PIL.Image.Image, cut: Cut, scale: float) -> bytes:
    left, top = min(round(cut.left * scale), picture.width - 1), min(round(cut.top * scale), picture.height - 1)
    right, bottom = min(round(cut.right * scale), picture.width), min(round(cut.bottom * scale), picture.height)
    crop = picture.crop((left, top, max(left + 1, right), max(top + 1, bottom)))
    if cut.rotation in _TURNS:
        crop = crop.transpose(_TURNS[cut.rotation])
    crop.thumbnail((LONGEST, LONGEST), PIL.Image.Resampling.BICUBIC)
    target = io.BytesIO()
    crop.save(target, "JPEG", quality=88)
    return target.getvalue()
