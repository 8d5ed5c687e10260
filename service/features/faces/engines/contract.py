"""What every face engine keeps to, for a test of your own: `assert list(broken_rules(engine, photo)) == []`."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from service.features.faces.engines.custom import checked
from service.features.faces.engines.engine import Detection

THREADS = 4
OVERLAP = 0.5  # of two boxes that are the same face's: their intersection over their union
ON_ITS_SIDE = 6  # the EXIF orientation of what is to be turned by 90° clockwise
GREY = "#777777"


def broken_rules(engine: Any, portrait: bytes) -> Iterator[str]:
    """Yield a sentence for each rule that an engine breaks.

    `engine` is any object with `detect(image: bytes)`; `portrait` a photo of one face that it finds, in any format.
    """
    with Image.open(io.BytesIO(portrait)) as opened:
        picture = opened.convert("RGB")
    found = _faces(engine, _encoded(picture))
    if isinstance(found, str):
        yield found
        return
    if len(found) != 1:
        yield f"It finds {len(found)} faces in the portrait, which must show one that it finds."
        return
    yield from _face_rules(found[0])
    for name, image in _same_pictures(picture).items():
        again = _faces(engine, image)
        if isinstance(again, str) or len(again) != 1 or _overlap(found[0], again[0]) < OVERLAP:
            yield f"It does not find the same face in the portrait {name}: boxes are in pixels of the upright picture."
    yield from _scene_rules(engine, picture)
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda _: _faces(engine, _encoded(picture)), range(THREADS)))
    if any(answer != found for answer in answers):
        yield f"It answers differently from {THREADS} threads at once."


def _same_pictures(picture: Image.Image) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = ON_ITS_SIDE
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    return {
        "as a PNG": _encoded(picture, "PNG"),
        "as a WebP": _encoded(picture, "WEBP"),
        "turned by its EXIF orientation": _encoded(turned, exif=exif),
    }


def _scene_rules(engine: Any, picture: Image.Image) -> Iterator[str]:
    """Yield what is wrong with pictures of no face, of two, and with what is no picture."""
    if _faces(engine, _encoded(Image.new("RGB", picture.size, GREY))) != []:
        yield "It does not answer a picture without a face with an empty list."
    half = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))
    both = Image.new("RGB", (picture.width + half.width, picture.height), GREY)
    both.paste(half, (0, 0))
    both.paste(picture, (half.width, 0))
    two = _faces(engine, _encoded(both))
    if isinstance(two, str) or len(two) != 2 or two[0].x < half.width:
        yield "It does not find two faces, the larger one at the right, in the portrait beside its half."
    if not isinstance(_faces(engine, b"no picture"), str):
        yield "It does not raise an exception for bytes that are no picture."


def _faces(engine: Any, image: bytes) -> list[Detection] | str:
    """Return the faces, largest first, or what is wrong with the answer."""
    try:
        return list(checked(engine.detect(image)).faces)
    except Exception as error:  # noqa: BLE001 - whatever it raises is told
        return f"It raises {type(error).__name__}: {error}"


def _face_rules(face: Detection) -> Iterator[str]:
    if face.width <= 0 or face.height <= 0:
        yield "A box has no size."
    low, age, high = face.age_low, face.age, face.age_high
    if (low is None) is not (high is None):
        yield "One of age_low and age_high is missing."
    if None not in (low, age, high) and not low <= age <= high:  # type: ignore[operator]
        yield "The age is not between age_low and age_high."


def _overlap(one: Detection, other: Detection) -> float:
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(0, width) * max(0, height)
    return both / (one.width * one.height + other.width * other.height - both)


def _encoded(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, quality=95, **options)
    return file.getvalue()
