"""Untrusted images: type by content, size before decoding, upright pixels.

A file is first walked segment by segment, within bounds and without decoding (`_survey`). Pillow then gets the segments
that make the pixels and no others (`_open`): EXIF, XMP, texts, profiles and further pictures never reach its parsers,
which would unpack, interpret or warn about them. Orientation and colour profile are read here instead.

The formats: JPEG ITU T.81 annex B, PNG and APNG W3C PNG 3rd edition, WebP RFC 9649, EXIF CIPA DC-008 in TIFF 6.0.
"""

import bisect
import io
import math
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from service.errors import Invalid, Problem, TooLarge, UnsupportedType

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ACCEPTED = ("image/jpeg", "image/png", "image/webp")

# Naming the plugins here also registers them: Pillow would otherwise load all forty to find WebP.
_FORMATS = {
    "image/jpeg": JpegImagePlugin.JpegImageFile.format,
    "image/png": PngImagePlugin.PngImageFile.format,
    "image/webp": WebPImagePlugin.WebPImageFile.format,
}

# Pillow warns above 89 megapixels, whatever the service allows. Here `Limits` decides, and MOST_PIXELS where it is not
# at hand.
Image.MAX_IMAGE_PIXELS = None
MOST_PIXELS = 1 << 28

MOST_FRAMES = 1_000
MOST_SEGMENTS = 20_000  # a 20 MB PNG in the usual 8 KB chunks has 2,600
MOST_SCANS = 100  # of a progressive JPEG; encoders make 10, and each costs a pass over all coefficients
MOST_UNPACKED = 8 << 20  # bytes of compressed text and profile in a PNG
MOST_PROFILE = 4 << 20  # bytes; the largest printers' profiles have 2.7 MB
LONGEST_JPEG_SIDE = 65_000  # libjpeg stops at 65,500

BIG = 16_000_000
# Decoding takes 4 to 16 bytes a pixel: 16 threads with 50 megapixels each would take 8 GB. So one big picture at a
# time in a process.
_one_big_picture = threading.Lock()

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may have at most: bytes of file, pixels over all frames."""

    bytes: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that was found sound; width and height in pixels of the upright picture, size in bytes."""

    media_type: str
    width: int
    height: int
    size: int


def check(stream: BinaryIO, name: str, limits: Limits, types: tuple[str, ...] = ACCEPTED) -> Picture:
    """Decode an uploaded file in full and tell what it is; the stream is left at its beginning.

    `name` is the client's, said in every refusal: `Invalid` for a file that is empty or does not decode,
    `UnsupportedType` for one that begins as anything but these types, `TooLarge` for too many bytes, pixels or frames.
    Of an animation only the first frame is decoded. A 50 KB photo takes 0.4 ms.
    """
    label = shown(name)
    size = stream.seek(0, io.SEEK_END)
    if not size:
        raise Invalid(f"{label} is empty.")
    if size > limits.bytes:
        raise TooLarge(f"{label} has {size:,} bytes; at most {limits.bytes:,} are accepted.")
    try:
        header = _survey(stream, label, types)
        _refuse_too_many_pixels(header, limits.pixels, label)
        with _refusing_what_does_not_decode(label, header.media_type):
            _decode_cheaply(stream, header)
    finally:
        stream.seek(0)
    return Picture(header.media_type, *header.upright_size, size)


def upright(data: bytes, *, max_side: int | None = None) -> tuple[Image.Image, float]:
    """Return the upright picture in RGB, and its side over the original's, at most 1.0.

    The EXIF orientation is applied, transparency laid on white, 16 bits scaled to 8, an embedded profile converted to
    sRGB; nothing of the file's metadata is left. With `max_side` a JPEG is shrunk by 2, 4 or 8 while it is decoded, as
    far as its longer side stays that long. Raises `Invalid` when it does not decode.
    """
    stream = io.BytesIO(data)
    header = _survey(stream, "The image")
    with _refusing_what_does_not_decode("The image", header.media_type):
        image = _decode(stream, header, max_side)
        scale = max(image.size) / max(header.width, header.height)
        image = _flat_rgb(image, header.profile)
        turn = _TURNS.get(header.orientation)
        if turn is not None:
            image = image.transpose(turn)
        image.info = {}
    return image, scale


