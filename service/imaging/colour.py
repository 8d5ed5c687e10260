"""Colours: which profile is applied, and every picture as sRGB on white with eight bits a colour."""

import io
import itertools
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms

from service.imaging.header import MOST_PROFILE
from service.shortage import check_memory

_SPACES = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_STEPS = (0, 16, 64, 128, 192, 255)
STRIP = 4_000_000
"""Pixels that are worked on at a time."""
NEARLY_NOTHING = 2
"""Of 255: a profile that changes no colour by more is sRGB, as programs round its numbers."""


def colours_of(profile: bytes, colours: int) -> int:
    """Return how many colours the picture must have for its profile to be applied; 0 where that would change nothing.

    It is decided by what the profile does, never by its name: many that are called after sRGB have its curve and wider
    primaries. It changes nothing when it is broken, is of pictures with other colours, or is sRGB's. One in grey takes
    a profile of three colours when it is drawn in three.
    """
    taken = _SPACES.get(profile[16:20], 0) if 128 < len(profile) <= MOST_PROFILE else 0  # ICC.1 §7.2.6
    if taken != colours and (colours, taken) != (1, 3):
        return 0
    return taken if _changes_colours(profile, _MODES[taken]) else 0


def flat_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the same picture in sRGB, eight bits a colour, on white.

    What is done to a pixel asks for no other one, so it is done by strips: of the picture between there is never much.
    """
    if image.width * image.height <= STRIP:
        return _flat(image, profile)
    flat = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        flat.paste(_flat(strip, profile), (0, top))
    return flat


def _flat(image: Image.Image, profile: bytes) -> Image.Image:
    if image.mode.startswith("I"):
        image = _in_eight_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    image = _in_srgb(image, profile)
    if "A" in image.mode:
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image.convert("RGB"), mask=image.getchannel("A"))
        return paper
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture of 16 bits in grey with eight, and with alpha where one grey is transparent."""
    clear = image.info.pop("transparency", None)
    image = image.convert("I")
    grey = image.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if clear is None:
        return grey
    # Cut off at 0 and 255 by the conversion: opaque is whatever differs at all, above or below.
    above, below = image.point(lambda value: value - clear), image.point(lambda value: value * -1 + clear)
    alpha = ImageChops.lighter(*(side.convert("L").point(lambda value: 255 * bool(value)) for side in (above, below)))
    return Image.merge("LA", (grey, alpha)).convert("RGBA")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply the profile where it changes anything."""
    is_gray = image.mode == "L" or profile[16:20] == b"GRAY"
    taken = colours_of(profile, 4 if image.mode == "CMYK" else 1 if is_gray else 3)
    if not taken:
        return image
    alpha = image.getchannel("A") if taken == 1 and image.mode == "RGBA" else None
    coloured = image if image.mode == "RGBA" and not alpha else image.convert(_MODES[taken])
    if transform := _transform(profile, coloured.mode):
        image = transform.apply(coloured)
    if alpha:
        image.putalpha(alpha)
    return image


@lru_cache(maxsize=32)
def _changes_colours(profile: bytes, mode: str) -> bool:
    """Return whether it is read, and changes any colour of a coarse grid; ink is never sRGB."""
    transform = _transform(profile, mode)
    if not transform or mode == "CMYK":
        return transform is not None
    grid = bytes(value for colour in itertools.product(_STEPS, repeat=len(mode)) for value in colour)
    colours = Image.frombytes(mode, (len(grid) // len(mode), 1), grid)
    difference = ImageChops.difference(transform.apply(colours), colours.convert("RGB"))
    return max(high for _, high in difference.getextrema()) > NEARLY_NOTHING  # type: ignore[misc]


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB. Making one takes longer than applying it, and a camera repeats its own."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(source, target, mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        check_memory()
        return None
