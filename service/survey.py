"""Untrusted images walked over segment by segment, within bounds and without decoding.

The formats: JPEG ITU T.81 annex B, PNG and APNG W3C PNG 3rd edition, WebP RFC 9649, EXIF CIPA DC-008 in TIFF 6.0.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from service.errors import Invalid, Problem, TooLarge, UnsupportedType

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


def survey(stream: BinaryIO, label: str, types: tuple[str, ...] = ACCEPTED) -> Header:
    """Tell the type by the first bytes and walk over the file."""
    stream.seek(0)
    head = stream.read(1024)
    media_type = media_type_of(head)
    if media_type not in types:
        found = f"a {FORMATS[media_type]}" if media_type else _foreign_kind(head)
        what = f"is {found}" if found else "is not a picture of a known type"
        raise UnsupportedType(f"{label} {what}; accepted are {', '.join(types)}.")
    walk = {"image/jpeg": _walk_jpeg, "image/png": _walk_png, "image/webp": _walk_webp}[media_type]
    with refusing_what_does_not_decode(label, media_type):
        header = walk(stream)
        if not header.width or not header.height:
            raise ValueError("no pixels")
    if header.frames > MOST_FRAMES:
        raise TooLarge(
            f"{label} has more than {MOST_FRAMES} frames, the most that are accepted. Take some out.", limit=MOST_FRAMES
        )
    if header.unpacked > MOST_UNPACKED:
        raise TooLarge(
            f"{label} has texts and profiles of more than {MOST_UNPACKED} bytes, the most that are accepted. "
            "Remove its metadata.",
            limit=MOST_UNPACKED,
        )
    refuse_too_many_pixels(header, MOST_PIXELS, label)
    return header


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


def _foreign_kind(head: bytes) -> str | None:
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


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise ValueError("cut off")
    return data


def _walk_jpeg(stream: BinaryIO) -> Header:
    """Walk to the first scan; what follows is for the decoder."""
    header = Header("image/jpeg", parts=[(0, 2)])
    profile: dict[int, bytes] = {}
    stream.seek(2)
    for _ in range(MOST_SEGMENTS):
        first, marker = _exactly(stream, 2)
        if first != 0xFF or marker in (0x00, 0xFF):
            stream.seek(-1, io.SEEK_CUR)  # stray and fill bytes: decoders skip them too
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue  # markers without a segment, of no use here
        begin = stream.tell() - 2
        if marker == 0xDA:
            _, in_scan = struct.unpack(">HB", _exactly(stream, 3))
            header.scan = begin
            header.in_one_scan = in_scan == header.components and header.coding not in (0xC2, 0xC6, 0xCA, 0xCE)
            header.keep(begin, stream.seek(0, io.SEEK_END))
            header.profile = b"".join(profile[number] for number in sorted(profile))
            return header
        (length,) = struct.unpack(">H", _exactly(stream, 2))
        end = begin + 2 + length
        if length < 2 or marker == 0xD9:
            raise ValueError("no scan")
        _read_jpeg_segment(stream, marker, begin, end, header, profile)
        stream.seek(end)
    raise ValueError("too many segments")


def _read_jpeg_segment(
    stream: BinaryIO, marker: int, begin: int, end: int, header: Header, profile: dict[int, bytes]
) -> None:
    """Tell what a segment is to the file: it makes the pixels, says something of them, or is metadata."""
    if marker < 0xE0:
        _read_jpeg_frame(stream, marker, header)
    else:
        payload = _exactly(stream, end - begin - 4)
        _read_jpeg_metadata(marker, payload, header, profile)
        if _is_jpeg_metadata(marker, payload):
            header.metadata.append((begin, end))
    if _makes_pixels(marker):
        header.keep(begin, end)


def _makes_pixels(marker: int) -> bool:
    """Tell tables and frame from comments and application segments; JFIF's and Adobe's tell the colour space."""
    return marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE)


_OF_COLOURS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}


def _is_jpeg_metadata(marker: int, head: bytes) -> bool:
    """Tell a comment, or an application's segment that does not say how colours are meant."""
    if 0xE0 <= marker <= 0xEF:
        return marker not in _OF_COLOURS or not head.startswith(_OF_COLOURS[marker])
    return marker == 0xFE


# Inside a scan a byte FF is followed by 00 or a restart marker, before a marker there may be more of them.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def jpeg_segments(data: bytes, scan: int) -> Iterator[tuple[int, int, int]]:
    """Give marker, begin and end of each segment from the first scan to the end of image, without the scans' data."""
    end = scan
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, end)
        if not found:
            return
        begin, marker = found.start(), data[found.start() + 1]
        end = begin + 2 + (int.from_bytes(data[begin + 2 : begin + 4]) if marker != 0xD9 else 0)
        if end > len(data):
            return  # inside a damaged scan, for a decoder to judge
        yield marker, begin, end
        if marker == 0xD9:
            return
    raise ValueError("too many segments")


def bare_jpeg(data: bytes, header: Header) -> bytes:
    """Return a surveyed JPEG without metadata and without what follows its end; the same object if it has neither."""
    dropped, end = list(header.metadata), len(data)
    for marker, begin, behind in jpeg_segments(data, header.scan):
        if _is_jpeg_metadata(marker, data[begin + 4 : begin + 16]):
            dropped.append((begin, behind))
        elif marker == 0xD9 and behind < end:
            dropped.append((behind, end))
    if not dropped:
        return data
    starts = [0, *(behind for _, behind in dropped)]
    ends = [*(begin for begin, _ in dropped), end]
    return b"".join([data[begin:behind] for begin, behind in zip(starts, ends, strict=True)])


