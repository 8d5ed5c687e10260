"""Faces as tables keep them and as clients see them. No database is needed for it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.features.faces.engines.engine import Detection, Quality

FACE_MEMBERS = (
    *("x", "y", "width", "height", "gender", "age", "score"),
    *("male_probability", "age_low", "age_high", "quality_height", "quality_sharpness", "quality_brightness", "number"),
)
"""What a database keeps of a face and a table shows, in this order."""


def face(
    members: Sequence[Any], *, corrected: bool = False, detected: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a face as clients see it, given its FACE_MEMBERS and, once corrected, what was detected."""
    *answer, number = members
    engine = _answer([detected[name] for name in FACE_MEMBERS[:-1]]) if detected else None
    return {"number": number, **_answer(answer), "corrected": corrected, "detected": engine}


def _answer(members: Sequence[Any]) -> dict[str, Any]:
    """Return what an engine or a person says of a face, given its FACE_MEMBERS without the number."""
    (
        x, y, width, height, gender, age, score,
        male_probability, age_low, age_high, quality_height, sharpness, brightness,
    ) = members  # fmt: skip
    quality = {"height": quality_height, "sharpness": sharpness, "brightness": brightness}
    return {
        "bbox": {"x": x, "y": y, "width": width, "height": height},
        "gender": gender,
        "male_probability": male_probability,
        "age": age,
        "age_low": age_low,
        "age_high": age_high,
        "score": score,
        "quality": None if quality_height is None else quality,
    }


def numbered(faces: Iterable[Detection]) -> list[tuple[Any, ...]]:
    """Return the FACE_MEMBERS of an image's faces, numbered from 1 in this order."""
    return [_members(number, face) for number, face in enumerate(faces, 1)]


def _members(number: int, face: Detection) -> tuple[Any, ...]:
    seen = face.quality
    quality = (seen.height, seen.sharpness, seen.brightness) if seen else (None, None, None)
    return (
        face.x, face.y, face.width, face.height, face.gender, face.age, face.score,
        face.male_probability, face.age_low, face.age_high, *quality, number,
    )  # fmt: skip


def detection(members: Sequence[Any]) -> Detection:
    """Return a face as the engine saw it, given its FACE_MEMBERS."""
    *seen, quality_height, sharpness, brightness, _ = members
    seen.append(None if quality_height is None else Quality(quality_height, sharpness, brightness))
    return Detection(*seen)
