"""The shapes of face tasks, as clients see them."""

from typing import Annotated, Literal

from pydantic import Field

from service.api import Page, Shape
from service.faces.engines import Gender

TaskStatus = Literal["forming", "processing", "completed", "error"]


class TaskIn(Shape):
    """What a new task may be given."""

    name: Annotated[str | None, Field(max_length=200, description="For people; it need not be unique.")] = None
    webhook_url: Annotated[
        str | None,
        Field(
            max_length=2000,
            description="An http or https address that is told when the task ends, signed as Standard Webhooks say.",
        ),
    ] = None


class TaskForm(TaskIn):
    """What a new task may be given in a form, beside its images."""

    start: Annotated[Literal["true", "false"], Field(description="Whether to start it at once.")] = "false"


class TaskQuery(Page):
    """The query of the list of tasks."""

    status: Annotated[TaskStatus | None, Field(description="Only tasks of this status.")] = None


class ContentQuery(Shape):
    """The query of an image's content."""

    faces: Annotated[
        Literal["boxed"] | None,
        Field(description="`boxed`: a JPEG of the upright photo with box, gender and age drawn at each face."),
    ] = None


class Box(Shape):
    """A box in pixels of the upright image, its origin top left. It may leave the image."""

    x: int
    y: int
    width: int
    height: int


class FaceOut(Shape):
    """A face. Age is in years; score is the engine's confidence, from 0 to 1."""

    bbox: Box
    gender: Gender
    age: float | None
    score: float | None


class ImageError(Shape):
    """Why an image failed, or, while it is pending, why its last attempt did."""

    code: Literal[
        "image_rejected",
        "upstream_unavailable",
        "upstream_unauthorized",
        "upstream_quota",
        "upstream_rejected",
        "engine_failed",
        "worker_lost",
    ]
    detail: str


class ImageOut(Shape):
    """An image. Size is in bytes; width and height are the upright picture's, in pixels."""

    id: str
    name: str
    status: Literal["pending", "done", "failed"]
    media_type: Literal["image/jpeg", "image/png", "image/webp"]
    size: int
    width: int
    height: int
    attempts: int
    error: ImageError | None
    faces: list[FaceOut]


class ImagesOut(Shape):
    """The images that an upload added, in its order."""

    items: list[ImageOut]


class Progress(Shape):
    """Numbers of images."""

    total: int
    pending: int
    done: int
    failed: int


class Statistics(Shape):
    """Over the images done so far. An average is null where there is nobody."""

    faces: int
    men: int
    women: int
    men_average_age: float | None
    women_average_age: float | None


class TaskSummary(Shape):
    """A task without its images."""

    id: str
    name: str | None
    status: TaskStatus
    created_at: str
    started_at: str | None
    finished_at: str | None
    progress: Progress
    statistics: Statistics


class TaskOut(TaskSummary):
    """A task with its images, in the order of upload."""

    images: list[ImageOut]


class TaskList(Shape):
    """A page of tasks, newest first; `next` is the cursor of the page after it, or null."""

    items: list[TaskSummary]
    next: str | None


class Limits(Shape):
    """What uploads may be."""

    max_image_bytes: int
    max_image_pixels: int
    max_images_per_task: int
    max_request_bytes: int
    accepted_types: list[str]
