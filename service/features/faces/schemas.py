"""The shapes of face tasks, as clients see them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, model_validator

from service.errors import Invalid
from service.features.faces.anonymization import Style
from service.features.faces.engines.engine import Gender
from service.http.bodies import StrictModel, WholeNumber
from service.http.pagination import Page

_ID, _IMAGE_ID = "b982acff-a46c-420b-b9be-24d137bd21e6", "83b014c2-0fe6-48af-b4d7-ce77705687ae"
_FACE: dict[str, Any] = {
    "number": 1,
    "bbox": {"x": 178, "y": 63, "width": 90, "height": 113},
    "gender": "female",
    "male_probability": 0.0146,
    "age": 34.3,
    "age_low": 22.0,
    "age_high": 48.0,
    "score": 0.9323,
    "quality": {"height": 113, "sharpness": 373.5, "brightness": 0.562},
    "corrected": False,
    "detected": None,
}
_IMAGE: dict[str, Any] = {
    "id": _IMAGE_ID,
    "name": "astronaut.png",
    "status": "done",
    "media_type": "image/png",
    "size": 791555,
    "width": 512,
    "height": 512,
    "attempts": 1,
    "digest": "sha-256:(64 hexadecimal digits)",
    "error": None,
    "searched_width": 512,
    "rotation": 0,
    "faces": [_FACE],
    "rejected_faces": [],
}
_PENDING = {"status": "pending", "attempts": 0, "searched_width": None, "rotation": None, "faces": []}
_SUMMARY: dict[str, Any] = {
    "id": _ID,
    "name": "team",
    "status": "completed",
    "created_at": "2026-01-02T03:04:05.678Z",
    "started_at": "2026-01-02T03:04:06.012Z",
    "finished_at": "2026-01-02T03:04:06.406Z",
    "progress": {"total": 1, "pending": 0, "done": 1, "failed": 0},
    "statistics": {
        "faces": 1,
        "men": 0,
        "women": 1,
        "unknown": 0,
        "men_average_age": None,
        "women_average_age": 34.3,
        "warnings": [],
    },
    "waiting_for": None,
}

_COCO: dict[str, Any] = {
    "info": {"description": "Faces, as Headcount found them"},
    "licenses": [],
    "categories": [{"id": 1, "name": "face", "supercategory": "person"}],
    "images": [{"id": 1, "file_name": "team.jpg", "width": 1920, "height": 1080}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [443, 289, 353, 522],
            "area": 184_266,
            "iscrowd": 0,
            "score": 0.9994,
            "attributes": {"number": 1, "gender": "male", "age": 26.0},
        }
    ],
}
_WEBHOOK = "An http or https address that is told when the task ends, signed as Standard Webhooks say."

TaskStatus = Literal["forming", "processing", "completed", "error"]


class TaskIn(StrictModel):
    """What a new task may be given."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "team"}]})

    name: Annotated[str | None, Field(max_length=200, description="For people; it need not be unique.")] = None
    webhook_url: Annotated[str | None, Field(max_length=2000, description=_WEBHOOK)] = None

    @model_validator(mode="before")
    @classmethod
    def _say_where_start_belongs(cls, members: Any) -> Any:
        if isinstance(members, dict) and "start" in members and "start" not in cls.model_fields:
            detail = "`start` belongs to a form that has images. In JSON, create the task, add images, then start it."
            raise Invalid(
                f"{detail} POST /api/v1/tasks/{{id}}/start does that.", pointer="#/start", code="unknown_member"
            )
        return members


class TaskForm(TaskIn):
    """What a new task may be given in a form, beside its images."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "team", "start": "true"}]})

    name: Annotated[
        str | None, Field(max_length=200, description="For people; it need not be unique.", examples=["team"])
    ] = None
    webhook_url: Annotated[
        str | None,
        Field(max_length=2000, description=f"{_WEBHOOK} Empty: nobody is told.", examples=[""]),
        BeforeValidator(lambda text: text or None),
    ] = None
    start: Annotated[Literal["true", "false"], Field(description="Whether to start it at once.")] = "false"


class TaskQuery(Page):
    """The query of the list of tasks."""

    status: Annotated[TaskStatus | None, Field(description="Only tasks of this status.")] = None


class TaskViewQuery(StrictModel):
    """The query of one task."""

    images: Annotated[Literal["true", "false"], Field(description="`false`: without `images` and `images_next`.")] = (
        "true"
    )
    since: Annotated[
        WholeNumber | None,
        Field(
            ge=0,
            le=2**53,
            description="Only images that changed after this version of the task, with `version` and `removed`; "
            "0 is before all of them.",
        ),
    ] = None

    wait: Annotated[
        WholeNumber,
        Field(
            ge=0,
            le=60,
            description="Seconds to wait until the task's version differs from `If-None-Match` or, without that, until "
            "it has ended. Where too many wait, the answer comes at once, with `Retry-After`.",
        ),
    ] = 0


class ImagesQuery(Page):
    """The query of a task's images."""

    limit: Annotated[WholeNumber, Field(ge=1, le=1000, description="How many items a page has.")] = 20


