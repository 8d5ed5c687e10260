"""The shapes of corrections, as clients see them."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from service.features.faces.engines.engine import Gender
from service.http.bodies import StrictModel

MOST_YEARS = 130
FURTHEST = 100_000
"""Pixels: no image has a longer side."""

_BOX: dict[str, Any] = {"x": 443, "y": 289, "width": 353, "height": 522}

Years = Annotated[float, Field(ge=0, le=MOST_YEARS, description="In years.")]
Place = Annotated[int, Field(ge=-FURTHEST, le=FURTHEST)]
Side = Annotated[int, Field(ge=1, le=FURTHEST)]


class BoxIn(StrictModel):
    """A box in pixels of the upright image, its origin top left. Some of it must lie in the image."""

    x: Place
    y: Place
    width: Side
    height: Side


def _not_said() -> Any:
    """Return what stands for a member that was not sent, so that the document shows no default for it."""


class CorrectionIn(StrictModel):
    """What a person says of a face. Only the members that are sent are changed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"gender": "female", "age": 31}]})

    gender: Annotated[Gender, Field(default_factory=_not_said, description="`male_probability` becomes null.")]
    age: Annotated[
        Years | None, Field(default_factory=_not_said, description="Null: unknown. `age_low`, `age_high` become null.")
    ]
    bbox: Annotated[BoxIn, Field(default_factory=_not_said, description="`quality` becomes null.")]
    is_face: Annotated[
        bool,
        Field(default_factory=_not_said, description="`false` moves it to the image's `rejected_faces`, `true` back."),
    ]


class AddedFaceIn(StrictModel):
    """A face that the engine missed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bbox": _BOX, "gender": "female", "age": 31}]})

    bbox: BoxIn
    gender: Gender
    age: Annotated[Years | None, Field(description="In years; null: unknown.")]
