"""The faces that an image is answered with: looked for by an engine, or made up from its bytes."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from PIL import Image
from PIL.Image import Transpose

from devtools.facecloud_emulator.wire import Refused
from service.features.faces.engines.engine import Detection, Detections, Engine

N = TypeVar("N", int, float)


def derived(sha256: str) -> list[Detection]:
    """Return none to three faces made from an image's SHA-256, largest first."""
    digest = bytes.fromhex(sha256)
    faces = []
    for index in range(digest[0] % 4):
        x, y, size, age, gender, score = digest[6 * index + 1 : 6 * index + 7]
        side = 20 + size // (index + 1)
        faces.append(
            Detection(
                x=x,
                y=y,
                width=side,
                height=side,
                gender="male" if gender % 2 else "female",
                age=float(age % 90),
                score=0.8 + score / 1280,
            )
        )
    return sorted(faces, key=lambda face: -face.width)


def is_wanted(face: Detection, asked: Mapping[str, str]) -> bool:
    """Apply the detector's options as far as a detection tells; one that is not given is no bound."""
    side = min(face.width, face.height)
    smallest, largest = (_number(int, asked.get(name)) for name in ("fd_min_size", "fd_max_size"))
    threshold = _number(float, asked.get("fd_threshold"))
    return side >= smallest and (not largest or side <= largest) and (face.score is None or face.score >= threshold)


def _number(kind: type[N], text: str | None) -> N:
    try:
        return kind(text or 0)
    except ValueError as fault:
        raise Refused(400, "An option of the detector is not a number") from fault


def given_face(text: str, found: Sequence[Detection]) -> Detection:
    """Return the face of a box that the caller gives, `x,y,width,height`: the detector is off, so it has no score.

    What else is said of it is said of the found face that shares most of the box; of none, nothing is known.
    """
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as fault:
        raise Refused(400, "face is not x,y,width,height") from fault
    if width <= 0 or height <= 0:
        raise Refused(400, "face has no area")
    box = Detection(x, y, width, height, "unknown", None, None)
    likest = max(found, key=lambda face: _shared(face, box), default=box)
    return replace(likest if _shared(likest, box) else box, x=x, y=y, width=width, height=height, score=None)


def _shared(one: Detection, other: Detection) -> int:
    """Return how many pixels two boxes share."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0, width) * max(0, height)


def look(engine: Engine, jpeg: bytes, *, turning: bool) -> tuple[Sequence[Detection], int]:
    """Return the faces that an engine finds in the pixels as stored, and the degrees clockwise that they were turned.

    With `turning` the picture is turned by 90 degrees until there are faces, and boxes are in the turned picture;
    without it, faces that are not upright are not found.
    """
    jpeg = without_exif(jpeg)
    for rotation in (0, 90, 180, 270) if turning else (0,):
        seen = Detections.of(engine.detect(turned(jpeg, rotation) if rotation else jpeg))
        if seen.faces and not seen.rotation:
            return seen.faces, rotation
    return [], 0


def turned(jpeg: bytes, rotation: int) -> bytes:
    """Return the picture turned clockwise by 90, 180 or 270 degrees."""
    by = {90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}[rotation]
    written = io.BytesIO()
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as opened:
        opened.transpose(by).save(written, "JPEG", quality=95)
    return written.getvalue()


def decodes(image: bytes) -> bool:
    """Return whether a JPEG decodes in full."""
    try:
        with Image.open(io.BytesIO(image), formats=["JPEG"]) as opened:
            opened.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def without_exif(jpeg: bytes) -> bytes:
    """Return the JPEG without its APP1 segments, its pixels untouched."""
    kept = bytearray(jpeg[:2])
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xda":
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != 0xE1:
            kept += jpeg[at:end]
        at = end
    return bytes(kept + jpeg[at:])
