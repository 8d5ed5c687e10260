"""Tasks, images and faces as clients see them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.features.faces.engines.engine import Detection, Quality
from service.features.faces.models import Face, Image, Task
from service.features.faces.statistics import statistics_of

FACE_MEMBERS = (
    *("x", "y", "width", "height", "gender", "age", "score"),
    *("male_probability", "age_low", "age_high", "quality_height", "quality_sharpness", "quality_brightness", "number"),
)
"""What a database keeps of a face and a table shows, in this order."""
IMAGE_MEMBERS = ("id", "name", "status", "media_type", "size", "width", "height", "attempts", "digest")
SEARCH_MEMBERS = ("searched_width", "rotation")
"""How an image was looked at; null before it was."""

IMAGES = sa.select(
    *(getattr(Image, name) for name in (*IMAGE_MEMBERS, *SEARCH_MEMBERS)), Image.error_code, Image.error_detail
)
FACES = sa.select(
    Face.image_id, *(getattr(Face, name) for name in FACE_MEMBERS), Face.corrected, Face.detected, Face.is_face
)
ACCEPTED, REJECTED = "faces", "rejected_faces"
"""The members of an image for its faces, and for what a person says is none."""


def task_summary(task: Task | sa.Row[Any], waiting_for: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a task, or a row of all its columns, without its images, as lists and webhooks have it.

    `waiting_for` is what all tasks wait for now.
    """
    return {
        "id": task.id,
        "name": task.name,
        "status": task.status,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "progress": {
            "total": task.total,
            "pending": task.total - task.done - task.failed,
            "done": task.done,
            "failed": task.failed,
        },
        "statistics": statistics_of(task),
        "waiting_for": waiting_for if task.status == "processing" else None,
    }


FacesByImage = dict[str, dict[str, list[dict[str, Any]]]]
"""By the image's id its ACCEPTED and its REJECTED faces."""


def without_faces() -> dict[str, list[dict[str, Any]]]:
    """Return the members of an image that has no faces, or none yet."""
    return {ACCEPTED: [], REJECTED: []}


def image_with_faces(row: Any, faces: FacesByImage) -> dict[str, Any]:
    """Return a row of IMAGES with its faces, which are those under its id."""
    image_id, name, status, media_type, size, width, height, attempts, digest, searched, rotation, code, detail = row
    return {
        "id": image_id,
        "name": name,
        "status": status,
        "media_type": media_type,
        "size": size,
        "width": width,
        "height": height,
        "attempts": attempts,
        "digest": digest,
        "error": {"code": code, "detail": detail} if code else None,
        "searched_width": searched,
        "rotation": rotation,
        **(faces.get(image_id) or without_faces()),
    }


def faces_by_image(rows: Iterable[Any]) -> FacesByImage:
    """Return the rows of FACES as clients see them."""
    faces: FacesByImage = {}
    for image_id, *members, corrected, detected, is_face in rows:
        of_image = faces.get(image_id)
        if of_image is None:
            of_image = faces[image_id] = without_faces()
        of_image[ACCEPTED if is_face else REJECTED].append(face(members, corrected=corrected, detected=detected))
    return faces


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
