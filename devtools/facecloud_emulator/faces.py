"""The faces that an image is answered with: looked for by an engine, or made up from its bytes."""

import io
from collections.abc import Mapping

from PIL import Image

from devtools.facecloud_emulator.wire import Refused
from service.features.faces.engines.engine import Detection


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
    smallest, largest, threshold = (_float(asked.get(name)) for name in ("fd_min_size", "fd_max_size", "fd_threshold"))
    return side >= smallest and (not largest or side <= largest) and (face.score is None or face.score >= threshold)


def _float(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError as fault:
        raise Refused(400, "An option of the detector is not a number") from fault


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