def to_jpeg(data: bytes, max_pixels: int) -> tuple[bytes, float]:
    """Return an upright JPEG of at most so many pixels, and its side over the original's, at most 1.0.

    A JPEG that is one already is returned as it came, which takes 20 µs. Raises `Invalid` as `upright` does.
    """
    header = _survey(io.BytesIO(data), "The image")
    if header.is_plain_jpeg and header.width * header.height <= max_pixels:
        return data, 1.0
    image, scale = upright_within(data, max_pixels)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=92)
    return target.getvalue(), scale


def upright_within(data: bytes, max_pixels: int, *, exact: bool = True) -> tuple[Image.Image, float]:
    """Return the upright picture as `upright` does, of at most so many pixels and with sides that a JPEG can have.

    Unless it must be exact, a JPEG that is too large may lose up to half its side more than it has to: it is then not
    decoded in full, which would take 4 bytes for every pixel that it has.
    """
    header = _survey(io.BytesIO(data), "The image")
    longest = max(header.width, header.height)
    wanted = min(1.0, math.sqrt(max_pixels / (header.width * header.height)), LONGEST_JPEG_SIDE / longest)
    image, _ = upright(data, max_side=math.ceil(longest * wanted / (1 if exact or wanted == 1.0 else 2)))
    size = tuple(max(1, math.floor(side * wanted)) for side in header.upright_size)
    if image.width > size[0] or image.height > size[1]:
        image = image.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return image, max(image.size) / longest


def thumbnail(data: bytes, side: int) -> bytes:
    """Return an upright JPEG without metadata that fits a square of `side` pixels; small pictures stay as small.

    A 12-megapixel JPEG takes 16 ms, since it is shrunk while it is decoded. Raises `Invalid` as `upright` does.
    """
    image, _ = upright(data, max_side=side)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=80)
    return target.getvalue()


def begins_as_photo(head: bytes) -> bool:
    """Tell whether these are the first bytes of an accepted type; 16 are enough."""
    return _media_type(head) is not None


@dataclass(frozen=True, slots=True)
class Bare:
    """An image without its metadata, for a decoder other than Pillow's.

    `data` has only what makes the pixels; width and height are those of the pixels as stored, which `orientation` (EXIF
    1 to 8) then turns; `profile` is empty where it is sRGB or cannot be used.
    """

    media_type: str
    width: int
    height: int
    orientation: int
    profile: bytes
    is_lossless: bool
    data: bytes

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a person sees them."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def bare(data: bytes) -> Bare:
    """Take the metadata off an image, without decoding. Raises `Invalid`, `UnsupportedType`, `TooLarge`."""
    header = _survey(io.BytesIO(data), "The image")
    pixels, is_lossless = b"".join(data[begin:end] for begin, end in header.parts), header.media_type == "image/png"
    if header.media_type == "image/webp":
        with _refusing_what_does_not_decode("The image", header.media_type):
            pixels, is_lossless = _bare_webp(pixels)
    return Bare(
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        orientation=header.orientation,
        profile=header.profile if _is_worth_applying(header.profile) else b"",
        is_lossless=is_lossless,
        data=pixels,
    )


def shown(name: str) -> str:
    """Return a client's file name fit for a sentence: one line, printable, at most 80 characters."""
    clean = "".join(character for character in name if character.isprintable()).strip()
    if len(clean) > 80:
        clean = f"{clean[:79]}…"
    return clean or "The file"


