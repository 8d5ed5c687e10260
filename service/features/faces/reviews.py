"""Reviews: random samples of photos that a person checks, and what they tell of all photos."""

import hashlib
import secrets
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.db.results import record_result
from service.errors import Conflict, NotFound
from service.features.faces.corrections import Tags, check_expected, tag_of
from service.features.faces.figures import FIGURES, Estimate, Interval, columns_of
from service.features.faces.models import Face, Image, Review, ReviewPhoto
from service.features.faces.operations import Services, find_task, read_image

if TYPE_CHECKING:
    from service.features.faces.estimation import Sample

SEEDS = 2**32
"""Seeds drawn for those who name none are below it."""
_REVIEWED = sa.select(sa.func.count()).where(ReviewPhoto.reviewed_at.is_not(None))


def create_review(services: Services, task_id: str, photos: int, seed: int | None) -> dict[str, Any]:
    """Draw so many of the photos that are done, or all there are: a simple random sample.

    It is the first of them in the order of the SHA-256 of `seed:image id`. Raise Conflict while the task is processing,
    and where no photo is done.
    """
    with services.database.write() as session:
        services.database.lock(session, [task_id])
        if find_task(session, task_id).status == "processing":
            detail = "This task is processing: a sample can be drawn when it has ended."
            raise Conflict(detail, code="task_processing")
        rows = session.execute(sa.select(Image.id, Image.status).where(Image.task_id == task_id)).all()
        done = [image_id for image_id, status in rows if status == "done"]
        if not done:
            raise Conflict("This task has no photos that are done: there is nothing to review.", code="no_photos_done")
        chosen_seed = secrets.randbelow(SEEDS) if seed is None else seed
        left_out = [image_id for image_id, status in rows if status != "done"]
        review = Review(id=str(uuid.uuid4()), task_id=task_id, created_at=now(), seed=chosen_seed, left_out=left_out)
        session.add(review)
        session.flush()
        drawn = sorted(done, key=lambda image_id: _place(chosen_seed, image_id))[:photos]
        places = [
            {"review_id": review.id, "position": position, "image_id": image_id}
            for position, image_id in enumerate(drawn)
        ]
        session.execute(sa.insert(ReviewPhoto), places)
        created = _summary(review, len(drawn), 0) | {"images": drawn, "reviewed_images": []}
        record_result(session, lambda: created)
        return created


