"""PNG and APNG files, chunk by chunk (W3C PNG, third edition)."""

import os
import struct
import zlib
from typing import BinaryIO

from service.imaging.colour_spaces import SRGB, gamma, profile, profile_of_code_points
from service.imaging.formats.exif import orientation
from service.imaging.header import MOST_FRAMES, MOST_SEGMENTS, MOST_UNPACKED, PIECE, Header, exactly
from service.shortage import check_memory

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_COLOURS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
"""What tells colours without a profile, and how many bytes each has."""
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


def read_png(stream: BinaryIO) -> Header:
    """Read all chunks. Those that make the pixels are held to their checksums, which Pillow skips.

    What is broken or missing behind the pixels, the end itself too, takes nothing from them.
    """
    size = stream.seek(0, os.SEEK_END)
    header = Header("image/png", is_lossless=True, parts=[(0, 8)])
    colours: dict[bytes, bytes] = {}
    frames = 0
    begin = 8
    has_pixels = False
    for _ in range(MOST_SEGMENTS):
        stream.seek(begin)
        if has_pixels and begin + 12 > size:
            return _with_colours(header, colours)
        length, kind = struct.unpack(">I4s", exactly(stream, 8))
        end = begin + 12 + length
        if has_pixels and (kind == b"IEND" or (end > size and kind != b"IDAT")):
            return _with_colours(header, colours)
        if kind in _PIXELS:
            _check_chunk(stream, kind, length, header)
            header.keep(begin, end)
            has_pixels |= kind == b"IDAT"
        elif _COLOURS.get(kind) == length and not has_pixels:
            colours[kind] = exactly(stream, length)
        else:
            _read_metadata(stream, kind, length, header)
        frames += kind == b"fcTL"
        header.frames = max(header.frames, frames)
        if header.frames > MOST_FRAMES or header.unpacked > MOST_UNPACKED:
            return header
        begin = end
    raise ValueError("too many chunks")


def first_picture(data: bytes, _: Header) -> bytes:
    """Return the chunks that make the pixels as a PNG with an end."""
    return data + _IEND


def _read_metadata(stream: BinaryIO, kind: bytes, length: int, header: Header) -> None:
    """Take profile, orientation and number of frames."""
    if kind in (b"iCCP", b"zTXt", b"iTXt"):
        _read_compressed(stream, kind, length, header)
    elif kind == b"eXIf" and length <= PIECE:
        header.exif_orientation = header.exif_orientation or orientation(exactly(stream, length))
    elif kind == b"acTL":
        header.frames = max(1, *struct.unpack(">I", exactly(stream, 4)))


def _with_colours(header: Header, colours: dict[bytes, bytes]) -> Header:
    """Set the profile from the chunk that goes first: cICP, iCCP, sRGB, then gAMA and cHRM (PNG, §4.3)."""
    if b"cICP" in colours and colours[b"cICP"][2] == 0:
        primaries, transfer, *_ = colours[b"cICP"]
        header.profile = profile_of_code_points(primaries, transfer, is_gray=header.components == 1)
    elif not header.profile and b"sRGB" not in colours:
        header.profile = _by_measures(colours, is_gray=header.components == 1)
    return header


def _by_measures(colours: dict[bytes, bytes], *, is_gray: bool) -> bytes:
    """Return the profile of gAMA and cHRM, for either of which sRGB's own may stand; empty where they are nonsense."""
    curve, primaries = None, SRGB
    if b"gAMA" in colours and (inverse := int.from_bytes(colours[b"gAMA"])):
        curve = gamma(100_000 / inverse)
    if b"cHRM" in colours:
        white_x, white_y, *rest = (value / 100_000 for value in struct.unpack(">8I", colours[b"cHRM"]))
        red_x, red_y, green_x, green_y, blue_x, blue_y = rest
        primaries = (red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y)
    if not curve and primaries == SRGB:
        return b""
    try:
        return profile(primaries, curve, is_gray=is_gray)
    except (ArithmeticError, ValueError, struct.error):
        return b""


def _check_chunk(stream: BinaryIO, kind: bytes, length: int, header: Header) -> None:
    """Check the chunk's checksum, and take the size from the first one."""
    checksum = zlib.crc32(kind)
    data = b""
    for left in range(length, 0, -PIECE):
        data = exactly(stream, min(left, PIECE))
        checksum = zlib.crc32(data, checksum)
    if struct.pack(">I", checksum) != exactly(stream, 4):
        raise ValueError("checksum")
    if (kind == b"IHDR") == bool(header.width):
        raise ValueError("header not first, or twice")
    if kind == b"IHDR":
        header.width, header.height, header.depth, colour_type = struct.unpack(">IIBB", data[:10])
        header.components = 1 if colour_type in (0, 4) else 3


def _read_compressed(stream: BinaryIO, kind: bytes, length: int, header: Header) -> None:
    """Unpack a profile or text to see how long it is, as far as there is room."""
    room = MOST_UNPACKED - header.unpacked
    if length > room:
        header.unpacked += length
        return
    _, _, rest = exactly(stream, length).partition(b"\0")
    packed = rest[1:]  # behind the method
    if kind == b"iTXt":  # flag, method, language, 0, translated keyword, 0, text
        packed = rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""
    try:
        unpacked = zlib.decompressobj().decompress(packed, room + 1)
    except zlib.error:
        check_memory()
        return  # a broken text or profile is no reason to refuse the pixels
    header.unpacked += len(unpacked)
    if kind == b"iCCP":
        header.profile = unpacked
