"""The pixels of surveyed images: only the bytes that make them, one decoder to choose from, sRGB on white."""

import bisect
import io
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageCms

from service.imaging.header import FORMATS, MOST_PROFILE, PIECE, Header
from service.imaging.jpeg_integrity import MOST_SCANS, decodes_without_fault
from service.imaging.pixel_budget import Room

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Pillow warns above 89 megapixels, whatever the service allows. Here `Limits` decides, and MOST_PIXELS where it is not
# at hand.
Image.MAX_IMAGE_PIXELS = None

# Decoding takes 4 to 16 bytes a pixel: 16 threads with 50 megapixels each would take 8 GB.
AT_ONCE = 16_000_000
"""Pixels decoded at a time in a process; a larger picture waits until it is alone."""
SMALL = 500_000
"""Pictures of so many pixels need not wait."""
_at_once = Room(AT_ONCE)


class _Excerpt(io.RawIOBase):
    """Parts of a stream, end to end, read as one; the stream itself stays open."""

    def __init__(self, stream: BinaryIO, parts: list[tuple[int, int]]) -> None:
        self._stream = stream
        self._parts = parts
        self._starts = [0]
        for begin, end in parts:
            self._starts.append(self._starts[-1] + end - begin)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        index = bisect.bisect_right(self._starts, self._at) - 1
        if index >= len(self._parts):
            return 0
        begin, end = self._parts[index]
        position = begin + self._at - self._starts[index]
        view = memoryview(buffer)
        self._stream.seek(position)
        data = self._stream.read(min(len(view), end - position))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _refuse_too_many_scans(stream: BinaryIO, header: Header) -> None:
    """Count the scans of a JPEG; inside one, a byte FF is always followed by 00 or a restart marker."""
    scans = 0
    last = b""
    stream.seek(header.scan)
    while piece := stream.read(PIECE):
        scans += (last + piece).count(b"\xff\xda")
        last = piece[-1:] if piece.endswith(b"\xff") else b""
    if scans > MOST_SCANS:
        raise ValueError("too many scans")


def _open(stream: BinaryIO, header: Header) -> Image.Image:
    """Hand Pillow the pixels, and one decoder to choose from."""
    if header.scan and not header.in_one_scan:
        _refuse_too_many_scans(stream, header)
    excerpt = io.BufferedReader(_Excerpt(stream, header.parts), PIECE)
    image = Image.open(excerpt, formats=[FORMATS[header.media_type]])
    if image.size != (header.width, header.height):
        raise ValueError("two sizes")
    return image


def turn_for(header: Header, max_side: int | None) -> AbstractContextManager[object]:
    """Wait until there is room to decode this one; hold it for as long as the pixels are in use."""
    pixels = _pixels_held(header, _shrunk(header, max_side))
    return _at_once.room_for(pixels) if pixels > SMALL else nullcontext()


def _pixels_held(header: Header, shrunk: int) -> int:
    """Return how many pixels of 4 bytes the decoder holds at once.

    A JPEG of one scan is shrunk on the way, others after it. Pillow takes 16 bytes for a WebP's pixel, since it decodes
    each as an animation.
    """
    pixels = header.width * header.height // (shrunk * shrunk if header.in_one_scan else 1)
    return pixels * (4 if header.media_type == "image/webp" else 1)


def _shrunk(header: Header, max_side: int | None) -> int:
    """Return by how much a side may be shrunk, so that it stays at least so long."""
    longest = max(header.width, header.height)
    return next(by for by in (8, 4, 2, 1) if by == 1 or longest >= by * (max_side or longest))


def decode_cheaply(stream: BinaryIO, header: Header) -> None:
    """Decode and forget. A JPEG at an eighth of its side and in grey: every coefficient is still read."""
    with turn_for(header, 1):
        if header.media_type == "image/jpeg" and decodes_without_fault(stream, header):
            return
        image = _open(stream, header)
        image.draft("L", (1, 1))
        image.load()


def decode(stream: BinaryIO, header: Header, max_side: int | None) -> Image.Image:
    """Decode for use, a JPEG shrunk by a power of two as far as `max_side` allows; within `turn_for`."""
    shrunk = _shrunk(header, max_side)
    image = _open(stream, header)
    if shrunk > 1:
        image.draft(None, (max(1, header.width // shrunk), max(1, header.height // shrunk)))
    image.load()
    return image


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def flat_rgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the same picture in sRGB, eight bits a colour, on white."""
    if image.mode.startswith("I"):
        image.info.pop("transparency", None)
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    image = _in_srgb(image, profile)
    if image.mode == "RGBA":
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image.getchannel("A"))
        return paper
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply the profile where it fits the picture and is not sRGB anyway; a broken one is ignored."""
    if not is_worth_applying(profile):
        return image
    space = profile[16:20]  # ICC.1:2022 §7.2.6
    if space == b"RGB " and image.mode == "L":
        image = image.convert("RGB")
    if space != {"L": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}[image.mode]:
        return image
    transform = _transform(profile, image.mode)
    return transform.apply(image) if transform else image


def is_worth_applying(profile: bytes) -> bool:
    """Tell whether this can be a profile, and of another space than sRGB."""
    is_srgb = b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
    return 128 < len(profile) <= MOST_PROFILE and not is_srgb


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB. Making one takes longer than applying it, and a camera repeats its own."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(source, target, mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