class TaskPatch(StrictModel):
    """What can be changed of a task."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "team of May"}]})

    name: Annotated[str | None, Field(max_length=200, description="For people; null takes the name away.")]


class UploadQuery(StrictModel):
    """The query of an upload."""

    name: Annotated[str | None, Field(description="The name of a bare image.")] = None
    skip_existing: Annotated[
        Literal["true", "false"],
        Field(description="`true`: bytes that the task has are left out; the answer has their images as they are."),
    ] = "false"


class TableQuery(StrictModel):
    """The query of a table."""

    bom: Annotated[Literal["0", "1"], Field(description="`1`: begin with a byte order mark, as Excel wants it.")] = "0"


class AnnotationsOut(RootModel[dict[str, Any] | list[dict[str, Any]]]):
    """Photos and boxes as the program that was named reads them: an object, or for Label Studio an array of tasks."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COCO]})


class AnnotationQuery(StrictModel):
    """The query of annotations."""

    format: Annotated[
        Literal["coco", "labelstudio", "fiftyone"],
        Field(description="The program they are for: `coco`, `labelstudio` or `fiftyone`."),
    ] = "coco"


class ContentQuery(StrictModel):
    """The query of an image's content."""

    faces: Annotated[
        Literal["boxed", "blurred", "mosaic", "solid"] | None,
        Field(
            description="A JPEG of the upright photo. `boxed`: with box, gender and age drawn at each face. `blurred`, "
            "`mosaic`, `solid`: with each face and its hair hidden in this style."
        ),
    ] = None


class StyleQuery(StrictModel):
    """The query of a zip of photos whose faces are hidden."""

    style: Annotated[Style, Field(description="How the faces are hidden.")] = "blurred"


class Box(StrictModel):
    """A box in pixels of the upright image, its origin top left. It may leave the image."""

    x: int
    y: int
    width: int
    height: int


class QualityOut(StrictModel):
    """How well a face can be seen."""

    height: Annotated[int, Field(description="Of the face, in pixels.")]
    sharpness: Annotated[
        float, Field(description="Variance of the Laplacian of the face in grey; below 20 is blurred.")
    ]
    brightness: Annotated[float, Field(description="The mean, from 0 to 1.")]


class FaceAnswer(StrictModel):
    """What an engine or a person says of a face. Ages are in years. What is not said is null."""

    bbox: Box
    gender: Annotated[Gender, Field(description="`unknown` where the engine is not sure.")]
    male_probability: Annotated[float | None, Field(description="From 0 to 1, calibrated.")]
    age: float | None
    age_low: Annotated[float | None, Field(description="`age_low` to `age_high` holds the true age nine times in ten.")]
    age_high: float | None
    score: Annotated[float | None, Field(description="The engine's confidence that this is a face, from 0 to 1.")]
    quality: QualityOut | None


class FaceOut(FaceAnswer):
    """A face. What the engine does not say is null; so is what it says of a value that a person has set."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FACE]})

    number: Annotated[
        int, Field(description="Counts the faces of an image from 1, largest first as found. It never changes.")
    ]
    corrected: Annotated[bool, Field(description="Whether a person has corrected or added it.")]
    detected: Annotated[
        FaceAnswer | None,
        Field(description="What the engine said of a face that was corrected; null for one that a person added."),
    ]


class ImageError(StrictModel):
    """Why an image failed, or, while it is pending, why its last attempt did."""

    code: Literal[
        "image_rejected",
        "upstream_unavailable",
        "upstream_unauthorized",
        "upstream_quota",
        "upstream_rejected",
        "engine_failed",
        "worker_lost",
        "stopped",
    ]
    detail: str


class ImageOut(StrictModel):
    """An image. Size is in bytes; width and height are the upright picture's, in pixels."""

    model_config = ConfigDict(json_schema_extra={"examples": [_IMAGE]})

    id: str
    name: str
    status: Literal["pending", "done", "failed"]
    media_type: Literal["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"]
    size: int
    width: int
    height: int
    attempts: Annotated[
        int,
        Field(description="Attempts made so far; a start after an error sets it back to 0 for the images that failed."),
    ]
    digest: Annotated[
        str | None,
        Field(description="`sha-256:` and 64 hexadecimal digits. Null for an image of an earlier version."),
    ]
    error: ImageError | None
    searched_width: Annotated[
        int | None, Field(description="The image's width in pixels at the closest look; null where it is not said.")
    ]
    rotation: Annotated[
        Literal[0, 90, 180, 270] | None,
        Field(
            description="Degrees clockwise that make the faces upright, after EXIF. Boxes are in the picture before it."
        ),
    ]
    faces: list[FaceOut]
    rejected_faces: Annotated[list[FaceOut], Field(description="What the engine took for faces, and a person did not.")]


