"""Decoding by Pillow: upright pictures in sRGB, from the bytes that make the pixels and by the one decoder named.

EXIF, XMP, texts, profiles and further pictures never reach Pillow's parsers, which would unpack, interpret or warn
about them. Orientation and colour profile come from the header.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import AvifImagePlugin, Image

from service.imaging.colour import STRIP, colours_of, flat_srgb
from service.imaging.formats.jpeg_integrity import decodes_without_fault
from service.imaging.header import Header
from service.imaging.media_types import FORMATS
from service.imaging.pixel_budget import PixelBudget
from service.imaging.structure import read_pixels, read_structure, refusing_damage
from service.imaging.vips import vips

# Pillow warns above 89 megapixels, whatever the service allows. Here `Limits` decides, and MOST_PIXELS where it is not
# at hand.
Image.MAX_IMAGE_PIXELS = None
# As many pictures are decoded at a time as there are cores.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

LONGEST_JPEG_SIDE = 65_000  # libjpeg stops at 65,500

TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings the picture of each EXIF orientation upright."""


def upright(
    data: bytes, budget: PixelBudget, *, max_side: int | None = None, header: Header | None = None
) -> tuple[Image.Image, float]:
    """Return the upright picture in RGB, and its side over the original's, at most 1.0.

    The EXIF orientation is applied, transparency laid on white, 16 bits scaled to 8, an embedded profile converted to
    sRGB; nothing of the file's metadata is left. With `max_side` a JPEG is shrunk by 2, 4 or 8 while it is decoded, as
    far as its longer side stays that long. A `header` that is given is not read again. Raises `Invalid` when it does
    not decode.
    """
    header = header or read_structure(io.BytesIO(data), "The image")
    with budget.room_for(_memory_for_use(header, max_side)):
        image = _upright(data, header, max_side)
    return image, max(image.size) / max(header.width, header.height)


@contextmanager
def upright_within(
    data: bytes, max_pixels: int, budget: PixelBudget, *, exact: bool = True, header: Header | None = None
) -> Iterator[tuple[Image.Image, float]]:
    """Give the upright picture as `upright` does, of at most so many pixels and with sides that a JPEG can have.

    Its memory is held in the block. Unless it must be exact, a JPEG that is too large may lose up to half its side more
    than it has to: it is then not decoded in full, which would take 4 bytes for every pixel that it has. A
    `header` that is given is not read again.
    """
    header = header or read_structure(io.BytesIO(data), "The image")
    longest = max(header.width, header.height)
    wanted = min(1.0, math.sqrt(max_pixels / (header.width * header.height)), LONGEST_JPEG_SIDE / longest)
    max_side = math.ceil(longest * wanted / (1 if exact or wanted == 1.0 else 2))
    with budget.room_for(_memory_for_use(header, max_side)):
        image = _upright(data, header, max_side)
        width, height = (max(1, math.floor(side * wanted)) for side in header.upright_size)
        if image.width > width or image.height > height:
            image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
        yield image, max(image.size) / longest


def to_jpeg(data: bytes, max_pixels: int, budget: PixelBudget) -> tuple[bytes, float]:
    """Return an upright JPEG of at most so many pixels, and its side over the original's, at most 1.0.

    Its metadata is gone: EXIF with the place, XMP, IPTC, comments, profile, further pictures. A JPEG in sRGB that is
    upright keeps its pixels as they came: those bytes that `check_pixels` has seen, in 40 µs for 50 KB. Raises
    `Invalid` as `upright` does.
    """
    header = read_structure(io.BytesIO(data), "The image")
    is_ready = header.is_plain_jpeg and not colours_of(header.profile, header.components)
    if is_ready and header.width * header.height <= max_pixels:
        with refusing_damage("The image", header.media_type):
            return read_pixels(io.BytesIO(data), header), 1.0
    with upright_within(data, max_pixels, budget, header=header) as (image, scale):
        return _jpeg(image, quality=92), scale


def thumbnail(data: bytes, side: int, budget: PixelBudget) -> bytes:
    """Return an upright JPEG without metadata that fits a square of `side` pixels; small pictures stay as small.

    A 12-megapixel JPEG takes 16 ms, since it is shrunk while it is decoded. Raises `Invalid` as `upright` does.
    """
    image, _ = upright(data, budget, max_side=side)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return _jpeg(image, quality=80)


