"""Tasks, images and faces as clients see them."""

from collections.abc import Iterable, Sequence
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
FACES = sa.select(Face.image_id, *(getattr(Face, name) for name in FACE_MEMBERS))


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


def image_with_faces(row: Any, faces: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
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
        "faces": faces.get(image_id, []),
    }


def faces_by_image(rows: Iterable[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of FACES as clients see them, by the image's id."""
    faces: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        faces.setdefault(row[0], []).append(face(row[1:]))
    return faces


def face(members: Sequence[Any]) -> dict[str, Any]:
    """Return a face as clients see it, given its FACE_MEMBERS."""
    (
        x, y, width, height, gender, age, score,
        male_probability, age_low, age_high, quality_height, sharpness, brightness, number,
    ) = members  # fmt: skip
    quality = {"height": quality_height, "sharpness": sharpness, "brightness": brightness}
    return {
        "number": number,
        "bbox": {"x": x, "y": y, "width": width, "height": height},
        "gender": gender,
        "male_probability": male_probability,
        "age": age,
        "age_low": age_low,
        "age_high": age_high,
        "score": score,
        "quality": None if quality_height is None else quality,
        "corrected": False,
        "detected": None,
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