def _read_jpeg_frame(stream: BinaryIO, marker: int, header: Header) -> None:
    """Take the size from a start of frame (SOF0 … SOF15 without DHT, JPG, DAC); two of them are not a JPEG."""
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
        if header.coding:
            raise ValueError("two frames")
        _, header.height, header.width, header.components = struct.unpack(">BHHB", _exactly(stream, 6))
        header.coding = marker


def _read_jpeg_metadata(marker: int, payload: bytes, header: Header, profile: dict[int, bytes]) -> None:
    """Take the orientation from EXIF, and a piece of the profile (ICC.1:2022 annex B.4: number, count, bytes)."""
    if marker == 0xE1 and payload.startswith(b"Exif\0\0") and header.orientation == 1:
        header.orientation = _orientation(payload)
    elif marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
        profile[payload[12]] = payload[14:]


_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def _walk_png(stream: BinaryIO) -> Header:
    """Walk over all chunks. The checksums are looked at here, since Pillow skips those of the pixels."""
    header = Header("image/png", parts=[(0, 8)])
    frames = 0
    begin = 8
    for _ in range(MOST_SEGMENTS):
        stream.seek(begin)
        length, kind = struct.unpack(">I4s", _exactly(stream, 8))
        end = begin + 12 + length
        if kind in _PNG_PIXELS:
            _check_png_chunk(stream, kind, length, header)
            header.keep(begin, end)
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            _read_png_compressed(stream, kind, length, header)
        elif kind == b"eXIf" and length <= PIECE:
            header.orientation = _orientation(_exactly(stream, length))
        elif kind == b"acTL":
            header.frames = max(1, *struct.unpack(">I", _exactly(stream, 4)))
        frames += kind == b"fcTL"
        header.frames = max(header.frames, frames)
        if kind == b"IEND" or header.frames > MOST_FRAMES or header.unpacked > MOST_UNPACKED:
            return header
        begin = end
    raise ValueError("too many chunks")


def _check_png_chunk(stream: BinaryIO, kind: bytes, length: int, header: Header) -> None:
    """Hold the chunk to its checksum, and take the size from the first one."""
    checksum = zlib.crc32(kind)
    data = b""
    for left in range(length, 0, -PIECE):
        data = _exactly(stream, min(left, PIECE))
        checksum = zlib.crc32(data, checksum)
    if struct.pack(">I", checksum) != _exactly(stream, 4):
        raise ValueError("checksum")
    if (kind == b"IHDR") == bool(header.width):
        raise ValueError("header not first, or twice")
    if kind == b"IHDR":
        header.width, header.height = struct.unpack(">II", data[:8])


def _read_png_compressed(stream: BinaryIO, kind: bytes, length: int, header: Header) -> None:
    """Unpack a profile or text to see how long it is, as far as there is room."""
    room = MOST_UNPACKED - header.unpacked
    if length > room:
        header.unpacked += length
        return
    _, _, rest = _exactly(stream, length).partition(b"\0")
    packed = rest[1:]  # behind the method
    if kind == b"iTXt":  # flag, method, language, 0, translated keyword, 0, text
        packed = rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""
    try:
        unpacked = zlib.decompressobj().decompress(packed, room + 1)
    except zlib.error:
        return  # a broken text or profile is no reason to refuse the pixels
    header.unpacked += len(unpacked)
    if kind == b"iCCP":
        header.profile = unpacked


def _walk_webp(stream: BinaryIO) -> Header:
    """Walk over all chunks, or to the frame that is one too many."""
    header = Header("image/webp")
    stream.seek(4)
    (length,) = struct.unpack("<I", _exactly(stream, 4))
    whole = 8 + length
    if stream.seek(0, io.SEEK_END) < whole:
        raise ValueError("cut off")
    header.keep(0, whole)
    header.frames = 0
    begin = 12
    for _ in range(MOST_SEGMENTS):
        if begin + 8 > whole or header.frames > MOST_FRAMES:
            header.frames = max(1, header.frames)
            return header
        stream.seek(begin)
        kind, length = struct.unpack("<4sI", _exactly(stream, 8))
        if begin == 12:
            header.width, header.height = _webp_size(kind, _exactly(stream, min(length, 10)))
        elif kind == b"EXIF" and length <= PIECE:
            header.orientation = _orientation(_exactly(stream, length))
        elif kind == b"ICCP" and length <= MOST_PROFILE:
            header.profile = _exactly(stream, length)
        header.frames += kind == b"ANMF"
        begin += 8 + length + length % 2
    raise ValueError("too many chunks")


def bare_webp(data: bytes) -> tuple[bytes, bool]:
    """Return the chunks of a surveyed WebP that make its first picture, and whether they are lossless."""
    kept, is_lossless, begin = [b"WEBP"], False, 12
    while begin + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, begin)
        chunk = data[begin : begin + 8 + length + length % 2]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & _WEBP_FLAGS]) + chunk[9:]
        if kind in _WEBP_PIXELS:
            kept.append(chunk)
            is_lossless |= b"VP8L" in (kind, chunk[24:28])  # a frame's own chunks begin there: RFC 9649 §2.7.1.1
        begin += len(chunk)
        if kind == b"ANMF":
            break
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body, is_lossless


_WEBP_PIXELS = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_FLAGS = 0x12  # of VP8X: alpha and animation; without those of profile, EXIF and XMP


def _webp_size(kind: bytes, data: bytes) -> tuple[int, int]:
    """Return the canvas from the first chunk: RFC 9649 §2.7, RFC 6386 §9.1, RFC 9649 §3.4."""
    if kind == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[:1] == b"\x2f":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("no canvas")


def _orientation(exif: bytes) -> int:
    """Return EXIF's tag 0x0112, 1 to 8; 1 where it is missing or anything is wrong with it."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
