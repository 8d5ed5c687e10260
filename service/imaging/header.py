"""What an image's file says of itself, and the bounds that hold before any decoding."""

import math
from dataclasses import dataclass, field
from typing import BinaryIO

MOST_PIXELS = 1 << 28
"""Over all frames, where no smaller limit is at hand."""
MOST_FRAMES = 1_000
MOST_SEGMENTS = 20_000  # a 20 MB PNG in the usual 8 KB chunks has 2,600
MOST_UNPACKED = 8 << 20  # bytes of compressed text and profile in a PNG
MOST_PROFILE = 4 << 20  # bytes; the largest printers' profiles have 2.7 MB
PIECE = 1 << 16
MOST_COST = 50_000_000 * 4 * 20
"""What decoding may cost: that of 50 megapixels in four channels of 8 bits and 20 scans."""


@dataclass(slots=True)
class Header:
    """What the file's structure says, read once; width and height are in pixels as stored, not yet turned."""

    media_type: str
    width: int = 0
    height: int = 0
    frames: int = 1
    exif_orientation: int | None = None  # 1 to 8, of the first EXIF block that has one
    profile: bytes = b""  # ICC
    is_lossless: bool = False
    parts: list[tuple[int, int]] = field(default_factory=list)  # (from, to): the bytes that make the pixels
    unsupported: str = ""  # the coding, as in "a lossless JPEG", where it is not read
    unpacked: int = 0  # PNG: bytes of texts and profile, unpacked
    coding: int = 0  # JPEG: the second byte of the SOF marker
    components: int = 0  # JPEG, PNG: 1 grey, 3 colour, 4 CMYK
    depth: int = 8  # bits a channel
    scan: int = 0  # JPEG: where the first scan begins
    is_closed: bool = False  # JPEG: the marker of its end follows its last scan
    scans: int = 1  # JPEG: each is a pass over the coefficients
    in_one_scan: bool = False  # JPEG: it has all components at full depth, so decoders take no second one

    @property
    def orientation(self) -> int:
        """EXIF's orientation, 1 where none is told."""
        return self.exif_orientation or 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a person sees them."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)

    @property
    def cost(self) -> int:
        """What decoding costs: pixels × channels × bytes of a channel × scans, over all frames."""
        channels = self.components if self.media_type == "image/jpeg" else 4
        return self.frames * self.width * self.height * channels * math.ceil(self.depth / 8) * self.scans

    @property
    def is_plain_jpeg(self) -> bool:
        """Whether it is a baseline or progressive JPEG in grey or colour that needs no turning."""
        return self.coding in (0xC0, 0xC2) and self.components in (1, 3) and self.orientation == 1

    def keep(self, begin: int, end: int) -> None:
        """Count these bytes among those that make the pixels."""
        if self.parts and self.parts[-1][1] == begin:
            begin = self.parts.pop()[0]
        self.parts.append((begin, end))


def exactly(stream: BinaryIO, length: int) -> bytes:
    """Read so many bytes; raise `ValueError` where the file ends before."""
    data = stream.read(length)
    if len(data) < length:
        raise ValueError("cut off")
    return data
