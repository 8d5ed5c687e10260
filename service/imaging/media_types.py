"""What is accepted as an image, decided by the first bytes: the one place that lists the types."""

from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

# Naming the plugins also registers them: Pillow would otherwise load all forty to find WebP.
FORMATS = {
    "image/jpeg": JpegImagePlugin.JpegImageFile.format,
    "image/png": PngImagePlugin.PngImageFile.format,
    "image/webp": WebPImagePlugin.WebPImageFile.format,
}
"""Pillow's name for each accepted type."""
ACCEPTED = tuple(FORMATS)

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
_BRANDS = {b"avif": "an AVIF", b"avis": "an AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "a HEIC"
)


def media_type_of(head: bytes) -> str | None:
    """Return the accepted type that begins with these bytes; 16 are enough."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def name_of(head: bytes) -> str | None:
    """Name the type that begins with these bytes, accepted or not, as in "a GIF"; None for an unknown one."""
    if media_type := media_type_of(head):
        return f"a {FORMATS[media_type]}"
    for signature, name in _OTHERS:
        if head.startswith(signature):
            return name
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    return "an SVG" if b"<svg" in head.lower() else None
