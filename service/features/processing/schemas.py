"""The shapes of processing, as clients see them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictInt

from service.http.bodies import StrictModel, WholeNumber
from service.http.pagination import Cursor

MOST_FILES = 10_000


class ProcessingQuery(StrictModel):
    """The query of the list of tasks."""

    limit: Annotated[WholeNumber | None, Field(ge=1, le=100, description="How many tasks a page has.")] = None
    cursor: Annotated[Cursor | None, Field(description="That of the page before, from its `Link`.")] = None


class FilesOut(BaseModel, defer_build=True, json_schema_extra={"examples": [{"file_ids": [1, 2]}]}):
    """The ids of the files, in the order of the parts."""

    file_ids: list[int]


class ProcessingIn(
    StrictModel,
    json_schema_extra={"examples": [{"file_ids": [1], "algorithm": "rotate", "params": {"direction": "clockwise"}}]},
):
    """Which files go through which algorithm; each becomes a task."""

    file_ids: Annotated[list[StrictInt], Field(max_length=MOST_FILES)]
    algorithm: Literal["flip", "resize", "rotate"]
    params: Annotated[
        dict[str, Any],
        Field(
            description="flip: `orientation`, horizontal or vertical. resize: `width` and `height` in pixels. "
            "rotate: `direction`, clockwise or counterclockwise, by 90°."
        ),
    ]


class FlipIn(StrictModel):
    """What flip takes."""

    orientation: Literal["horizontal", "vertical"]


class ResizeIn(StrictModel):
    """What resize takes, in pixels."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class RotateIn(StrictModel):
    """What rotate takes."""

    direction: Literal["clockwise", "counterclockwise"]


PARAMS: dict[str, type[StrictModel]] = {"flip": FlipIn, "resize": ResizeIn, "rotate": RotateIn}


class TaskIdsOut(BaseModel, defer_build=True, json_schema_extra={"examples": [{"task_ids": [1, 2]}]}):
    """The ids of the tasks, in the order of the files."""

    task_ids: list[int]


class ProcessingTaskOut(
    BaseModel,
    json_schema_extra={
        "examples": [
            {
                "algorithm": "rotate",
                "created_at": "2026-01-02 03:04:05.678000",
                "id": 1,
                "params": {"direction": "clockwise"},
                "result_id": 3,
                "source_id": 1,
                "status": "finished",
                "updated_at": "2026-01-02 03:04:06.012000",
            }
        ]
    },
):
    """A task. Times are UTC, such as `2023-07-12 10:57:16.553720`."""

    algorithm: Literal["flip", "resize", "rotate"]
    created_at: str
    id: int
    params: dict[str, Any]
    result_id: int | None
    source_id: int
    status: Literal["pending", "processing", "finished", "error"]
    updated_at: str
