"""The search for faces: at which sizes, in which tiles and which way up a picture is given to the detector."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from service.features.faces.engines.local.sessions import Floats
from service.features.faces.engines.local.yunet import Candidates, YuNet

OVERVIEW = 640  # pixels: the long side of the first look
CLOSE_UP = 224  # pixels: the same of a further look where nothing was found, for faces that fill the picture
SIZES_APART = 4.0  # what is too large for a look must be large enough for the next smaller one
TILE = 800  # pixels: the longest side of what the detector sees at once, which bounds its memory
OVERLAP = 96  # pixels that neighbouring tiles share; the next smaller look sees larger faces whole
CUT = 8  # pixels: a candidate so near to another tile may be part of a face
NEARLY_FULL = 0.95  # of a picture's side
REDUCING_GAP = 1.0  # of Pillow: a third of the time of its usual 2 where a picture is shrunk by 3
MOST_OVERLAP = 0.3  # of the union of two boxes
MOST_COVERED = 0.7  # of the smaller box: a tile may see part of a face that another one sees whole

# Below this score the best face may lie on its side: the quarter turns are looked at too. Of 110 portraits and 111
# other photos, turned each way, all but one came out upright. 3 % of upright portraits and 36 % of other photos are
# looked at again.
SURE_SCORE = 0.92
# What a turned face must have: at less, a cat and a motorcycle upside down were taken for faces.
LEAST_TURNED_SCORE = 0.85
TURNS = {90: Image.Transpose.ROTATE_270, 270: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180}
"""By the angle in degrees, clockwise."""


class Effort(NamedTuple):
    """How closely a picture is searched: never above this scale, nor at more pixels."""

    scale: float
    pixels: int


# A face must have 30 to 40 pixels at the scale of the search to be found reliably, see docs/engine.md.
EFFORTS = {
    "fast": Effort(0.16, 640 * 480),
    "balanced": Effort(0.48, 1920 * 1440),
    "thorough": Effort(0.8, 3200 * 2400),
}


@dataclass(frozen=True, slots=True)
class Found:
    """The faces of a picture, in pixels of `picture`, which is the one that was given, turned by `rotation`."""

    candidates: Candidates
    picture: Image.Image
    rotation: int  # degrees clockwise


def finest_scale(size: tuple[int, int], effort: Effort) -> float:
    """Return the scale of the closest look at a picture of this width and height, at most 1.

    It follows from the number of pixels, so a panorama is not judged by its long side.
    """
    width, height = size
    closest = min(effort.scale, math.sqrt(effort.pixels / (width * height)))
    return min(1.0, max(closest, OVERVIEW / max(size)))


def worthwhile_scale(scale: float) -> float:
    """Return the scale, or 1 near it: to resize a picture by so little takes longer than to search all of it."""
    return 1.0 if scale > NEARLY_FULL else scale


class Search:
    """Finds faces in pictures of any size and shape."""

    def __init__(self, detector: YuNet) -> None:
        self._detector = detector

    def find(self, picture: Image.Image, scale: float) -> Found:
        """Return the faces of an RGB picture, searched at up to this scale.

        Where no face is sure, the quarter turns of the overview are looked at too, and the best way up is kept.
        """
        upright = self._look(picture, scale)
        if upright.best_score >= SURE_SCORE:
            return Found(upright, picture, 0)
        rotation = self._best_turn(picture, upright.best_score)
        if not rotation:
            return Found(upright, picture, 0)
        turned = picture.transpose(TURNS[rotation])
        return Found(self._look(turned, scale), turned, rotation)

    def _best_turn(self, picture: Image.Image, upright_score: float) -> int:
        """Return the rotation whose best face is better than the upright picture's, 0 where there is none."""
        small = _shrunk(picture, min(1.0, OVERVIEW / max(picture.size)))
        best, least = 0, max(upright_score + 0.01, LEAST_TURNED_SCORE)
        for rotation, turn in TURNS.items():
            score = self._overview(small.transpose(turn)).best_score
            if score > least:
                best, least = rotation, score
        return best

    def _look(self, picture: Image.Image, scale: float) -> Candidates:
        """Return the faces of a picture as it stands, each once."""
        parts = [self._overview(picture)]
        parts += [self._at(picture, level) for level in levels(max(picture.size), scale)]
        return _without_overlaps(Candidates.join(parts))

    def _overview(self, picture: Image.Image) -> Candidates:
        longest = max(picture.size)
        found = self._at(picture, min(1.0, OVERVIEW / longest))
        if len(found.scores):
            return found
        return self._at(picture, min(1.0, CLOSE_UP / longest))

    def _at(self, picture: Image.Image, scale: float) -> Candidates:
        """Look at a picture at one scale, tile by tile."""
        small = _shrunk(picture, scale)
        boxes = list(tiles(small.size))
        if len(boxes) == 1:  # nothing to cut out, and no candidate is near another tile
            return self._detector.detect(small).moved(0, 0, scale)
        seen = []
        for left, top, right, bottom in boxes:
            tile = small.crop((left, top, right, bottom))
            found = self._detector.detect(tile)
            whole = found.within(*_edges((left, top), tile.size, small.size))
            seen.append(whole.moved(left, top, scale))
        return Candidates.join(seen)


