"""What a picture's file says of itself, and the bounds that hold before any decoding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from service.errors import Invalid, Problem, TooLarge

ACCEPTED = ("image/jpeg", "image/png", "image/webp")


# Naming the plugins here also registers them: Pillow would otherwise load all forty to find WebP.
FORMATS = {
    "image/jpeg": JpegImagePlugin.JpegImageFile.format,
    "image/png": PngImagePlugin.PngImageFile.format,
    "image/webp": WebPImagePlugin.WebPImageFile.format,
}


MOST_PIXELS = 1 << 28
"""Over all frames, where no smaller limit is at hand."""


MOST_FRAMES = 1_000


MOST_SEGMENTS = 20_000  # a 20 MB PNG in the usual 8 KB chunks has 2,600


MOST_UNPACKED = 8 << 20  # bytes of compressed text and profile in a PNG


MOST_PROFILE = 4 << 20  # bytes; the largest printers' profiles have 2.7 MB


PIECE = 1 << 16


@contextmanager
def refusing_what_does_not_decode(label: str, media_type: str) -> Iterator[None]:
    """Turn whatever hostile bytes provoke, a MemoryError among it, into `Invalid`."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        kind = FORMATS[media_type]
        raise Invalid(
            f"{label} begins as {kind} but does not decode: it is damaged or cut off. Save it anew, or leave it out."
        ) from error


@dataclass(slots=True)
class Header:
    """What the walk found, before any decoding; width and height in pixels as stored, not yet turned."""

    media_type: str
    width: int = 0
    height: int = 0
    frames: int = 1
    orientation: int = 1
    profile: bytes = b""
    coding: int = 0  # JPEG: the second byte of the SOF marker
    components: int = 0  # JPEG: 1 grey, 3 colour, 4 CMYK
    scan: int = 0  # JPEG: where the first scan begins
    in_one_scan: bool = False  # JPEG: it has all components at full depth, so decoders take no second one
    metadata: list[tuple[int, int]] = field(default_factory=list)  # JPEG: (from, to) before the first scan
    unpacked: int = 0  # PNG: bytes of texts and profile, unpacked
    parts: list[tuple[int, int]] = field(default_factory=list)  # (from, to): the bytes that make the pixels

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a person sees them."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def is_plain_jpeg(self) -> bool:
        """A baseline or progressive JPEG in grey or colour that needs no turning."""
        return self.coding in (0xC0, 0xC2) and self.components in (1, 3) and self.orientation == 1

    def keep(self, begin: int, end: int) -> None:
        """Let the decoder see these bytes."""
        if self.parts and self.parts[-1][1] == begin:
            begin = self.parts.pop()[0]
        self.parts.append((begin, end))


def media_type_of(head: bytes) -> str | None:
    """Return the accepted type that begins like this."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None


_FOREIGN = (
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


def foreign_kind(head: bytes) -> str | None:
    """Name a type that is not accepted, to help whoever sent it."""
    for signature, kind in _FOREIGN:
        if head.startswith(signature):
            return kind
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if b"<svg" in head.lower():
        return "an SVG"
    return None


def refuse_too_many_pixels(header: Header, most: int, label: str) -> None:
    """Raise `TooLarge` for more pixels than this, over all frames."""
    if header.frames * header.width * header.height > most:
        frames = f"{header.frames} frames of " if header.frames > 1 else ""
        raise TooLarge(
            f"{label} has {frames}{header.width} × {header.height} pixels; at most {most} pixels are accepted. "
            "Make it smaller.",
            limit=most,
        )


def exactly(stream: BinaryIO, length: int) -> bytes:
    """Read so many bytes; raise `ValueError` where the file ends before."""
    data = stream.read(length)
    if len(data) < length:
        raise ValueError("cut off")
    return data
