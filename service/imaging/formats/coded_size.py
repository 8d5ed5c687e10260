"""The size that a coded picture of HEIC or AVIF has by its own word, for which a decoder takes memory."""

from collections.abc import Iterator

from service.imaging.header import MOST_SEGMENTS

_SEQUENCE_PARAMETERS = 33
_PARAMETER_SETS = (32, 33, 34)
_SEQUENCE_HEADER = 1
_HEAD = 256
"""Bytes in which the sizes stand."""

Size = tuple[int, int]


class Bits:
    """Reads numbers of so many bits; raises `ValueError` behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:_HEAD])
        self._left = 8 * len(data[:_HEAD])

    def number(self, size: int) -> int:
        """Return the next number of so many bits."""
        self._left -= size
        if self._left < 0:
            raise ValueError("cut off")
        return self._value >> self._left & ((1 << size) - 1)

    def golomb(self) -> int:
        """Return the next number by Exp-Golomb, as both codings write those of any length."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)


def hevc_sizes(configuration: bytes) -> Iterator[Size]:
    """Yield the size in each set of sequence parameters of an `hvcC` (ISO/IEC 14496-15 §8.3.2)."""
    place = 23
    for _ in range(configuration[22]):
        kind = configuration[place] & 63
        count = int.from_bytes(configuration[place + 1 : place + 3])
        place += 3
        for _ in range(count):
            length = int.from_bytes(configuration[place : place + 2])
            if kind == _SEQUENCE_PARAMETERS:
                yield _hevc_size(configuration[place + 4 : place + 2 + length])
            place += 2 + length


def _hevc_size(parameters: bytes) -> Size:
    """Return width and height of seq_parameter_set_rbsp (ITU-T H.265 §7.3.2.2)."""
    bits = Bits(parameters[:_HEAD].replace(b"\0\0\3", b"\0\0"))
    bits.number(4)
    layers = bits.number(3)
    bits.number(1 + 96)
    flags = [(bits.number(1), bits.number(1)) for _ in range(layers)]
    if layers:
        bits.number(2 * (8 - layers))
    for has_profile, has_level in flags:
        bits.number(88 * has_profile + 8 * has_level)
    bits.golomb()
    if bits.golomb() == 3:
        bits.number(1)
    return bits.golomb(), bits.golomb()


def refuse_parameters_among(data: bytes, configuration: bytes) -> None:
    """Raise `ValueError` for parameter sets in the data of an item, where none belong and a decoder would take them."""
    of_length = (configuration[21] & 3) + 1
    place = 0
    for _ in range(MOST_SEGMENTS):
        if place + of_length >= len(data):
            return
        length = int.from_bytes(data[place : place + of_length])
        if data[place + of_length] >> 1 & 63 in _PARAMETER_SETS:
            raise ValueError("parameters among the data")
        place += of_length + length
    raise ValueError("too many pieces")


def av1_sizes(data: bytes) -> Iterator[Size]:
    """Yield the size in each sequence header of an item (AV1 §5.3 to 5.5)."""
    place = 0
    for _ in range(MOST_SEGMENTS):
        if place >= len(data):
            return
        head = data[place]
        place += 2 if head & 4 else 1
        length = len(data) - place
        if head & 2:
            length, place = _leb128(data, place)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _av1_size(Bits(data[place : place + length]))
        place += length
    raise ValueError("too many pieces")


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for number in range(8):
        byte = data[place + number]
        value |= (byte & 127) << 7 * number
        if byte < 128:
            return value, place + number + 1
    raise ValueError("no length")


def _av1_size(bits: Bits) -> Size:
    bits.number(3 + 1)
    if bits.number(1):
        bits.number(5)
    else:
        _skip_operating_points(bits)
    of_width, of_height = bits.number(4) + 1, bits.number(4) + 1
    return bits.number(of_width) + 1, bits.number(of_height) + 1


def _skip_operating_points(bits: Bits) -> None:
    of_delay = 0
    if bits.number(1):  # timing
        bits.number(64)
        if bits.number(1):
            bits.golomb()
        if bits.number(1):
            of_delay = bits.number(5) + 1
            bits.number(32 + 5 + 5)
    has_display_delay = bits.number(1)
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        if bits.number(5) > 7:
            bits.number(1)
        if of_delay and bits.number(1):
            bits.number(2 * of_delay + 1)
        if has_display_delay and bits.number(1):
            bits.number(4)
