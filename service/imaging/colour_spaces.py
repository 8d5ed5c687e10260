"""Colour spaces that a file names without a profile, as ICC profiles: by code points, or by gamma and primaries."""

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

Primaries = tuple[float, float, float, float, float, float, float, float]
"""The chromaticities x and y of red, green, blue and white."""
Curve = Callable[[float], float]
"""From a sample to light, both from 0 to 1."""

_D65 = (0.3127, 0.329)
SRGB: Primaries = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, *_D65)
_SMPTE_170: Primaries = (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65)
_PRIMARIES: dict[int, Primaries] = {
    1: SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.31, 0.316),
    5: (0.64, 0.33, 0.29, 0.6, 0.15, 0.06, *_D65),
    6: _SMPTE_170,
    7: _SMPTE_170,
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.31, 0.316),
    9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *_D65),
    11: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351),
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *_D65),
    22: (0.63, 0.34, 0.295, 0.605, 0.155, 0.077, *_D65),
}
"""By ITU-T H.273, table 2."""

SDR_WHITE = 203
"""The brightness of paper in a picture of high dynamic range, in cd/m² (ITU-R BT.2408)."""
_TABLE = 4096
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_D50 = (0.9642, 1.0, 0.8249)
_Matrix = Sequence[Sequence[float]]


def _srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)  # IEC 61966-2-1


def _pq(value: float) -> float:
    """Return light by SMPTE ST 2084, what is brighter than paper cut, as browsers show it on a usual screen."""
    root = math.pow(value, 1 / 78.84375)
    light = math.pow(max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root), 1 / 0.1593017578125)
    return min(1.0, light * 10_000 / SDR_WHITE)


def _hlg(value: float) -> float:
    """Return light by ITU-R BT.2100 on a screen of 1,000 cd/m², cut as that of PQ."""
    scene = value * value / 3 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return min(1.0, math.pow(scene, 1.2) * 1_000 / SDR_WHITE)


def gamma(exponent: float) -> Curve:
    """Return the curve of a power."""
    return lambda value: math.pow(value, exponent)


_CURVES: dict[int, Curve] = {4: gamma(2.2), 5: gamma(2.8), 8: gamma(1), 16: _pq, 17: gamma(2.6), 18: _hlg}
"""By ITU-T H.273, table 3. Those that are not here are sRGB's, or are shown as if they were: BT.709 and its like."""


@lru_cache(maxsize=64)
def profile_of_code_points(primaries: int, transfer: int, *, is_gray: bool = False) -> bytes:
    """Return the profile of code points by ITU-T H.273, as in PNG's cICP; empty for sRGB, and for what is not told."""
    chromaticities = _PRIMARIES.get(primaries, SRGB)
    if chromaticities == SRGB and transfer not in _CURVES:
        return b""
    return profile(chromaticities, _CURVES.get(transfer, _srgb), is_gray=is_gray)


def profile(primaries: Primaries, curve: Curve | None, *, is_gray: bool = False) -> bytes:
    """Return an ICC profile of these primaries and this curve, sRGB's where there is none (ICC.1:2010, version 2.4).

    Raises `ValueError` or `ZeroDivisionError` where the primaries are not a triangle.
    """
    table = [round(65535 * (curve or _srgb)(step / (_TABLE - 1))) for step in range(_TABLE)]
    drawn = b"curv" + struct.pack(f">4xI{_TABLE}H", _TABLE, *table)
    tags = {b"wtpt": _xyz(_D50)}
    if is_gray:
        tags |= {b"kTRC": drawn}
    else:
        tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, _colorants(primaries)), strict=True))
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), drawn)
    return _written(tags, b"GRAY" if is_gray else b"RGB ")


def _written(tags: dict[bytes, bytes], space: bytes) -> bytes:
    places: dict[bytes, int] = {}
    body = b""
    begin = 132 + 12 * len(tags)
    for content in tags.values():
        if content not in places:
            places[content] = begin + len(body)
            body += content
    directory = b"".join(struct.pack(">4sII", name, places[tag], len(tag)) for name, tag in tags.items())
    head = struct.pack(">4xI4s4s4s4s", 0x02400000, b"", b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + _xyz(_D50)[8:]
    size = begin + len(body)
    return struct.pack(">I", size) + head[4:].ljust(124, b"\0") + struct.pack(">I", len(tags)) + directory + body


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _colorants(primaries: Primaries) -> list[list[float]]:
    """Return XYZ of red, green and blue, adapted from their white to D50 by Bradford's matrix (ICC.1:2010, annex E)."""
    corners = [[x / y, 1.0, (1 - x - y) / y] for x, y in zip(primaries[::2], primaries[1::2], strict=True)]
    white = corners.pop()
    columns = [list(column) for column in zip(*corners, strict=True)]
    strengths = _times(_inverse(columns), white)
    cones = [of_d50 / own for of_d50, own in zip(_times(_BRADFORD, _D50), _times(_BRADFORD, white), strict=True)]
    scaled = [[factor * value for value in row] for factor, row in zip(cones, _BRADFORD, strict=True)]
    back = _inverse(_BRADFORD)
    return [
        _times(back, _times(scaled, [strength * value for value in corner]))
        for strength, corner in zip(strengths, corners, strict=True)
    ]


def _times(matrix: _Matrix, vector: Sequence[float]) -> list[float]:
    return [sum(one * other for one, other in zip(row, vector, strict=True)) for row in matrix]


def _inverse(matrix: _Matrix) -> list[list[float]]:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    rows = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return [[value / determinant for value in row] for row in rows]
