"""Copies of images by libvips: turned, flipped, grey and resized ones, and WebP renditions.

For images that `validate.check` has let in. Whatever comes out is upright, in sRGB with eight bits a colour, and has no
metadata. Colours, sizes and turns are worked out here from the header; libvips gets bare pixels, and may use three
decoders. It works line by line: beside the decoded original, 3 or 4 bytes a pixel, a copy takes next to no memory,
except that a WebP's encoder holds some 3 bytes for each of its pixels.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from service.errors import NoRoom, ServiceFault, TooLarge
from service.imaging.colour import colours_of
from service.imaging.header import Header
from service.imaging.pixel_budget import PixelBudget
from service.imaging.structure import read_pixels, read_structure, refusing_damage
from service.imaging.vips import vips
from service.shortage import check_memory
from service.storage.spools import SpoolFolder
from service.storage.storage import is_full

if TYPE_CHECKING:
    import pyvips

JPEG_QUALITY = 92  # with it libvips keeps the full resolution of the colours
WEBP_QUALITY = 90
RENDITION_QUALITY = 80
EFFORT = 4  # of 0 to 6; more takes WebP far more time for a few bytes
PNG_COMPRESSION = 4  # of 0 to 9: 2 % larger than 6, in two thirds of the time

LONGEST_SIDE = {"image/jpeg": 65_500, "image/png": 1_000_000, "image/webp": 16_383}
"""Pixels that a side may have; PNG's own bound lies beyond any picture's."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A picture that was made: a nameless file at its beginning, gone when the next copy is made; size is in bytes."""

    stream: BinaryIO
    media_type: str
    width: int
    height: int
    size: int


@dataclass(frozen=True, slots=True)
class Edit:
    """One way to make a copy: the size that it gives a picture of (width, height), and how it is drawn in that size."""

    size: Callable[[int, int], tuple[int, int]]
    draw: Callable[["pyvips.Image", int, int], "pyvips.Image"]


def rotate(*, clockwise: bool = True) -> Edit:
    """Turn by 90°."""
    return Edit(lambda width, height: (height, width), lambda image, *_: image.rot90() if clockwise else image.rot270())


def flip(*, horizontal: bool = True) -> Edit:
    """Exchange left and right, or top and bottom."""
    return Edit(_same, lambda image, *_: image.fliphor() if horizontal else image.flipver())


def gray() -> Edit:
    """Take the colours away, by ITU-R BT.601: what is seen as bright stays bright."""
    return Edit(_same, lambda image, *_: _gray(image))


def resize(width: int, height: int) -> Edit:
    """Draw in this size, whatever becomes of the proportions."""
    return Edit(lambda *_: (width, height), _resized)


def scale(factor: float) -> Edit:
    """Draw larger or smaller; sides are rounded, at least 1."""
    return Edit(lambda width, height: (_scaled(width, factor), _scaled(height, factor)), _resized)


def copies(data: bytes, edits: Sequence[Edit], budget: PixelBudget, spools: SpoolFolder) -> Iterator[Copy]:
    """Make a copy by each edit, in the original's type; it is decoded once for all.

    Raises `Invalid` where the image does not decode, `TooLarge` where its type has no room for a copy so large, and
    `NoRoom`. A lossless WebP stays lossless.
    """
    header = read_structure(io.BytesIO(data), "The image")
    return _made(data, header, edits, header.media_type, WEBP_QUALITY, budget, spools)


def renditions(data: bytes, factors: Sequence[float], budget: PixelBudget, spools: SpoolFolder) -> Iterator[Copy]:
    """Make a WebP of each size, 1.0 being the original's; it is decoded once for all. Raises as `copies` does."""
    header = read_structure(io.BytesIO(data), "The image")
    return _made(data, header, [scale(factor) for factor in factors], "image/webp", RENDITION_QUALITY, budget, spools)


def check_size(width: int, height: int, media_type: str) -> None:
    """Raise `TooLarge` where this type of file has no room for such a picture."""
    longest = LONGEST_SIDE[media_type]
    if max(width, height) > longest:
        kind = media_type.removeprefix("image/").upper()
        raise TooLarge(
            f"A picture of {width} × {height} pixels does not fit into {kind}: a side may have {longest}.",
            limit=longest,
        )


def _same(width: int, height: int) -> tuple[int, int]:
    return width, height


def _scaled(side: int, factor: float) -> int:
    return max(1, round(side * factor))


def _made(
    data: bytes,
    header: Header,
    edits: Sequence[Edit],
    media_type: str,
    quality: int,
    budget: PixelBudget,
    spools: SpoolFolder,
) -> Iterator[Copy]:
    """Make the copies one after the other, each when it is asked for."""
    sizes = [edit.size(*header.upright_size) for edit in edits]
    for width, height in sizes:
        check_size(width, height, media_type)
    lossless = header.is_lossless and header.media_type == media_type
    memory = _memory(header, sizes, media_type)
    with budget.room_for(memory), _refusing_failure():
        check_memory(memory)  # without it libvips may end the process
        with refusing_damage("The image", header.media_type, memory):
            image = _upright(data, header, sizes)
        for edit, (width, height) in zip(edits, sizes, strict=True):
            with spools.file() as file:
                _write(edit.draw(image, width, height), file.fileno(), media_type, quality, lossless=lossless)
                size = file.tell()
                file.seek(0)
                yield Copy(file, media_type, width, height, size)


