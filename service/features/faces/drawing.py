"""Photos with their faces drawn into them: a box, gender and age."""

import io
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from service.features.faces.engines.engine import Detection, Gender
from service.imaging.decode import upright_within
from service.imaging.pixel_budget import PixelBudget

MOST_PIXELS = 16_000_000
"""Larger photos are scaled down to this or less: it bounds memory, and no screen shows more."""

# Of Okabe and Ito's palette, whose colours differ for the colour-blind too, and light, so that black text stands out.
_COLOURS = {"male": "#56b4e9", "female": "#e69f00", "unknown": "#e5e5e5"}
STROKE = 0.03
"""Of a face's height: what the line around it has at most."""
_SMALLEST_TEXT = 10  # pixels; less cannot be read

Draw = Callable[[bytes, Iterable[Detection], PixelBudget], bytes]
"""What makes a JPEG of an image's bytes and its faces."""

Rectangle = tuple[int, int, int, int]


def draw_boxes(image: bytes, faces: Iterable[Detection], budget: PixelBudget) -> bytes:
    """Return a JPEG of the upright photo, without metadata, in which each face has a box, its gender and its age.

    Lines and letters grow with the photo and the face; boxes and labels stay inside the photo. A label stands beside
    its face, over no other face and no other label; where there is no room for it, it is left out. Raises `Invalid`
    when the image does not decode. A JPEG of 12 megapixels takes 0.2 s.
    """
    target = io.BytesIO()
    with upright_within(image, MOST_PIXELS, budget, exact=False) as (picture, scale):
        draw = ImageDraw.Draw(picture)
        boxes = [(face, box) for face in faces if (box := _inside(face, scale, picture.size))]
        for face, box in boxes:
            _draw_box(draw, box, face.gender, max(2, min(picture.size) // 150))
        taken = [box for _, box in boxes]
        for face, box in boxes:
            others = [other for other in taken if other is not box]
            if label := _draw_label(draw, box, face, picture.size, others):
                taken.append(label)
        # Without subsampling, since thin coloured lines would pale at half the colours' resolution.
        picture.save(target, "JPEG", quality=90, subsampling=0)
    return target.getvalue()


def _inside(face: Detection, scale: float, size: tuple[int, int]) -> Rectangle | None:
    """Return the first and the last pixels of a box that lie in the picture; None where it is wholly outside."""
    left, top = round(face.x * scale), round(face.y * scale)
    right, bottom = round((face.x + face.width) * scale) - 1, round((face.y + face.height) * scale) - 1
    if right < 0 or bottom < 0 or left >= size[0] or top >= size[1]:
        return None
    left, top = max(left, 0), max(top, 0)
    return left, top, max(left, min(right, size[0] - 1)), max(top, min(bottom, size[1] - 1))


def _draw_box(draw: ImageDraw.ImageDraw, box: Rectangle, gender: Gender, most: int) -> None:
    """Draw a coloured line between two dark ones, so that it stands out from any photo; a dashed one for unknown.

    Together they are at most `STROKE` of the box's height, but one pixel; then the dark lines are left out.
    """
    left, top, right, bottom = box
    edge = max(1, most // 3)
    whole = max(1, min(most + 2 * edge, int((bottom - top + 1) * STROKE)))
    edge = min(edge, (whole - 1) // 2)
    line = whole - 2 * edge
    draw.rectangle((left - edge, top - edge, right + edge, bottom + edge), outline="black", width=line + 2 * edge)
    draw.rectangle(box, outline=_COLOURS[gender], width=line)
    if gender == "unknown":
        for x in range(left + 2 * line, right - 2 * line, 4 * line):
            for y in (top, bottom - line + 1):
                draw.rectangle((x, y, x + 2 * line - 1, y + line - 1), fill="black")
        for y in range(top + 2 * line, bottom - 2 * line, 4 * line):
            for x in (left, right - line + 1):
                draw.rectangle((x, y, x + line - 1, y + 2 * line - 1), fill="black")


def _draw_label(
    draw: ImageDraw.ImageDraw, box: Rectangle, face: Detection, size: tuple[int, int], others: list[Rectangle]
) -> Rectangle | None:
    """Write gender and age beside the box, or into a large one; return where, or None where there is no room."""
    gender = "?" if face.gender == "unknown" else face.gender
    text = gender if face.age is None else f"{gender}, {round(face.age)}"
    letters = max(_SMALLEST_TEXT, min(max((box[2] - box[0]) // 5, min(size) // 40), min(size) // 15))
    width, height, margin = _measure(text, letters)
    if width > size[0]:
        letters = max(letters * size[0] // width, _SMALLEST_TEXT)
        width, height, margin = _measure(text, letters)
    spots = [
        (left, top, left + width - 1, top + height - 1)
        for left, top in _places(box, width, height, size)
        if left >= 0 and top >= 0 and left + width <= size[0] and top + height <= size[1]
    ]
    spot = next((spot for spot in spots if not any(_meet(spot, other) for other in others)), None)
    if spot:
        draw.rectangle(spot, fill=_COLOURS[face.gender])
        draw.text((spot[0] + margin, spot[1] + height // 2), text, fill="black", font=_font(letters), anchor="lm")
    return spot


def _places(box: Rectangle, width: int, height: int, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield left and top of a label above, below, right, left of a box, and within one that is much larger."""
    left, middle = min(box[0], size[0] - width), (box[1] + box[3] - height) // 2
    yield from ((left, box[1] - height), (left, box[3] + 1), (box[2] + 1, middle), (box[0] - width, middle))
    if box[3] - box[1] > 2 * height:
        yield left, min(box[1], size[1] - height)


def _meet(one: Rectangle, other: Rectangle) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _measure(text: str, letters: int) -> tuple[int, int, int]:
    """Return a label's width, height and side margin for letters of so many pixels."""
    margin = max(1, letters // 4)
    return round(_font(letters).getlength(text)) + 2 * margin, round(letters * 1.3), margin


@lru_cache(maxsize=64)
def _font(letters: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(letters)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 - every wheel of Pillow has FreeType
    return font