def levels(longest: int, scale: float) -> list[float]:
    """Return the scales to look at besides the overview, up to `scale`, evenly apart."""
    ratio = scale * longest / OVERVIEW
    if ratio <= 1.0:
        return []
    steps = math.ceil(math.log(ratio, SIZES_APART) - 1e-9)
    return [scale / ratio ** (1 - step / steps) for step in range(1, steps + 1)]


def _shrunk(picture: Image.Image, scale: float) -> Image.Image:
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if (width, height) == picture.size:
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)


def tiles(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Cover a picture with tiles of equal size: left, top, right, bottom in pixels."""
    for top, bottom in _spans(size[1]):
        for left, right in _spans(size[0]):
            yield left, top, right, bottom


def _edges(corner: tuple[int, int], size: tuple[int, int], whole: tuple[int, int]) -> tuple[float, ...]:
    """Return left, top, right and bottom of a tile, in its pixels, less what borders on another tile."""
    least = (CUT if start else -math.inf for start in corner)
    sides = zip(corner, size, whole, strict=True)
    most = (side - CUT if start + side < total else math.inf for start, side, total in sides)
    return (*least, *most)


def _spans(side: int) -> list[tuple[int, int]]:
    count = max(1, math.ceil((side - OVERLAP) / (TILE - OVERLAP)))
    length = math.ceil((side + (count - 1) * OVERLAP) / count)
    starts = [round(index * (side - length) / max(1, count - 1)) for index in range(count)]
    return [(start, start + length) for start in starts]


def _without_overlaps(candidates: Candidates) -> Candidates:
    """Return the best of each group of candidates that overlap (greedy non-maximum suppression)."""
    boxes = candidates.boxes
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = candidates.scores.argsort(kind="stable")[::-1]
    kept: list[int] = []
    while left.size:
        best, rest = left[0], left[1:]
        kept.append(int(best))
        shared = _shared(boxes[best], boxes[rest])
        union = areas[best] + areas[rest] - shared
        smaller = np.minimum(areas[best], areas[rest])
        left = rest[(shared <= MOST_OVERLAP * union) & (shared <= MOST_COVERED * smaller)]
    return candidates.select(kept)


def _shared(box: Floats, others: Floats) -> Floats:
    """Return the area that a box has in common with each of the others."""
    corner = np.maximum(box[:2], others[:, :2])
    across: Floats = np.minimum(box[2:], others[:, 2:]) - corner
    area: Floats = across.clip(0).prod(axis=1)
    return area
