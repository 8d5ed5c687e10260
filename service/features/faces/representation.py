"""Tasks, images and faces as clients see them."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from service.features.faces.engines.engine import Detection
from service.features.faces.models import MICRO, Face, Image, Task

FACE_MEMBERS = ("x", "y", "width", "height", "gender", "age", "score")
"""What an engine says of a face, a database keeps and a table shows, in this order."""
IMAGE_MEMBERS = ("id", "name", "status", "media_type", "size", "width", "height", "attempts", "digest")

IMAGES = sa.select(*(getattr(Image, name) for name in IMAGE_MEMBERS), Image.error_code, Image.error_detail)
FACES = sa.select(Face.image_id, *(getattr(Face, name) for name in FACE_MEMBERS))

members_of: Callable[[Detection], tuple[Any, ...]] = attrgetter(*FACE_MEMBERS)
"""Return the values of a detection's FACE_MEMBERS."""


def task_summary(task: Task) -> dict[str, Any]:
    """Return a task without its images, as lists and webhooks have it."""
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
        "statistics": {
            "faces": task.faces,
            "men": task.men,
            "women": task.women,
            "men_average_age": _average(task.men_age_sum, task.men_with_age),
            "women_average_age": _average(task.women_age_sum, task.women_with_age),
        },
    }


def _average(age_sum: int, people: int) -> float | None:
    return age_sum / (MICRO * people) if people else None


def image_with_faces(row: Any, faces: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a row of IMAGES with its faces, which are those under its id."""
    image_id, name, status, media_type, size, width, height, attempts, digest, code, detail = row
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
        "faces": faces.get(image_id, []),
    }


def faces_by_image(rows: Iterable[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of FACES as clients see them, by the image's id."""
    faces: dict[str, list[dict[str, Any]]] = {}
    for image_id, x, y, width, height, gender, age, score in rows:
        faces.setdefault(image_id, []).append(face(x, y, width, height, gender, age, score))
    return faces


def face(
    x: int, y: int, width: int, height: int, gender: str, age: float | None, score: float | None
) -> dict[str, Any]:
    """Return a face, given its FACE_MEMBERS."""
    return {
        "bbox": {"x": x, "y": y, "width": width, "height": height},
        "gender": gender,
        "age": age,
        "score": score,
    }
