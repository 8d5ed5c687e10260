"""PNG and APNG files, chunk by chunk (W3C PNG, third edition)."""

import struct
import zlib
from typing import BinaryIO

from service.imaging.formats.exif import orientation
from service.imaging.header import MOST_FRAMES, MOST_SEGMENTS, MOST_UNPACKED, PIECE, Header, exactly

_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def read_png(stream: BinaryIO) -> Header:
    """Read all chunks. Those that make the pixels are held to their checksums, which Pillow skips."""
    header = Header("image/png", is_lossless=True, parts=[(0, 8)])
    frames = 0
    begin = 8
    for _ in range(MOST_SEGMENTS):
        stream.seek(begin)
        length, kind = struct.unpack(">I4s", exactly(stream, 8))
        end = begin + 12 + length
        if kind in _PIXELS:
            _check_chunk(stream, kind, length, header)
            header.keep(begin, end)
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            _read_compressed(stream, kind, length, header)
        elif kind == b"eXIf" and length <= PIECE:
            header.orientation = orientation(exactly(stream, length))
        elif kind == b"acTL":
            header.frames = max(1, *struct.unpack(">I", exactly(stream, 4)))
        frames += kind == b"fcTL"
        header.frames = max(header.frames, frames)
        if kind == b"IEND" or header.frames > MOST_FRAMES or header.unpacked > MOST_UNPACKED:
            return header
        begin = end
    raise ValueError("too many chunks")


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
        header.width, header.height = struct.unpack(">II", data[:8])


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
        return  # a broken text or profile is no reason to refuse the pixels
    header.unpacked += len(unpacked)
    if kind == b"iCCP":
        header.profile = unpacked
