"""The HTTP interface of reviews and estimates."""

from typing import Any

from flask import Blueprint, Response

from service.features.faces import reviews
from service.features.faces.correction_routes import expected_tags
from service.features.faces.operations import Services
from service.features.faces.review_schemas import EstimatesOut, EstimatesQuery, ReviewIn, ReviewList, ReviewOut
from service.http.basic_auth import require_basic
from service.http.bodies import body, query
from service.http.idempotency import idempotent
from service.http.openapi_views import describe
from service.http.pagination import Page, page_answer, place_of
from service.http.responses import answer
from service.http.services import provided

reviewed = Blueprint("reviews", __name__, url_prefix="/api/v1/tasks/<id:task_id>/reviews")
reviewed.before_request(require_basic)

PHOTO = "/<id:review_id>/images/<id:image_id>"


def _services() -> Services:
    return provided(Services)


def _created(review: dict[str, Any]) -> Response:
    return answer(review, 201)


@reviewed.post("")
@describe({201: ReviewOut}, 404, 409, body=ReviewIn)
@idempotent(_created)
def create_review(task_id: str) -> Response:
    """Draw a simple random sample of a task's photos that are done, for a person to check.

    Whole photos are drawn, so that faces which the engine missed count too. They are the first in the order of the
    SHA-256 of `seed:image id`, so anybody can repeat the drawing. 409 while the task is processing.
    """
    wanted = body(ReviewIn)
    return _created(reviews.create_review(_services(), task_id, wanted.photos, wanted.seed))


@reviewed.get("")
@describe({200: ReviewList}, 404, query=Page)
def list_reviews(task_id: str) -> Response:
    """List the reviews of a task, newest first, without their images."""
    wanted = query(Page)
    place = place_of(wanted.cursor, 2)
    before = (place[0], place[1]) if place else None
    return page_answer(*reviews.list_reviews(_services(), task_id, wanted.limit, before))


@reviewed.get("/<id:review_id>")
@describe({200: ReviewOut}, 404)
def get_review(task_id: str, review_id: str) -> Response:
    """Get a review with its images."""
    return answer(reviews.get_review(_services(), task_id, review_id))


@reviewed.delete("/<id:review_id>")
@describe({204: ""}, 404)
def delete_review(task_id: str, review_id: str) -> Response:
    """Delete a review. What was corrected stays corrected."""
    reviews.delete_review(_services(), task_id, review_id)
    return Response(status=204)


@reviewed.put(PHOTO)
@describe({204: ""}, 404, 412, headers={204: ("ETag",)}, matched=True)
def mark_as_reviewed(task_id: str, review_id: str, image_id: str) -> Response:
    """Say that all faces of a photo are right as they stand now. Only such photos count in estimates."""
    return _marked(task_id, review_id, image_id, is_reviewed=True)


@reviewed.delete(PHOTO)
@describe({204: ""}, 404, 412, headers={204: ("ETag",)}, matched=True)
def mark_as_unreviewed(task_id: str, review_id: str, image_id: str) -> Response:
    """Take back that a photo was reviewed."""
    return _marked(task_id, review_id, image_id, is_reviewed=False)


def _marked(task_id: str, review_id: str, image_id: str, *, is_reviewed: bool) -> Response:
    tag = reviews.mark(_services(), task_id, review_id, image_id, reviewed=is_reviewed, expected=expected_tags())
    return Response(status=204, headers={"ETag": f'"{tag}"'})


@reviewed.get("/<id:review_id>/estimates")
@describe({200: EstimatesOut}, 404, query=EstimatesQuery)
def get_estimates(task_id: str, review_id: str) -> Response:
    """Estimate the figures of all photos from the reviewed ones and the engine's answers, with intervals.

    By prediction-powered inference: the engine's errors on the reviewed photos correct its answers on all.
    `uncorrected` is what the engine says alone, `sample_only` what the reviewed photos say alone.
    """
    return answer(reviews.get_estimates(_services(), task_id, review_id, query(EstimatesQuery).confidence))
