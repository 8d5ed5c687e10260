"""Tasks and images as clients see them, with their faces."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from service.features.faces.face_members import FACE_MEMBERS, face
from service.features.faces.models import Face, Image, Task
from service.features.faces.statistics import statistics_of

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


def is_done(row: Any) -> bool:
    """Return whether a row of IMAGES is that of an image whose faces are known; no other has any."""
    return bool(row[IMAGE_MEMBERS.index("status")] == "done")


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
