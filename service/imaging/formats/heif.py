"""HEIC and AVIF files, box by box (ISO/IEC 14496-12 and 23008-12, MIAF: ISO/IEC 23000-22)."""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from service.imaging.colour_spaces import profile_of_code_points
from service.imaging.formats.coded_size import av1_sizes, hevc_sizes, refuse_parameters_among
from service.imaging.header import MOST_PROFILE, MOST_SEGMENTS, Header, exactly

MOST_META = 4 << 20
"""Bytes of the box that tells of the items; one with a profile and 2,000 tiles has 100 KB."""
ROUNDED = 64
"""Pixels by which a coded side may be longer: HEVC codes whole blocks."""
SMALL_AREA = 4 << 20
"""Pixels that may be decoded beyond four times the picture: tiles at its edges, and alpha."""
_CODINGS = {"image/heic": b"hvc1", "image/avif": b"av01"}
_TURNS = (1, 8, 3, 6)
"""EXIF's orientation for as many quarter turns counter-clockwise."""
_MIRRORED = ((4, 5, 2, 7), (2, 7, 4, 5))
"""The same, and top and bottom, or left and right, exchanged after the turn."""


@dataclass(slots=True)
class _Item:
    """An image, or a part of one: where its bytes are, as (offset, length), and its properties in their order."""

    kind: bytes = b""
    is_in_meta: bool = False
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)


def read_heic(stream: BinaryIO) -> Header:
    """Read the boxes of a HEIC. Its decoder turns the picture, so the size is that of the upright one."""
    header = _read(stream, "image/heic")
    header.width, header.height = header.upright_size
    header.exif_orientation = None
    return header


def read_avif(stream: BinaryIO) -> Header:
    """Read the boxes of an AVIF. As in browsers its own turn counts, not that of its EXIF."""
    return _read(stream, "image/avif")


def first_picture(data: bytes, _: Header) -> bytes:
    """Return the file as it is: its boxes refer to places in it."""
    return data


def _read(stream: BinaryIO, media_type: str) -> Header:
    size = stream.seek(0, os.SEEK_END)
    header = Header(media_type, parts=[(0, size)])
    boxes = dict(_boxes(_meta(stream, size)))
    items = _items(boxes)
    number = int.from_bytes(boxes[b"pitm"][4:])
    primary = items[number]
    if primary.kind not in (_CODINGS[media_type], b"grid"):
        header.unsupported = f"a {media_type[6:].upper()} of another coding"
        return header
    if any(begin + length > size for item in items.values() for begin, length in item.extents if not item.is_in_meta):
        raise ValueError("cut off")
    _apply(primary.properties, header)
    _check_sizes([primary, *(items[one] for one in _used(number, boxes) - {number})], stream, boxes)
    return header


def _used(primary: int, boxes: dict[bytes, bytes]) -> set[int]:
    """Return the items that are decoded for the primary one: its tiles, its alpha, and the tiles of that."""
    used = {primary}
    iref = boxes.get(b"iref", bytes(4))
    of_number = 4 if iref[0] else 2
    references = []
    for kind, content in _boxes(iref[4:]):
        reader = _Reader(content)
        origin = reader.number(of_number)
        references.append((kind, origin, [reader.number(of_number) for _ in range(reader.number(2))]))
    used |= {origin for kind, origin, targets in references if kind == b"auxl" and primary in targets}
    for kind, origin, targets in references:
        if kind == b"dimg" and origin in used:
            used |= set(targets)
    return used


def _check_sizes(used: list[_Item], stream: BinaryIO, boxes: dict[bytes, bytes]) -> None:
    """Raise `ValueError` where more would be decoded than the properties say of the items, the primary one first."""
    if sum(length for item in used for _, length in item.extents) > 2 * stream.seek(0, os.SEEK_END):
        raise ValueError("bytes used many times")
    area = 0
    for item in used:
        properties = dict(item.properties)
        width, height = struct.unpack_from(">II", properties[b"ispe"], 4)
        area += width * height
        for coded_width, coded_height in _coded_sizes(item, properties, stream, boxes):
            if coded_width > width + ROUNDED or coded_height > height + ROUNDED:
                raise ValueError("two sizes")
    primary = dict(used[0].properties)
    shown_width, shown_height = struct.unpack_from(">II", primary[b"ispe"], 4)
    if b"clap" in primary:
        shown_width, shown_height = _cropped(primary[b"clap"])
    if area > 4 * shown_width * shown_height + SMALL_AREA:
        raise ValueError("far more pixels than are shown")


def _coded_sizes(
    item: _Item, properties: dict[bytes, bytes], stream: BinaryIO, boxes: dict[bytes, bytes]
) -> Iterable[tuple[int, int]]:
    data = _bytes_of(item, stream, boxes)
    if item.kind == b"grid":
        return [struct.unpack_from(">II" if data[1] & 1 else ">HH", data, 4)]
    if item.kind == b"av01":
        return av1_sizes(data)
    refuse_parameters_among(data, properties[b"hvcC"])
    return hevc_sizes(properties[b"hvcC"])