class AddedImage(ImageOut):
    """An image of an upload."""

    skipped: Annotated[bool, Field(description="Whether the task had these bytes, so that nothing was added.")] = False


class ImagesOut(StrictModel):
    """The images that an upload added, in its order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_IMAGE | _PENDING]}]})

    items: list[AddedImage]


class Progress(StrictModel):
    """Numbers of images."""

    total: int
    pending: int
    done: int
    failed: int


class StatisticsWarning(StrictModel):
    """What the statistics must be read with."""

    code: Literal["age_bias_over_60", "small_faces", "many_unknown"]
    detail: str


class Statistics(StrictModel):
    """Over the images done so far. An average is null where there is nobody."""

    faces: int
    men: int
    women: int
    unknown: Annotated[int, Field(description="Faces that count as neither man nor woman.")]
    men_average_age: float | None
    women_average_age: float | None
    warnings: Annotated[
        list[StatisticsWarning], Field(description="Known limits of the embedded engine; empty with other engines.")
    ]


class WaitingFor(StrictModel):
    """What keeps a task waiting: its engine, or the store of its photos, does not serve."""

    since: str
    reason: str
    next_try: Annotated[str, Field(description="When the next image is sent, to see whether it does.")]


class TaskSummary(StrictModel):
    """A task without its images."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    id: str
    name: str | None
    status: TaskStatus
    created_at: str
    started_at: Annotated[str | None, Field(description="When it was last started; null before the first start.")]
    finished_at: Annotated[str | None, Field(description="When it ended after the last start; null while it has not.")]
    progress: Progress
    statistics: Statistics
    waiting_for: Annotated[
        WaitingFor | None, Field(description="Null unless the task is processing and its engine does not serve.")
    ]


_NEXT = "The cursor of `GET …/images` that the next ones begin with, or null: an answer holds the first 10,000."


class TaskOut(TaskSummary):
    """A task with its first images, in the order of upload."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY | {"images": [_IMAGE], "images_next": None}]})

    images: list[ImageOut]
    images_next: Annotated[str | None, Field(description=_NEXT)]


class TaskView(TaskSummary):
    """A task with its first images, in the order of upload; or without, or with those that changed after a version."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY | {"images": [_IMAGE], "images_next": None}]})

    images: Annotated[list[ImageOut], Field(default_factory=list, description="Absent with `images=false`.")]
    images_next: Annotated[str | None, Field(default=None, description=f"{_NEXT} Absent with `images=false`.")]
    version: Annotated[int, Field(default_factory=int, description="With `since`: what the next `since` is to be.")]
    removed: Annotated[
        list[str],
        Field(default_factory=list, description="With `since`: the ids of images that were taken out after it."),
    ]


class ImageList(StrictModel):
    """A page of a task's images, in the order of upload; `next` is the cursor of the page after it, or null."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_IMAGE], "next": None}]})

    items: list[ImageOut]
    next: str | None


class TaskList(StrictModel):
    """A page of tasks, newest first; `next` is the cursor of the page after it, or null."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_SUMMARY], "next": None}]})

    items: list[TaskSummary]
    next: str | None


_DELIVERY: dict[str, Any] = {
    "id": "msg_5f0a7c2e-9f0d-4a3b-8f53-3f3c2c1f7a10",
    "type": "task.completed",
    "status": "pending",
    "created_at": "2026-01-02T03:04:09.000Z",
    "attempts": 1,
    "tried_at": "2026-01-02T03:04:09.120Z",
    "answer": 503,
    "detail": "example.com answered 503.",
    "next_try": "2026-01-02T03:04:10.210Z",
}


class DeliveryOut(StrictModel):
    """A webhook of a task. `answer` is the status of the last answer, `next_try` null where none is to come."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: str
    type: Literal["task.completed", "task.error"]
    status: Literal["pending", "delivered", "failed"]
    created_at: str | None
    attempts: int
    tried_at: str | None
    answer: int | None
    detail: str | None
    next_try: str | None


class DeliveryList(StrictModel):
    """A page of a task's deliveries, newest first; `next` is the cursor of the page after it, or null."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_DELIVERY], "next": None}]})

    items: list[DeliveryOut]
    next: str | None


class Limits(StrictModel):
    """What uploads may be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "max_image_bytes": 20_000_000,
                    "max_image_pixels": 50_000_000,
                    "max_images_per_task": 10_000,
                    "max_request_bytes": 1_000_000_000,
                    "max_parts_per_request": 2_000,
                    "accepted_types": ["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"],
                }
            ]
        }
    )

    max_image_bytes: int
    max_image_pixels: int
    max_images_per_task: int
    max_request_bytes: int
    max_parts_per_request: Annotated[
        int, Field(description="Files and texts of one form: what is more goes into another request.")
    ]
    accepted_types: list[str]