@contextmanager
def _refusing_what_does_not_decode(label: str, media_type: str) -> Iterator[None]:
    """Turn whatever hostile bytes provoke, a MemoryError among it, into `Invalid`."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        kind = _FORMATS[media_type]
        raise Invalid(
            f"{label} begins as {kind} but does not decode: it is damaged or cut off. Save it anew, or leave it out."
        ) from error


# --- the walk ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Header:
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


def _survey(stream: BinaryIO, label: str, types: tuple[str, ...] = ACCEPTED) -> _Header:
    """Tell the type by the first bytes and walk over the file."""
    stream.seek(0)
    head = stream.read(1024)
    media_type = _media_type(head)
    if media_type not in types:
        found = f"a {_FORMATS[media_type]}" if media_type else _foreign_kind(head)
        what = f"is {found}" if found else "is not a picture of a known type"
        raise UnsupportedType(f"{label} {what}; accepted are {', '.join(types)}.")
    walk = {"image/jpeg": _walk_jpeg, "image/png": _walk_png, "image/webp": _walk_webp}[media_type]
    with _refusing_what_does_not_decode(label, media_type):
        header = walk(stream)
        if not header.width or not header.height:
            raise ValueError("no pixels")
    if header.frames > MOST_FRAMES:
        raise TooLarge(f"{label} has more than {MOST_FRAMES:,} frames, the most that are accepted.")
    if header.unpacked > MOST_UNPACKED:
        raise TooLarge(
            f"{label} has texts and profiles of more than {MOST_UNPACKED:,} bytes, the most that are accepted."
        )
    _refuse_too_many_pixels(header, MOST_PIXELS, label)
    return header


def _media_type(head: bytes) -> str | None:
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


def _refuse_too_many_pixels(header: _Header, most: int, label: str) -> None:
    if header.frames * header.width * header.height > most:
        frames = f"{header.frames:,} frames of " if header.frames > 1 else ""
        raise TooLarge(
            f"{label} has {frames}{header.width:,} × {header.height:,} pixels; at most {most:,} pixels are accepted."
        )


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise ValueError("cut off")
    return data


def _walk_jpeg(stream: BinaryIO) -> _Header:
    """Walk to the first scan; what follows is for the decoder."""
    header = _Header("image/jpeg", parts=[(0, 2)])
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
        if marker in (0xE1, 0xE2):
            _read_jpeg_metadata(_exactly(stream, length - 2), header, profile)
        elif _makes_pixels(marker):
            _read_jpeg_frame(stream, marker, header)
            header.keep(begin, end)
        stream.seek(end)
    raise ValueError("too many segments")


def _makes_pixels(marker: int) -> bool:
    """Tell tables and frame from comments and application segments; JFIF's and Adobe's tell the colour space."""
    return marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _read_jpeg_frame(stream: BinaryIO, marker: int, header: _Header) -> None:
    """Take the size from a start of frame (SOF0 … SOF15 without DHT, JPG, DAC); two of them are not a JPEG."""
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
        if header.coding:
            raise ValueError("two frames")
        _, header.height, header.width, header.components = struct.unpack(">BHHB", _exactly(stream, 6))
        header.coding = marker


def _read_jpeg_metadata(payload: bytes, header: _Header, profile: dict[int, bytes]) -> None:
    """Take the orientation from EXIF, and a piece of the profile (ICC.1:2022 annex B.4: number, count, bytes)."""
    if payload.startswith(b"Exif\0\0") and header.orientation == 1:
        header.orientation = _orientation(payload)
    elif payload.startswith(b"ICC_PROFILE\0"):
        profile[payload[12]] = payload[14:]


_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def _walk_png(stream: BinaryIO) -> _Header:
    """Walk over all chunks. The checksums are looked at here, since Pillow skips those of the pixels."""
    header = _Header("image/png", parts=[(0, 8)])
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
        elif kind == b"eXIf" and length <= _PIECE:
            header.orientation = _orientation(_exactly(stream, length))
        elif kind == b"acTL":
            header.frames = max(1, *struct.unpack(">I", _exactly(stream, 4)))
        frames += kind == b"fcTL"
        header.frames = max(header.frames, frames)
        if kind == b"IEND" or header.frames > MOST_FRAMES or header.unpacked > MOST_UNPACKED:
            return header
        begin = end
    raise ValueError("too many chunks")


def _check_png_chunk(stream: BinaryIO, kind: bytes, length: int, header: _Header) -> None:
    """Hold the chunk to its checksum, and take the size from the first one."""
    checksum = zlib.crc32(kind)
    data = b""
    for left in range(length, 0, -_PIECE):
        data = _exactly(stream, min(left, _PIECE))
        checksum = zlib.crc32(data, checksum)
    if struct.pack(">I", checksum) != _exactly(stream, 4):
        raise ValueError("checksum")
    if (kind == b"IHDR") == bool(header.width):
        raise ValueError("header not first, or twice")
    if kind == b"IHDR":
        header.width, header.height = struct.unpack(">II", data[:8])


def _read_png_compressed(stream: BinaryIO, kind: bytes, length: int, header: _Header) -> None:
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


def _walk_webp(stream: BinaryIO) -> _Header:
    """Walk over all chunks, or to the frame that is one too many."""
    header = _Header("image/webp")
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
        elif kind == b"EXIF" and length <= _PIECE:
            header.orientation = _orientation(_exactly(stream, length))
        elif kind == b"ICCP" and length <= MOST_PROFILE:
            header.profile = _exactly(stream, length)
        header.frames += kind == b"ANMF"
        begin += 8 + length + length % 2
    raise ValueError("too many chunks")


def _bare_webp(data: bytes) -> tuple[bytes, bool]:
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


# --- the pixels --------------------------------------------------------------------------------------------------


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


def _refuse_too_many_scans(stream: BinaryIO, header: _Header) -> None:
    """Count the scans of a JPEG; inside one, a byte FF is always followed by 00 or a restart marker."""
    scans = 0
    last = b""
    stream.seek(header.scan)
    while piece := stream.read(_PIECE):
        scans += (last + piece).count(b"\xff\xda")
        last = piece[-1:] if piece.endswith(b"\xff") else b""
    if scans > MOST_SCANS:
        raise ValueError("too many scans")


def _open(stream: BinaryIO, header: _Header) -> Image.Image:
    """Hand Pillow the pixels, and one decoder to choose from."""
    if header.scan and not header.in_one_scan:
        _refuse_too_many_scans(stream, header)
    excerpt = io.BufferedReader(_Excerpt(stream, header.parts), _PIECE)
    image = Image.open(excerpt, formats=[_FORMATS[header.media_type]])
    if image.size != (header.width, header.height):
        raise ValueError("two sizes")
    return image


def _turn_for(pixels: int) -> AbstractContextManager[object]:
    """Wait for the other big picture of this process, if this is a big one."""
    return _one_big_picture if pixels > BIG else nullcontext()


def _pixels_held(header: _Header, shrunk: int) -> int:
    """Return how many pixels the decoder holds at once; a JPEG of one scan is shrunk on the way, others after it."""
    return header.width * header.height // (shrunk * shrunk if header.in_one_scan else 1)


def _decode_cheaply(stream: BinaryIO, header: _Header) -> None:
    """Decode and forget. A JPEG at an eighth of its side and in grey: every coefficient is still read."""
    with _turn_for(_pixels_held(header, 8)):
        image = _open(stream, header)
        image.draft("L", (1, 1))
        image.load()


def _decode(stream: BinaryIO, header: _Header, max_side: int | None) -> Image.Image:
    """Decode for use, a JPEG shrunk by a power of two as far as `max_side` allows."""
    longest = max(header.width, header.height)
    shrunk = next(by for by in (8, 4, 2, 1) if by == 1 or longest >= by * (max_side or longest))
    with _turn_for(_pixels_held(header, shrunk)):
        image = _open(stream, header)
        if shrunk > 1:
            image.draft(None, (max(1, header.width // shrunk), max(1, header.height // shrunk)))
        image.load()
    return image


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _flat_rgb(image: Image.Image, profile: bytes) -> Image.Image:
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
    if not _is_worth_applying(profile):
        return image
    space = profile[16:20]  # ICC.1:2022 §7.2.6
    if space == b"RGB " and image.mode == "L":
        image = image.convert("RGB")
    if space != {"L": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}[image.mode]:
        return image
    transform = _transform(profile, image.mode)
    return transform.apply(image) if transform else image


def _is_worth_applying(profile: bytes) -> bool:
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
