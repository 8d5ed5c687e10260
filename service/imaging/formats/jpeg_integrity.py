"""The integrity of a JPEG: every coefficient of every scan is there.

libjpeg fills what is missing with grey and only warns, and Pillow keeps the warnings to itself. So a JPEG is decoded by
libjpeg-turbo's own interface, which tells the first of them. Where that is content, or finds pixels missing, its word
is final; with anything else that is unusual about a file Pillow decides, since it is Pillow that works on it later.
"""

import re

from service.imaging.formats.jpeg import HUFFMAN
from service.imaging.header import Header

PIXELS_MISSING = re.compile(r"premature end of data segment|bad Huffman code|found marker 0x(?!d[0-7])")
"""Of libjpeg's warnings. Others are about bytes too many, or restart markers out of order, which cameras write."""
BYTES_BEHIND = re.compile(r"extraneous bytes before marker 0xd9")
"""The warning of a decoder that has every pixel."""


def decodes_without_fault(data: bytes, header: Header) -> bool:
    """Decode what `first_picture` made of a JPEG, at an eighth of its side and in grey.

    Return False where Pillow has to decide. Raises `ValueError` where coefficients are missing, or may be: behind any
    other warning a decoder goes on without a word, and a file that has no end has nothing else that vouches for it.
    """
    if header.coding not in HUFFMAN or header.components not in (1, 3, 4):
        return False
    # numpy comes with it and starts threads: after the fork, and for those processes only that get a JPEG.
    from simplejpeg import decode_jpeg

    try:
        height, width, _ = decode_jpeg(data, "GRAY", min_height=1, min_width=1).shape
    except ValueError as warning:
        if PIXELS_MISSING.search(str(warning)) or not (header.is_closed or BYTES_BEHIND.search(str(warning))):
            raise
        return False
    return (height, width) == (-(-header.height // 8), -(-header.width // 8))