def _place(seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{image_id}".encode()).digest()


def list_reviews(
    services: Services, task_id: str, limit: int, before: tuple[str, str] | None
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Return a page of a task's reviews without their images, newest first, and where the next page begins."""
    place = sa.tuple_(Review.created_at, Review.id)
    drawn = sa.select(sa.func.count()).where(ReviewPhoto.review_id == Review.id).scalar_subquery()
    reviewed = _REVIEWED.where(ReviewPhoto.review_id == Review.id).scalar_subquery()
    query = sa.select(Review, drawn, reviewed).where(Review.task_id == task_id)
    if before:
        query = query.where(place < sa.tuple_(*map(sa.literal, before)))
    with services.database.read() as session:
        find_task(session, task_id)
        newest_first = query.order_by(Review.created_at.desc(), Review.id.desc())
        rows = session.execute(newest_first.limit(limit + 1)).all()
    last = rows[limit - 1][0] if len(rows) > limit else None
    return [_summary(*row) for row in rows[:limit]], (last.created_at, last.id) if last else None


def get_review(services: Services, task_id: str, review_id: str) -> dict[str, Any]:
    """Return a review with its images in their order, and those that are reviewed."""
    with services.database.read() as session:
        review = _find_review(session, task_id, review_id)
        photos = _photos(session, review)
    reviewed = [image_id for image_id, is_reviewed in photos if is_reviewed]
    shown = {"images": [image_id for image_id, _ in photos], "reviewed_images": reviewed}
    return _summary(review, len(photos), len(reviewed)) | shown


def delete_review(services: Services, task_id: str, review_id: str) -> None:
    """Delete a review. What was corrected stays corrected."""
    with services.database.write() as session:
        services.database.lock(session, [task_id])
        session.delete(_find_review(session, task_id, review_id))


def mark(
    services: Services, task_id: str, review_id: str, image_id: str, *, reviewed: bool, expected: Tags = None
) -> str:
    """Say that all faces of a photo are right as they stand, or take that back. Return the tag of its image.

    Raise NotFound, and PreconditionFailed where the image has none of the expected tags.
    """
    with services.database.write() as session:
        services.database.lock(session, [task_id])
        review = _find_review(session, task_id, review_id)
        chosen = (ReviewPhoto.review_id == review.id, ReviewPhoto.image_id == image_id)
        photo = session.scalars(sa.select(ReviewPhoto).where(*chosen)).first()
        if not photo:
            raise NotFound("There is no such image in this review.", code="image_not_in_review")
        image = read_image(session.connection(), task_id, image_id)
        check_expected(image, expected)
        photo.reviewed_at = now() if reviewed else None
        return tag_of(image)


def get_estimates(services: Services, task_id: str, review_id: str, confidence: float) -> dict[str, Any]:
    """Return the figures of all photos that were done when the review was drawn, as far as it has been reviewed."""
    from service.features.faces.estimation import estimate

    with services.database.read() as session:
        review = _find_review(session, task_id, review_id)
        photos = _photos(session, review)
        checked = [image_id for image_id, is_reviewed in photos if is_reviewed]
        sample = _sample(session, review, checked)
    estimates = {name: _shown(estimate(sample, figure, confidence)) for name, figure in FIGURES.items()}
    return {"confidence": confidence, "photos": len(photos), "reviewed": len(checked), **estimates}


def read_sample(database: Database, task_id: str, review_id: str) -> "Sample":
    """Return the totals of the photos of a review's task, and of those that have been reviewed."""
    with database.read() as session:
        review = _find_review(session, task_id, review_id)
        return _sample(session, review, [image_id for image_id, is_reviewed in _photos(session, review) if is_reviewed])


def _sample(session: Session, review: Review, checked: list[str]) -> "Sample":
    """Read the totals of all photos: the engine's from what it detected, the true ones from how the faces stand now."""
    from service.features.faces.estimation import Sample, totals

    done = sa.select(Image.id).where(Image.task_id == review.task_id, Image.status == "done")
    left_out = set(review.left_out)
    places: dict[str, int] = {}
    for image_id in session.scalars(done):
        if image_id not in left_out:
            places[image_id] = len(places)
    engine, true = totals(len(places)), totals(len(places))
    members = (Face.image_id, Face.gender, Face.age, Face.is_face, Face.corrected, Face.detected)
    for image_id, gender, age, is_face, corrected, detected in session.execute(
        sa.select(*members).join(Image).where(Image.task_id == review.task_id)
    ):
        place = places.get(image_id)
        if place is None:
            continue
        if is_face:
            for column, value in columns_of(gender, age):
                true[place, column] += value
        if not corrected or detected:
            said = (detected["gender"], detected["age"]) if detected else (gender, age)
            for column, value in columns_of(*said):
                engine[place, column] += value
    rows = [places[image_id] for image_id in checked]
    return Sample(engine, engine[rows], true[rows])


def _photos(session: Session, review: Review) -> list[tuple[str, bool]]:
    """Return the ids of a review's images in their order, and whether each is reviewed."""
    of_review = sa.select(ReviewPhoto.image_id, ReviewPhoto.reviewed_at).where(ReviewPhoto.review_id == review.id)
    rows = session.execute(of_review.order_by(ReviewPhoto.position))
    return [(image_id, reviewed_at is not None) for image_id, reviewed_at in rows]


def _find_review(session: Session, task_id: str, review_id: str) -> Review:
    find_task(session, task_id)
    review = session.get(Review, review_id)
    if not review or review.task_id != task_id:
        raise NotFound("There is no such review. It may have been deleted.", code="review_not_found")
    return review


def _summary(review: Review, photos: int, reviewed: int) -> dict[str, Any]:
    return {
        "id": review.id,
        "created_at": review.created_at,
        "seed": review.seed,
        "photos": photos,
        "reviewed": reviewed,
    }


def _shown(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {**_bounds(found.powered), "uncorrected": found.uncorrected, "sample_only": _bounds(found.sample_only)}


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
