"""The structure of an untrusted picture, walked over segment by segment without decoding."""

from typing import BinaryIO

from service.errors import TooLarge, UnsupportedType
from service.imaging.formats.jpeg import walk_jpeg
from service.imaging.formats.png import walk_png
from service.imaging.formats.webp import walk_webp
from service.imaging.header import (
    ACCEPTED,
    FORMATS,
    MOST_FRAMES,
    MOST_PIXELS,
    MOST_UNPACKED,
    Header,
    foreign_kind,
    media_type_of,
    refuse_too_many_pixels,
    refusing_what_does_not_decode,
)


def survey(stream: BinaryIO, label: str, types: tuple[str, ...] = ACCEPTED) -> Header:
    """Tell the type by the first bytes and walk over the file."""
    stream.seek(0)
    head = stream.read(1024)
    media_type = media_type_of(head)
    if media_type not in types:
        found = f"a {FORMATS[media_type]}" if media_type else foreign_kind(head)
        what = f"is {found}" if found else "is not a picture of a known type"
        raise UnsupportedType(f"{label} {what}; accepted are {', '.join(types)}.")
    walk = {"image/jpeg": walk_jpeg, "image/png": walk_png, "image/webp": walk_webp}[media_type]
    with refusing_what_does_not_decode(label, media_type):
        header = walk(stream)
        if not header.width or not header.height:
            raise ValueError("no pixels")
    if header.frames > MOST_FRAMES:
        raise TooLarge(
            f"{label} has more than {MOST_FRAMES} frames, the most that are accepted. Take some out.", limit=MOST_FRAMES
        )
    if header.unpacked > MOST_UNPACKED:
        raise TooLarge(
            f"{label} has texts and profiles of more than {MOST_UNPACKED} bytes, the most that are accepted. "
            "Remove its metadata.",
            limit=MOST_UNPACKED,
        )
    refuse_too_many_pixels(header, MOST_PIXELS, label)
    return header
