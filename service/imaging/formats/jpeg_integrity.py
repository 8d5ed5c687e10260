"""The integrity of a JPEG: every scan is there, and every coefficient in it.

libjpeg fills what is missing with grey and only warns, and Pillow keeps the warnings to itself. So a JPEG is decoded by
libjpeg-turbo's own interface, which tells the first of them. Where that is content, or finds pixels missing, its word
is final; with anything else that is unusual about a file Pillow decides, since it is Pillow that works on it later.
"""

import re

from service.imaging.formats.jpeg import segments
from service.imaging.header import Header

MOST_SCANS = 100  # of a progressive JPEG; encoders make 10, and each costs a pass over all coefficients

HUFFMAN = (0xC0, 0xC1, 0xC2)
"""Codings in which a decoder notices where data ends. In an arithmetic one it goes on with zeros, so that a cut in its
last scan, often the only one, stays unseen."""
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)

PIXELS_MISSING = re.compile(r"premature end of data segment|bad Huffman code|found marker 0x(?!d[0-7])")
"""Of libjpeg's warnings. Others are about bytes too many, or restart markers out of order, which cameras write."""


def decodes_without_fault(data: bytes, header: Header) -> bool:
    """Decode the bytes that make a JPEG's pixels, at an eighth of its side and in grey.

    Return False where Pillow has to decide. Raises `ValueError` where scans or coefficients are missing, and for more
    scans than an encoder makes.
    """
    if not header.in_one_scan:
        _refuse_missing_scans(data, header)
    if header.coding not in HUFFMAN or header.components not in (1, 3, 4):
        return False
    return _small_size(data) == (-(-header.height // 8), -(-header.width // 8))


def _small_size(data: bytes) -> tuple[int, int] | None:
    """Decode, and return height and width; None for a warning that has no pixels missing."""
    # numpy comes with it and starts threads: after the fork, and for those processes only that get a JPEG.
    from simplejpeg import decode_jpeg

    try:
        height, width, _ = decode_jpeg(data, "GRAY", min_height=1, min_width=1).shape
    except ValueError as warning:
        if PIXELS_MISSING.search(str(warning)):
            raise
        return None
    return height, width


def _refuse_missing_scans(data: bytes, header: Header) -> None:
    """Check that the scans together have every coefficient of every component, down to its last bit.

    A file that was cut between two scans and closed again has nothing else to tell it by. ITU T.81 allows an encoder
    to leave bits out for good; none is known that does.
    """
    missing: dict[int, list[int]] = {}
    scans = 0
    scan = len(data) - header.parts[-1][1] + header.scan
    for marker, begin, _ in segments(data, scan):
        if marker != 0xDA:
            continue
        scans += 1
        if scans > MOST_SCANS:
            raise ValueError("too many scans")
        behind = begin + 5 + 2 * data[begin + 4]
        first, last, bits = data[behind : behind + 3]
        if header.coding not in PROGRESSIVE:
            first, last, bits = 0, 63, 0  # some encoders write nonsense there
        for component in data[begin + 5 : behind : 2]:
            missing.setdefault(component, [1] * 64)[first : last + 1] = [bits & 15] * (last + 1 - first)
    if len(missing) < header.components or any(map(any, missing.values())):
        raise ValueError("scans are missing")
