"""What a person corrects: faces, what is none, and faces that were missed. The engine's own answer stays beside it.

Every operation returns the `Edited` face and image. `expected` are the tags of which the image must have one; None asks
for nothing. All raise NotFound, Conflict unless the image is done, and PreconditionFailed.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.results import record_result
from service.errors import Conflict, Invalid, NotFound, PreconditionFailed
from service.features.faces.face_members import FACE_MEMBERS, detection
from service.features.faces.models import Face, Image, Task
from service.features.faces.operations import Services, find_image, read_image
from service.features.faces.representation import ACCEPTED, FACES, REJECTED
from service.features.faces.statistics import COUNTERS, count

BOX = ("x", "y", "width", "height")
_MEASURED = ("quality_height", "quality_sharpness", "quality_brightness")
_ESTIMATED = {"gender": ("male_probability",), "age": ("age_low", "age_high")}
"""What an engine says of a value, and says no more once a person has set it."""
_ENGINES_OWN = FACE_MEMBERS[:-1]

Tags = Collection[str] | None


@dataclass(frozen=True, slots=True)
class Edited:
    """A face as clients see it, None where it is gone, and the tag of its image as it is now."""

    face: dict[str, Any] | None
    tag: str


def tag_of(image: Mapping[str, Any]) -> str:
    """Return a tag of an image as clients see it: another one after each change."""
    return hashlib.sha256(orjson.dumps(image)).hexdigest()[:32]


def correct(
    services: Services, task_id: str, image_id: str, number: int, changes: Mapping[str, Any], expected: Tags = None
) -> Edited:
    """Set what a person says of a face: `gender`, `age`, `bbox` and `is_face`, those that are named."""

    def edit(session: Session, image: Image) -> int:
        face = _find_face(session, image_id, number)
        if changes:
            if not face.corrected:
                face.detected = {name: getattr(face, name) for name in _ENGINES_OWN}
                face.corrected = True
            _set(face, image, changes)
        return number

    return _edit(services, task_id, image_id, edit, expected)


def undo(services: Services, task_id: str, image_id: str, number: int, expected: Tags = None) -> Edited:
    """Set a face back to what the engine said; raise Conflict for one that a person added."""

    def edit(session: Session, image: Image) -> int:
        face = _find_face(session, image_id, number)
        if _was_added(face):
            detail = "A person added this face, so there is no engine's answer to go back to. DELETE the face itself."
            raise Conflict(detail, code="face_not_detected")
        for name, value in (face.detected or {}).items():
            setattr(face, name, value)
        face.corrected, face.is_face, face.detected = False, True, None
        return number

    return _edit(services, task_id, image_id, edit, expected)


def add(services: Services, task_id: str, image_id: str, said: Mapping[str, Any], expected: Tags = None) -> Edited:
    """Add a face that the engine missed: its `bbox`, `gender` and `age`. It gets the next number."""

    def edit(session: Session, image: Image) -> int:
        found = session.scalar(sa.select(sa.func.max(Face.number)).where(Face.image_id == image_id)) or 0
        image.last_added = max(found, image.last_added) + 1
        face = Face(image_id=image_id, number=image.last_added, corrected=True, is_face=True)
        _set(face, image, said)
        session.add(face)
        return face.number

    return _edit(services, task_id, image_id, edit, expected)


def remove(services: Services, task_id: str, image_id: str, number: int, expected: Tags = None) -> Edited:
    """Take away a face that a person added; raise Conflict for one that the engine found."""

    def edit(session: Session, image: Image) -> int:
        face = _find_face(session, image_id, number)
        if not _was_added(face):
            detail = "The engine found this face. If it is none, PATCH it with `is_face` false."
            raise Conflict(detail, code="face_was_detected")
        session.delete(face)
        return number

    return _edit(services, task_id, image_id, edit, expected)


def check_expected(image: Mapping[str, Any], expected: Tags) -> None:
    """Raise PreconditionFailed where tags are expected of the image, as clients see it, and it has none of them."""
    if expected is not None and tag_of(image) not in expected:
        raise PreconditionFailed("The image has been changed since. Get it again, then repeat what is still right.")


def check_done(image: Image) -> None:
    """Raise Conflict unless the image has its faces."""
    if image.status != "done":
        detail = f"This image is {image.status}: only one that is done has faces to check or correct."
        raise Conflict(detail, code="image_not_done")


def _edit(
    services: Services, task_id: str, image_id: str, edit: Callable[[Session, Image], int], expected: Tags
) -> Edited:
    """Carry out an edit and count its image anew; `edit` returns the number of its face."""
    with services.database.write() as session:
        services.database.lock(session, [task_id])
        image = find_image(session, task_id, image_id)
        check_done(image)
        before, counted = read_image(session.connection(), task_id, image_id), _counts(session, image)
        check_expected(before, expected)
        number = edit(session, image)
        session.flush()
        after = read_image(session.connection(), task_id, image_id)
        if after != before:
            change = _counts(session, image)
            change.subtract(counted)
            image.version = _add_to_task(session, task_id, change)
        face = next((face for name in (ACCEPTED, REJECTED) for face in after[name] if face["number"] == number), None)
        edited = Edited(face, tag_of(after))
        record_result(session, lambda: edited)
        return edited


def _counts(session: Session, image: Image) -> "Counter[str]":
    rows = session.execute(FACES.where(Face.image_id == image.id, Face.is_face))
    return count((detection(row[1:-3]) for row in rows), image.engine or "")


def _add_to_task(session: Session, task_id: str, change: Mapping[str, int]) -> int:
    """Add to a task's counters, relative to what jobs may have written meanwhile; return the task's new version."""
    counters = {name: getattr(Task, name) + change[name] for name in COUNTERS}
    added = sa.update(Task).where(Task.id == task_id).values(version=Task.version + 1, **counters)
    return session.execute(added.returning(Task.version), execution_options={"synchronize_session": False}).scalar_one()


def _find_face(session: Session, image_id: str, number: int) -> Face:
    face = session.get(Face, (image_id, number))
    if not face:
        raise NotFound("There is no such face in this image.", code="face_not_found")
    return face


def _was_added(face: Face) -> bool:
    return face.corrected and face.detected is None


def _set(face: Face, image: Image, said: Mapping[str, Any]) -> None:
    for name in said.keys() & {"gender", "age", "is_face"}:
        setattr(face, name, said[name])
        _clear(face, _ESTIMATED.get(name, ()))
    if "bbox" in said:
        box = said["bbox"]
        _check_box(box, image)
        for name in BOX:
            setattr(face, name, box[name])
        _clear(face, _MEASURED)


def _clear(face: Face, names: Collection[str]) -> None:
    for name in names:
        setattr(face, name, None)


def _check_box(box: Mapping[str, int], image: Image) -> None:
    across = box["x"] < image.width and box["x"] + box["width"] > 0
    down = box["y"] < image.height and box["y"] + box["height"] > 0
    if not (across and down):
        detail = f"`bbox` lies outside the image, which is {image.width} × {image.height} pixels."
        raise Invalid(detail, pointer="#/bbox", code="invalid_member")
