"""JPEG files, segment by segment (ITU-T T.81, annex B)."""

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from service.imaging.formats.exif import orientation
from service.imaging.header import MOST_SEGMENTS, Header, exactly

HUFFMAN = (0xC0, 0xC1, 0xC2)
"""Codings in which a decoder notices where data ends. In an arithmetic one it goes on with zeros, so that a cut in its
last scan, often the only one, stays unseen."""
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_READ = (*HUFFMAN, 0xC9, 0xCA)
_END = b"\xff\xd9"


def read_jpeg(stream: BinaryIO) -> Header:
    """Read up to the first scan, and count those behind it where a decoder takes more than one."""
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
            header.in_one_scan = in_scan == header.components and header.coding not in PROGRESSIVE
            header.keep(begin, stream.seek(0, io.SEEK_END))
            if not header.in_one_scan:
                header.scans = _number_of_scans(stream, begin)
            header.profile = b"".join(profile[number] for number in sorted(profile))
            return header
        (length,) = struct.unpack(">H", exactly(stream, 2))
        end = begin + 2 + length
        if length < 2 or marker == 0xD9:
            raise ValueError("no scan")
        if _is_metadata(marker, length - 2, stream):
            _read_metadata(marker, exactly(stream, length - 2), header, profile)
        else:
            _read_frame(stream, marker, header)
            header.keep(begin, end)
        if header.unsupported:
            return header
        stream.seek(end)
    raise ValueError("too many segments")


_COLOUR_SEGMENTS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""What tells the colour space of the samples, and the least bytes with which libjpeg reads it."""


def _is_metadata(marker: int, length: int, stream: BinaryIO) -> bool:
    """Return whether a segment is neither a table nor a frame and does not tell the colour space of the samples."""
    if marker in _COLOUR_SEGMENTS:
        name, least = _COLOUR_SEGMENTS[marker]
        head = stream.read(len(name))
        stream.seek(-len(head), io.SEEK_CUR)
        return head != name or length < least
    return 0xE0 <= marker <= 0xEF or marker == 0xFE


# Inside a scan a byte FF is followed by 00 or a restart marker, before a marker there may be more of them.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def _segments(data: bytes, scan: int) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of each segment from the first scan on, without the scans' data."""
    end = scan
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, end)
        if not found:
            return
        begin, marker = found.start(), data[found.start() + 1]
        end = begin + 2 + (int.from_bytes(data[begin + 2 : begin + 4]) if marker not in (0xD8, 0xD9) else 0)
        yield marker, begin, end
    raise ValueError("too many segments")


def first_picture(data: bytes, header: Header) -> bytes:
    """Return a JPEG without metadata that ends where its picture is complete, whatever is behind it or missing.

    `data` are the bytes that make the pixels: its last part is the first scan and all behind it. A picture is complete
    when a scan was there for every coefficient of every component, down to its last bit. Cameras leave out the marker
    of the end, or put a film, a second picture or their own notes behind. Raises `ValueError` where scans are missing,
    which a file that was cut off between two scans and closed again has nothing else to tell it by. ITU-T T.81 allows
    an encoder to leave bits out for good; none is known that does.
    """
    scan = len(data) - header.parts[-1][1] + header.scan
    pieces, kept, marker = [], 0, 0
    missing: dict[int, list[int]] = {}
    for marker, begin, end in _segments(data, scan):
        if _is_complete(missing, header):
            pieces.append(data[kept:begin])
            break
        if marker in (0xD8, 0xD9):
            raise ValueError("scans are missing")
        if marker == 0xDA:
            _count_scan(data, begin, header, missing)
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            pieces.append(data[kept:begin])
            kept = end
    else:
        pieces.append(data[kept:])
        marker = 0
    header.is_closed = marker == 0xD9
    if not _is_complete(missing, header) or not (header.is_closed or header.coding in HUFFMAN):
        raise ValueError("scans are missing")
    return b"".join((*pieces, _END))


def _number_of_scans(stream: BinaryIO, first: int) -> int:
    """Count the scans up to the end of the picture."""
    stream.seek(first)
    scans = 0
    for marker, *_ in _segments(stream.read(), 0):
        if marker in (0xD8, 0xD9):
            break
        scans += marker == 0xDA
    return scans


def _count_scan(data: bytes, begin: int, header: Header, missing: dict[int, list[int]]) -> None:
    """Note which bits of which coefficients a scan leaves missing of its components."""
    behind = begin + 5 + 2 * data[begin + 4]
    first, last, bits = data[behind : behind + 3]
    if header.coding not in PROGRESSIVE:
        first, last, bits = 0, 63, 0  # some encoders write nonsense there
    for component in data[begin + 5 : behind : 2]:
        missing.setdefault(component, [1] * 64)[first : last + 1] = [bits & 15] * (last + 1 - first)


def _is_complete(missing: dict[int, list[int]], header: Header) -> bool:
    """Return whether every coefficient was there; components of one scan may share a number."""
    return bool(missing) and (
        header.in_one_scan or (len(missing) >= header.components and not any(map(any, missing.values())))
    )


def _read_frame(stream: BinaryIO, marker: int, header: Header) -> None:
    """Take the size from a start of frame (SOF0 … SOF15 without DHT, JPG, DAC); two of them are not a JPEG."""
    if marker == 0xF7:
        header.unsupported = "a JPEG-LS"
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
        if header.coding:
            raise ValueError("two frames")
        bits, header.height, header.width, header.components = struct.unpack(">BHHB", exactly(stream, 6))
        header.coding = marker
        if marker not in _READ:
            header.unsupported = "a lossless JPEG" if marker in (0xC3, 0xCB) else "a hierarchical JPEG"
        elif bits != 8:
            header.unsupported = f"a JPEG of {bits} bits a colour"


def _read_metadata(marker: int, payload: bytes, header: Header, profile: dict[int, bytes]) -> None:
    """Take the orientation from EXIF, and a piece of the profile (ICC.1:2022 annex B.4: number, count, bytes)."""
    if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
        header.exif_orientation = header.exif_orientation or orientation(payload)
    elif marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
        profile[payload[12]] = payload[14:]