def _meta(stream: BinaryIO, size: int) -> bytes:
    """Return the boxes that tell of the items."""
    begin = 0
    for _ in range(MOST_SEGMENTS):
        stream.seek(begin)
        length, kind = struct.unpack(">I4s", exactly(stream, 8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", exactly(stream, 8))
            head = 16
        length = length or size - begin
        if length < head or begin + length > size or (kind == b"meta" and length > MOST_META):
            raise ValueError("cut off, or too much about the items")
        if kind == b"meta":
            return exactly(stream, length - head)[4:]
        begin += length
    raise ValueError("too many boxes")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each box."""
    begin = 0
    for _ in range(MOST_SEGMENTS):
        if begin + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, begin)
        length = length or len(data) - begin
        if length < 8 or begin + length > len(data):
            raise ValueError("a box that does not fit")
        yield kind, data[begin + 8 : begin + length]
        begin += length
    raise ValueError("too many boxes")


class _Reader:
    """Reads numbers of so many bytes, big-endian, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, size: int) -> int:
        end = self._place + size
        if end > len(self._data):
            raise ValueError("cut off")
        value = int.from_bytes(self._data[self._place : end])
        self._place = end
        return value


def _items(boxes: dict[bytes, bytes]) -> dict[int, _Item]:
    """Return the items by their numbers, from iinf, iloc and iprp (ISO/IEC 14496-12 §8.11)."""
    items: dict[int, _Item] = {}
    of_number = 2 if boxes[b"iinf"][0] == 0 else 4
    for kind, entry in _boxes(boxes[b"iinf"][4 + of_number :]):
        if kind == b"infe" and entry[0] >= 2:
            size = 2 if entry[0] == 2 else 4
            items[int.from_bytes(entry[4 : 4 + size])] = _Item(kind=entry[6 + size : 10 + size])
    _read_places(boxes[b"iloc"], items)
    _read_properties(dict(_boxes(boxes[b"iprp"])), items)
    return items


def _read_places(iloc: bytes, items: dict[int, _Item]) -> None:
    reader = _Reader(iloc)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    of_item = 4 if version == 2 else 2
    for _ in range(reader.number(of_item)):
        item = items.get(reader.number(of_item), _Item())
        item.is_in_meta = version > 0 and reader.number(2) & 15 == 1
        reader.number(2)
        base = reader.number(of_base)
        for _ in range(reader.number(2)):
            if version > 0:
                reader.number(of_index)
            offset = reader.number(of_offset)
            item.extents.append((base + offset, reader.number(of_length)))
            if len(item.extents) > MOST_SEGMENTS:
                raise ValueError("too many pieces")


def _read_properties(iprp: dict[bytes, bytes], items: dict[int, _Item]) -> None:
    properties = list(_boxes(iprp[b"ipco"]))
    reader = _Reader(iprp[b"ipma"])
    head = reader.number(4)
    size, mask = (2, 0x7FFF) if head & 1 else (1, 0x7F)
    for _ in range(reader.number(4)):
        item = items.get(reader.number(2 if head >> 24 == 0 else 4), _Item())
        for _ in range(reader.number(1)):
            index = reader.number(size) & mask
            if index:
                item.properties.append(properties[index - 1])


def _apply(properties: list[tuple[bytes, bytes]], header: Header) -> None:
    """Take size, turn and colours."""
    turns, mirror = 0, None
    code_points = b""
    for kind, content in properties:
        if kind == b"ispe":
            header.width, header.height = struct.unpack_from(">II", content, 4)
        elif kind == b"clap":
            header.width, header.height = _cropped(content)
        elif kind == b"irot":
            turns = content[0] & 3
        elif kind == b"imir":
            mirror = content[0] & 1
        elif kind == b"colr" and content[:4] in (b"prof", b"rICC") and len(content) <= MOST_PROFILE:
            header.profile = content[4:]
        elif kind == b"colr" and content[:4] == b"nclx":
            code_points = content[4:8]
    header.exif_orientation = _TURNS[turns] if mirror is None else _MIRRORED[mirror][turns]
    if code_points and not header.profile:
        header.profile = profile_of_code_points(*struct.unpack(">HH", code_points))


def _cropped(clap: bytes) -> tuple[int, int]:
    """Return width and height of the part that is shown."""
    width, of_width, height, of_height = struct.unpack_from(">4I", clap)
    return width // of_width, height // of_height


def _bytes_of(item: _Item, stream: BinaryIO, boxes: dict[bytes, bytes]) -> bytes:
    pieces = []
    for begin, length in item.extents:
        if item.is_in_meta:
            pieces.append(boxes[b"idat"][begin : begin + length])
        else:
            stream.seek(begin)
            pieces.append(exactly(stream, length))
    return b"".join(pieces)
