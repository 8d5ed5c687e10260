"""WebP files, chunk by chunk (RFC 9649)."""

import io
import struct
from typing import BinaryIO

from service.imaging.formats.exif import orientation
from service.imaging.header import MOST_FRAMES, MOST_PROFILE, MOST_SEGMENTS, PIECE, Header, exactly

_PIXELS = (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_FLAGS = 0x12  # of VP8X: alpha and animation; without those of profile, EXIF and XMP


def read_webp(stream: BinaryIO) -> Header:
    """Read all chunks, or up to the frame that is one too many."""
    header = Header("image/webp")
    stream.seek(4)
    (length,) = struct.unpack("<I", exactly(stream, 4))
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
        kind, length = struct.unpack("<4sI", exactly(stream, 8))
        if begin == 12:
            header.width, header.height = _canvas(kind, exactly(stream, min(length, 10)))
        elif kind == b"EXIF" and length <= PIECE:
            header.exif_orientation = header.exif_orientation or orientation(exactly(stream, length))
        elif kind == b"ICCP" and length <= MOST_PROFILE:
            header.profile = exactly(stream, length)
        if kind == b"ANMF" and not header.frames:  # a frame's own chunks begin at byte 24: RFC 9649 §2.7.1.1
            stream.seek(begin + 24)
            header.is_lossless |= stream.read(4) == b"VP8L"
        header.is_lossless |= kind == b"VP8L"
        header.frames += kind == b"ANMF"
        begin += 8 + length + length % 2
    raise ValueError("too many chunks")


def first_picture(data: bytes, _: Header) -> bytes:
    """Return a WebP with the chunks that make its first picture, and no others."""
    kept, begin = [b"WEBP"], 12
    while begin + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, begin)
        chunk = data[begin : begin + 8 + length + length % 2]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & _FLAGS]) + chunk[9:]
        if kind in _PIXELS:
            kept.append(chunk)
        begin += len(chunk)
        if kind == b"ANMF":
            break
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _canvas(kind: bytes, data: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk: RFC 9649 §2.7, RFC 6386 §9.1, RFC 9649 §3.4."""
    if kind == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[:1] == b"\x2f":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("no canvas")
