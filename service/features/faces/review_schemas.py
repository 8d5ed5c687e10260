"""The shapes of reviews and estimates, as clients see them."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from service.features.faces.figures import LEAST_PHOTOS
from service.http.bodies import StrictModel

MOST_PHOTOS = 2_000
MOST_SEED = 2**53 - 1
"""The largest whole number that every reader of JSON keeps as it is."""

_IMAGE_ID = "83b014c2-0fe6-48af-b4d7-ce77705687ae"
_SUMMARY: dict[str, Any] = {
    "id": "5f0c9d0e-7c5b-4b0e-9a53-1c7a3b7f5d11",
    "created_at": "2026-01-02T03:04:05.678Z",
    "seed": 2718281828,
    "photos": 1,
    "reviewed": 1,
}
_REVIEW = _SUMMARY | {"images": [_IMAGE_ID], "reviewed_images": [_IMAGE_ID]}
_ESTIMATE: dict[str, Any] = {
    "value": 0.453,
    "low": 0.421,
    "high": 0.485,
    "uncorrected": 0.436,
    "sample_only": {"value": 0.461, "low": 0.37, "high": 0.552},
}


class ReviewIn(StrictModel):
    """How many photos to draw, and by which seed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"photos": 200}]})

    photos: Annotated[int, Field(ge=1, le=MOST_PHOTOS, description="Of fewer that are done, all are drawn.")]
    seed: Annotated[
        int | None,
        Field(ge=-MOST_SEED, le=MOST_SEED, description="The same seed draws the same photos. By default a random one."),
    ] = None


class ReviewSummary(StrictModel):
    """A review without its images."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    id: str
    created_at: str
    seed: int
    photos: Annotated[int, Field(description="How many were drawn.")]
    reviewed: Annotated[int, Field(description="How many of them are reviewed.")]


class ReviewOut(ReviewSummary):
    """A review."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REVIEW]})

    images: Annotated[list[str], Field(description="The ids of the drawn images, in the random order of drawing.")]
    reviewed_images: Annotated[list[str], Field(description="Those that a person has reviewed.")]


class ReviewList(StrictModel):
    """A page of reviews, newest first; `next` is the cursor of the page after it, or null."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_SUMMARY], "next": None}]})

    items: list[ReviewSummary]
    next: str | None


class EstimatesQuery(StrictModel):
    """The query of estimates."""

    confidence: Annotated[
        float, Field(ge=0.5, le=0.999, description="How often such an interval holds the true figure.")
    ] = 0.95


class IntervalOut(StrictModel):
    """An estimate between its bounds."""

    value: float
    low: float
    high: float


class EstimateOut(IntervalOut):
    """A figure from the review and the engine's answers on all photos; as the engine has it; from the review alone."""

    uncorrected: Annotated[float | None, Field(description="What the engine says of all photos; null: of nobody.")]
    sample_only: IntervalOut


_NULL = f"Null where fewer than {LEAST_PHOTOS} photos are reviewed, or they show nobody that it is about."


class EstimatesOut(StrictModel):
    """Figures of all photos that were done when the review was drawn. Ages are in years."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "confidence": 0.95,
                    "photos": 200,
                    "reviewed": 200,
                    "faces": None,
                    "women_share": _ESTIMATE,
                    "men_average_age": None,
                    "women_average_age": None,
                }
            ]
        }
    )

    confidence: float
    photos: Annotated[int, Field(description="How many were drawn.")]
    reviewed: int
    faces: Annotated[EstimateOut | None, Field(description=f"Their number. {_NULL}")]
    women_share: Annotated[EstimateOut | None, Field(description=f"Of faces of known gender, 0 to 1. {_NULL}")]
    men_average_age: Annotated[EstimateOut | None, Field(description=_NULL)]
    women_average_age: Annotated[EstimateOut | None, Field(description=_NULL)]
