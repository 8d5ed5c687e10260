"""JPEG files, segment by segment (ITU-T T.81, annex B)."""

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from service.imaging.formats.exif import orientation
from service.imaging.header import MOST_SEGMENTS, Header, exactly


def read_jpeg(stream: BinaryIO) -> Header:
    """Read up to the first scan; what follows is for the decoder."""
    header = Header("image/jpeg", parts=[(0, 2)])
    profile: dict[int, bytes] = {}
    stream.seek(2)
    for _ in range(MOST_SEGMENTS):
        first, marker = exactly(stream, 2)
        if first != 0xFF or marker in (0x00, 0xFF):
            stream.seek(-1, io.SEEK_CUR)  # stray and fill bytes: decoders skip them too
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue  # markers without a segment, of no use here
        begin = stream.tell() - 2
        if marker == 0xDA:
            _, in_scan = struct.unpack(">HB", exactly(stream, 3))
            header.scan = begin
            header.in_one_scan = in_scan == header.components and header.coding not in (0xC2, 0xC6, 0xCA, 0xCE)
            header.keep(begin, stream.seek(0, io.SEEK_END))
            header.profile = b"".join(profile[number] for number in sorted(profile))
            return header
        (length,) = struct.unpack(">H", exactly(stream, 2))
        end = begin + 2 + length
        if length < 2 or marker == 0xD9:
            raise ValueError("no scan")
        _read_segment(stream, marker, begin, end, header, profile)
        stream.seek(end)
    raise ValueError("too many segments")


def _read_segment(
    stream: BinaryIO, marker: int, begin: int, end: int, header: Header, profile: dict[int, bytes]
) -> None:
    """Read a segment that makes the pixels, says something of them, or is metadata."""
    if marker < 0xE0:
        _read_frame(stream, marker, header)
    else:
        payload = exactly(stream, end - begin - 4)
        _read_metadata(marker, payload, header, profile)
        if _is_metadata(marker, payload):
            header.metadata.append((begin, end))
    if _makes_pixels(marker):
        header.keep(begin, end)


def _makes_pixels(marker: int) -> bool:
    """Return whether it is a table, a frame, or JFIF's or Adobe's segment, which tell the colour space."""
    return marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE)


_COLOUR_SEGMENTS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}


def _is_metadata(marker: int, head: bytes) -> bool:
    """Return whether it is a comment, or an application's segment that does not say how colours are meant."""
    if 0xE0 <= marker <= 0xEF:
        return marker not in _COLOUR_SEGMENTS or not head.startswith(_COLOUR_SEGMENTS[marker])
    return marker == 0xFE


# Inside a scan a byte FF is followed by 00 or a restart marker, before a marker there may be more of them.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def segments(data: bytes, scan: int) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of each segment from the first scan to the end of image, without the scans' data."""
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


def strip_metadata(data: bytes, header: Header) -> bytes:
    """Return a JPEG without metadata and without what follows its end; the same object if it has neither."""
    dropped, end = list(header.metadata), len(data)
    for marker, begin, behind in segments(data, header.scan):
        if _is_metadata(marker, data[begin + 4 : begin + 16]):
            dropped.append((begin, behind))
        elif marker == 0xD9 and behind < end:
            dropped.append((behind, end))
    if not dropped:
        return data
    starts = [0, *(behind for _, behind in dropped)]
    ends = [*(begin for begin, _ in dropped), end]
    return b"".join([data[begin:behind] for begin, behind in zip(starts, ends, strict=True)])


def _read_frame(stream: BinaryIO, marker: int, header: Header) -> None:
    """Take the size from a start of frame (SOF0 … SOF15 without DHT, JPG, DAC); two of them are not a JPEG."""
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
        if header.coding:
            raise ValueError("two frames")
        _, header.height, header.width, header.components = struct.unpack(">BHHB", exactly(stream, 6))
        header.coding = marker


def _read_metadata(marker: int, payload: bytes, header: Header, profile: dict[int, bytes]) -> None:
    """Take the orientation from EXIF, and a piece of the profile (ICC.1:2022 annex B.4: number, count, bytes)."""
    if marker == 0xE1 and payload.startswith(b"Exif\0\0") and header.orientation == 1:
        header.orientation = orientation(payload)
    elif marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
        profile[payload[12]] = payload[14:]