def _memory(header: Header, sizes: Sequence[tuple[int, int]], media_type: str) -> int:
    """Return the bytes that the decoded original and the encoder of the largest copy take."""
    original = 4 * header.width * header.height // _shrink(header, sizes) ** 2
    largest = max(width * height for width, height in sizes)
    of_pixel = 4 if header.media_type == "image/jpeg" else 12  # with alpha WebP's encoder keeps a copy beside
    return original + (of_pixel * largest if media_type == "image/webp" else 0)


@contextmanager
def _refusing_failure() -> Iterator[None]:
    """Raise NoRoom and ServiceFault for what fails in the block: its picture is decoded, so that is no fault of it.

    What libvips says is of all threads of a process, so it may tell of another one's failure.
    """
    import pyvips

    try:
        yield
    except (pyvips.Error, OSError) as error:
        if "No space left" in str(error) or (isinstance(error, OSError) and is_full(error)):
            raise NoRoom("There is no room to make the picture: nothing was stored. Try again later.") from error
        if isinstance(error, OSError):
            raise
        raise ServiceFault("The picture could not be made for a lack or a fault of this machine. Try again.") from error


# --- libvips -----------------------------------------------------------------------------------------------------


def _upright(data: bytes, header: Header, sizes: Sequence[tuple[int, int]]) -> "pyvips.Image":
    """Decode once, into memory: in sRGB or grey, eight bits a colour, alpha as it came, turned as it was meant."""
    options: dict[str, Any] = {"access": "sequential", "fail_on": "error"}
    if header.media_type == "image/jpeg":
        options["shrink"] = _shrink(header, sizes)
    pixels = read_pixels(io.BytesIO(data), header)
    image = getattr(vips().Image, _DECODERS[header.media_type])(pixels, **options)
    # The turn comes after the decoder's lines are in memory: it reads them in another order.
    return _TURNS[header.orientation](_in_srgb(image, header.profile).copy_memory())


_DECODERS = {"image/jpeg": "jpegload_buffer", "image/png": "pngload_buffer", "image/webp": "webpload_buffer"}

_TURNS: dict[int, Callable[["pyvips.Image"], "pyvips.Image"]] = {
    1: lambda image: image,
    2: lambda image: image.fliphor(),
    3: lambda image: image.rot180(),
    4: lambda image: image.flipver(),
    5: lambda image: image.rot90().fliphor(),
    6: lambda image: image.rot90(),
    7: lambda image: image.rot270().fliphor(),
    8: lambda image: image.rot270(),
}


def _shrink(header: Header, sizes: Sequence[tuple[int, int]]) -> int:
    """Return by how much a JPEG may be shrunk while it is decoded, so that no copy has to be enlarged for it."""
    if header.media_type != "image/jpeg":
        return 1
    width, height = header.upright_size
    widest, highest = max(size[0] for size in sizes), max(size[1] for size in sizes)
    return next(by for by in (8, 4, 2, 1) if by == 1 or (width >= by * widest and height >= by * highest))


def _in_srgb(image: "pyvips.Image", profile: bytes) -> "pyvips.Image":
    """Apply the profile where it fits the picture; without one CMYK is taken as ink on white paper, as browsers do."""
    colours = image.bands - image.hasalpha()
    if taken := colours_of(profile, colours):
        try:
            return _by_profile(image if taken == colours else image.colourspace(_three_colours(image)), profile)
        except vips().Error:
            pass  # a broken profile is ignored
    if colours == 4:
        light = 255 - image
        return ((light[:3] * light[3]) / 255 + 0.5).cast("uchar").copy(interpretation="srgb")
    return image.colourspace("srgb" if colours == 3 else "b-w")


def _three_colours(image: "pyvips.Image") -> str:
    return "rgb16" if image.format == "ushort" else "srgb"


def _by_profile(image: "pyvips.Image", profile: bytes) -> "pyvips.Image":
    image = image.copy()
    image.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
    return image.icc_transform("srgb", embedded=True, intent="perceptual", depth=8)


def _gray(image: "pyvips.Image") -> "pyvips.Image":
    if image.bands < 3:
        return image
    weights = [0.299, 0.587, 0.114]
    matrix = [weights] if image.bands == 3 else [[*weights, 0], [0, 0, 0, 1]]
    return (image.recomb(matrix) + 0.5).cast("uchar").copy(interpretation="b-w")


def _resized(image: "pyvips.Image", width: int, height: int) -> "pyvips.Image":
    """Draw in another size by Lanczos; transparent pixels lend nothing of their colour to those beside them."""
    if (image.width, image.height) == (width, height):
        return image
    return image.thumbnail_image(width, height=height, size="force", no_rotate=True)


def _write(image: "pyvips.Image", descriptor: int, media_type: str, quality: int, *, lossless: bool) -> None:
    target = vips().Target.new_to_descriptor(descriptor)
    if media_type == "image/jpeg":
        if image.hasalpha():
            image = image.flatten(background=[255])
        image.jpegsave_target(target, Q=JPEG_QUALITY, keep="none")
    elif media_type == "image/png":
        image.pngsave_target(target, compression=PNG_COMPRESSION, filter="all", keep="none")
    else:
        image.webpsave_target(target, Q=quality, effort=EFFORT, lossless=lossless, keep="none")