def check_pixels(pixels: bytes, header: Header) -> None:
    """Decode and forget. A JPEG at an eighth of its side and in grey: every coefficient is still read."""
    if header.media_type == "image/jpeg" and decodes_without_fault(pixels, header):
        return
    if header.media_type == "image/webp":
        _load_webp(pixels, header).avg()
        return
    image = _open(pixels, header)
    image.draft("L", (1, 1))
    image.load()


def memory_for_check(header: Header) -> int:
    """Return the bytes that `check_pixels` takes, its argument included."""
    size = sum(end - begin for begin, end in header.parts)
    return size + _pixels_held(header, 1) * _decoded_bytes(header) + _coefficients(header)


def _memory_for_use(header: Header, max_side: int | None) -> int:
    # Beside the decoded picture another one of 4 bytes a pixel, in sRGB or turned, and some strips on the way.
    pixels = _pixels_held(header, max_side)
    return pixels * (_decoded_bytes(header) + 4) + 8 * min(pixels, STRIP) + _coefficients(header)


def _coefficients(header: Header) -> int:
    """Return the bytes of a JPEG's coefficients, which a decoder keeps where there are several scans."""
    return 0 if header.in_one_scan else 2 * header.width * header.height * header.components * (header.coding > 0)


def _pixels_held(header: Header, max_side: int | None) -> int:
    """Return how many pixels the decoder holds at once: a JPEG of one scan is shrunk on the way, others after it."""
    by = _shrink(header, max_side) if header.in_one_scan else 1
    return header.width * header.height // (by * by)


def _decoded_bytes(header: Header) -> int:
    """Return what a pixel takes: of JPEG and PNG itself, of the others planes of up to 16 bits and copies beside it."""
    return 4 if header.media_type in ("image/jpeg", "image/png") else 8 if header.media_type == "image/webp" else 16


def _shrink(header: Header, max_side: int | None) -> int:
    """Return by how much a side may be shrunk, so that it stays at least so long."""
    longest = max(header.width, header.height)
    return next(by for by in (8, 4, 2, 1) if by == 1 or longest >= by * (max_side or longest))


def _open(pixels: bytes, header: Header) -> Image.Image:
    if header.media_type == "image/heic":
        return _open_heic(pixels, header)
    if header.media_type == "image/webp":
        return _open_webp(pixels, header)
    image = Image.open(io.BytesIO(pixels), formats=[FORMATS[header.media_type]])
    if image.size != (header.width, header.height):
        raise ValueError("two sizes")
    return image


def _open_webp(pixels: bytes, header: Header) -> Image.Image:
    """Decode by libvips, also an animation's first frame: it takes half the memory of Pillow."""
    image = _load_webp(pixels, header)
    mode = "RGBA" if image.bands == 4 else "RGB"
    return Image.frombuffer(mode, (image.width, image.height), image.write_to_memory(), "raw", mode, 0, 1)


def _load_webp(pixels: bytes, header: Header) -> Any:
    image = vips().Image.webpload_buffer(pixels, access="sequential", fail_on="error")
    if (image.width, image.height) != (header.width, header.height):
        raise ValueError("two sizes")
    return image


def _open_heic(pixels: bytes, header: Header) -> Image.Image:
    """Decode by libheif, which turns the picture upright."""
    import pi_heif  # 6 MB, for those processes only that get one

    # The pool has a thread for each core, and what belongs to the picture beside its pixels is not wanted.
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    file = pi_heif.open_heif(pixels)
    picture = file[file.primary_index]
    if picture.size != (header.width, header.height):
        raise ValueError("two sizes")
    image: Image.Image = picture.to_pillow()
    if image.size != (header.width, header.height):
        raise ValueError("two sizes")
    return image


def _upright(data: bytes, header: Header, max_side: int | None) -> Image.Image:
    """Decode for use, a JPEG shrunk by a power of two as far as `max_side` allows."""
    with refusing_damage("The image", header.media_type, _memory_for_use(header, max_side)):
        image = _open(read_pixels(io.BytesIO(data), header), header)
        by = _shrink(header, max_side)
        if by > 1:
            image.draft(None, (max(1, header.width // by), max(1, header.height // by)))
        image.load()
        image = flat_srgb(image, header.profile)
        if header.orientation in TRANSPOSE:
            image = image.transpose(TRANSPOSE[header.orientation])
        image.info = {}
    return image


def _jpeg(image: Image.Image, quality: int) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()
