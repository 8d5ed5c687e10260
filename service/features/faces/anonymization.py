"""Photos whose faces nobody can recognise."""

import io
from collections.abc import Iterable
from typing import Literal

from PIL import Image

from service.features.faces.drawing import MOST_PIXELS
from service.features.faces.engines.engine import Detection
from service.imaging.decode import upright_within
from service.imaging.pixel_budget import PixelBudget

Style = Literal["blurred", "mosaic", "solid"]

GROWTH = 0.4
"""Of the box's longer side, added on each side: it covers hair, ears and chin of a head that is tilted in any way."""
CELLS = 3
"""Colours that are left across a face and its margin, and down it. With 4, or in an ellipse, CenterFace finds some.

So few bound what a program could win back, whatever the size of the face.
"""
_SMOOTH = {"blurred": Image.Resampling.BICUBIC, "mosaic": Image.Resampling.NEAREST}
_SOLID = "#767676"


def anonymize(image: bytes, faces: Iterable[Detection], budget: PixelBudget, style: Style = "blurred") -> bytes:
    """Return a JPEG of the upright photo, without metadata, in which a rectangle hides each face.

    `blurred` and `mosaic` leave the same few colours of it, with and without soft edges; `solid` leaves nothing. Raises
    `Invalid` when the image does not decode.
    """
    target = io.BytesIO()
    with upright_within(image, MOST_PIXELS, budget, exact=False) as (picture, scale):
        for face in faces:
            _hide(picture, face, scale, style)
        picture.save(target, "JPEG", quality=90)
    return target.getvalue()


def _hide(picture: Image.Image, face: Detection, scale: float, style: Style) -> None:
    """Replace the face and its margin by a few colours, or by grey."""
    margin = max(face.width, face.height) * GROWTH
    left, top = (round((side - margin) * scale) for side in (face.x, face.y))
    right, bottom = (round((side + margin) * scale) + 1 for side in (face.x + face.width, face.y + face.height))
    seen = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    if seen[0] >= seen[2] or seen[1] >= seen[3]:
        return
    if style == "solid":
        picture.paste(_SOLID, seen)
        return
    few = picture.crop(seen).resize((CELLS, CELLS), Image.Resampling.BOX)
    picture.paste(few.resize((seen[2] - seen[0], seen[3] - seen[1]), _SMOOTH[style]), seen)
