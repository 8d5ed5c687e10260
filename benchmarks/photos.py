"""Photos as people have them: JPEG of about 50 KB, of the size and content of a photo, each another one."""

import io
from functools import cache
from pathlib import Path

from PIL import Image

NUMBER = 100


@cache
def photos() -> list[bytes]:
    """Return them, cut from a photo of the samples at different places."""
    with Image.open(Path(__file__).parent.parent / "samples" / "astronaut.png") as opened:
        picture = opened.convert("RGB")
    return [_cut(picture, 5 * (number % 10), 5 * (number // 10)) for number in range(NUMBER)]


def _cut(picture: Image.Image, left: int, top: int) -> bytes:
    file = io.BytesIO()
    picture.crop((left, top, left + 460, top + 460)).resize((560, 560)).save(file, "JPEG", quality=80)
    return file.getvalue()
