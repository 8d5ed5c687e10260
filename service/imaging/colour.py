"""Colours: which profile is applied, and every picture as sRGB on white with eight bits a colour."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

from service.imaging.header import MOST_PROFILE

_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}


def fits(profile: bytes, colours: int) -> bool:
    """Return whether this can be a profile of a picture with so many colours, and is not sRGB's."""
    is_srgb = b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
    return 128 < len(profile) <= MOST_PROFILE and not is_srgb and profile[16:20] == _SPACES[colours]  # ICC.1 §7.2.6


def flat_srgb(image: Image.Image, profile: bytes) -> Image.Image:
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
    """Apply the profile where it fits the picture; a broken one is ignored."""
    if image.mode == "L" and fits(profile, 3):
        image = image.convert("RGB")
    if not fits(profile, {"L": 1, "CMYK": 4}.get(image.mode, 3)):
        return image
    transform = _transform(profile, image.mode)
    return transform.apply(image) if transform else image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB. Making one takes longer than applying it, and a camera repeats its own."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(source, target, mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
