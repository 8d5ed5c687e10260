"""The structure of an untrusted image, read segment by segment without decoding."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from service.errors import Invalid, Problem, ServiceFault, TooLarge, UnsupportedType
from service.imaging.formats import heif, jpeg, png, webp
from service.imaging.formats.jpeg_integrity import decodes_without_fault
from service.imaging.header import MOST_COST, MOST_FRAMES, MOST_PIXELS, MOST_UNPACKED, Header, exactly
from service.imaging.media_types import ACCEPTED, FORMATS, MISSING, media_type_of, name_of
from service.shortage import has_memory, is_shortage

_READERS = {
    "image/jpeg": jpeg.read_jpeg,
    "image/png": png.read_png,
    "image/webp": webp.read_webp,
    "image/heic": heif.read_heic,
    "image/avif": heif.read_avif,
}
_FIRST_PICTURES = {
    "image/jpeg": jpeg.first_picture,
    "image/png": png.first_picture,
    "image/webp": webp.first_picture,
    "image/heic": heif.first_picture,
    "image/avif": heif.first_picture,
}


def read_structure(stream: BinaryIO, label: str, types: tuple[str, ...] = ACCEPTED) -> Header:
    """Return what the file says of itself; `label` begins the sentence of a refusal.

    Raises `UnsupportedType` for any type but these, `Invalid` for a broken structure, `TooLarge` beyond the bounds.
    """
    stream.seek(0)
    head = stream.read(1024)
    media_type = media_type_of(head)
    if media_type in MISSING:
        raise UnsupportedType(
            f"{label} is {name_of(head)}, which is not read here: {MISSING[media_type]} is not installed."
            f" Accepted are {', '.join(types)}."
        )
    if media_type not in types:
        name = name_of(head)
        what = f"is {name}" if name else "is not a picture of a known type"
        raise UnsupportedType(f"{label} {what}; accepted are {', '.join(types)}.", code="image_type_not_accepted")
    with refusing_damage(label, media_type):
        header = _READERS[media_type](stream)
        if header.unsupported:
            raise UnsupportedType(f"{label} is {header.unsupported}, which is not supported. Save it as a usual JPEG.")
        if not header.width or not header.height:
            raise ValueError("no pixels")
    if header.frames > MOST_FRAMES:
        raise TooLarge(
            f"{label} has more than {MOST_FRAMES} frames, the most that are accepted. Take some out.",
            code="too_many_frames",
            limit=MOST_FRAMES,
        )
    if header.unpacked > MOST_UNPACKED:
        raise TooLarge(
            f"{label} has texts and profiles of more than {MOST_UNPACKED} bytes, the most that are accepted. "
            "Remove its metadata.",
            code="too_much_metadata",
            limit=MOST_UNPACKED,
        )
    refuse_too_many_pixels(header, MOST_PIXELS, label)
    if header.cost > MOST_COST:
        scans = f" in {header.scans} scans" if header.scans > 1 else ""
        raise TooLarge(
            f"{label} is too costly to decode: {header.width} × {header.height} pixels{scans} come to {header.cost} "
            f"bytes of decoding; at most {MOST_COST} are accepted. Save it with fewer scans, or make it smaller.",
            code="too_costly",
            limit=MOST_COST,
        )
    return header


def read_pixels(stream: BinaryIO, header: Header) -> bytes:
    """Return the first picture's pixels as a whole file without metadata; raise `ValueError` where some are missing."""
    pieces = []
    for begin, end in header.parts:
        stream.seek(begin)
        pieces.append(exactly(stream, end - begin))
    picture = _FIRST_PICTURES[header.media_type](b"".join(pieces), header)
    if header.media_type == "image/jpeg" and not header.is_closed:
        # It has been closed, so no decoder would say any more whether the end of its data was there.
        decodes_without_fault(picture, header)
    return picture


def refuse_too_many_pixels(header: Header, most: int, label: str) -> None:
    """Raise `TooLarge` for more pixels than this, over all frames."""
    if header.frames * header.width * header.height > most:
        frames = f"{header.frames} frames of " if header.frames > 1 else ""
        raise TooLarge(
            f"{label} has {frames}{header.width} × {header.height} pixels; at most {most} pixels are accepted. "
            "Make it smaller.",
            code="too_many_pixels",
            limit=most,
        )


_COMPLAINTS = (
    *(ValueError, LookupError, EOFError, ArithmeticError, struct.error, zlib.error),
    *(OSError, SyntaxError, RuntimeError, AssertionError),  # Pillow's, its plugin for PNG's, and libheif's
)
"""What readers and decoders raise about the bytes. An OSError with a number is the system's."""


@contextmanager
def refusing_damage(label: str, media_type: str, memory: int = 0) -> Iterator[None]:
    """Raise `Invalid` for what decoders complain of in the block, and `ServiceFault` for whatever else fails there.

    `memory` is what decoding takes, in bytes. A decoder that cannot have it complains of its input.
    """
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        kind = FORMATS[media_type]
        is_of_system = is_shortage(error) or getattr(error, "errno", None)
        is_complaint = isinstance(error, _COMPLAINTS) or type(error).__module__.startswith("pyvips")
        if is_of_system or not is_complaint or not has_memory(memory):
            raise ServiceFault(
                f"{label} could not be read for a lack or a fault of this machine. Try again."
            ) from error
        raise Invalid(
            f"{label} begins as {kind} but does not decode: it is damaged or cut off. Save it anew, or leave it out.",
            code="image_damaged",
        ) from error
