"""What is accepted as an image, decided by the first bytes: the one place that lists the types."""

from importlib.util import find_spec

from PIL import AvifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

# Naming the plugins also registers them: Pillow would otherwise load all forty to find WebP.
FORMATS = {
    "image/jpeg": JpegImagePlugin.JpegImageFile.format,
    "image/png": PngImagePlugin.PngImageFile.format,
    "image/webp": WebPImagePlugin.WebPImageFile.format,
    "image/heic": "HEIC",
    "image/avif": AvifImagePlugin.AvifImageFile.format,
}
"""The name of each type; Pillow's own, except that HEIC is read by pi-heif."""

MISSING = {
    media_type: library
    for media_type, library, is_here in (
        ("image/heic", "pi-heif", find_spec("pi_heif") is not None),
        ("image/avif", "Pillow with AVIF", AvifImagePlugin.SUPPORTED),
    )
    if not is_here
}
"""Types that are not read where this service runs, and the library that each of them lacks."""
EDITABLE = ("image/jpeg", "image/png", "image/webp")
"""Types of which copies are made in the same type."""
ACCEPTED = tuple(media_type for media_type in FORMATS if media_type not in MISSING)

_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"%PDF-", "a PDF"),
    (b"%!PS", "an EPS file"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"II+\0", "a TIFF"),
    (b"MM\0+", "a TIFF"),
    (b"BM", "a BMP"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
)
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"
)
_ANY_CODING = (b"mif1", b"msf1", b"miaf")


def media_type_of(head: bytes) -> str | None:
    """Return the type that begins with these bytes, of those that are read; 64 are enough."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _type_of_brands(head)
    return None


def _type_of_brands(head: bytes) -> str | None:
    """Return the type that the brands tell: the major one first, then those it is compatible with."""
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), int.from_bytes(head[:4])), 4))]
    if brands[0] not in _BRANDS and brands[0] not in _ANY_CODING:
        return None
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "image/heic")


def name_of(head: bytes) -> str | None:
    """Name the type that begins with these bytes, accepted or not, as in "a GIF"; None for an unknown one."""
    if media_type := media_type_of(head):
        return f"{'an' if media_type == 'image/avif' else 'a'} {FORMATS[media_type]}"
    for signature, name in _OTHERS:
        if head.startswith(signature):
            return name
    return "an SVG" if b"<svg" in head.lower() else None
