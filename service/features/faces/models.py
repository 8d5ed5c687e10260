"""The rows of face tasks."""

from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Model

MICRO = 1_000_000
"""Ages are summed as whole millionths of a year, so that sums are exact in any order."""


class Task(Model):
    """A batch of images, with counters and sums that change in the transactions of its jobs."""

    __tablename__ = "task"
    __table_args__ = (sa.Index(None, "created_at", "id"), sa.Index(None, "status", "created_at", "id"))

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str | None] = mapped_column(sa.String(200))
    webhook_url: Mapped[str | None] = mapped_column(sa.String(2000))
    status: Mapped[str] = mapped_column(sa.String(16), default="forming")
    created_at: Mapped[str] = mapped_column(sa.String(24))
    started_at: Mapped[str | None] = mapped_column(sa.String(24))
    finished_at: Mapped[str | None] = mapped_column(sa.String(24))
    version: Mapped[int] = mapped_column(default=1)
    next_position: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    faces: Mapped[int] = mapped_column(default=0)
    men: Mapped[int] = mapped_column(default=0)
    women: Mapped[int] = mapped_column(default=0)
    men_with_age: Mapped[int] = mapped_column(default=0)
    women_with_age: Mapped[int] = mapped_column(default=0)
    men_age_sum: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    women_age_sum: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    over_60: Mapped[int] = mapped_column(default=0)
    small_faces: Mapped[int] = mapped_column(default=0)
    unsure: Mapped[int] = mapped_column(default=0)


class Image(Model):
    """A file of a task. Width and height are the upright picture's, in pixels; size is in bytes.

    `engine` is the name of what found its faces; `searched_width` and `rotation` are what `Detections` says of them.
    `digest` is `sha-256:` and 64 hexadecimal digits; null where an earlier version stored the file and nobody has read
    it since. `version` is the task's with the image's last change: whoever changes what clients see of it sets this.
    `last_added` is the highest number that a face added by a person has had, 0 while there was none.
    """

    __tablename__ = "image"
    __table_args__ = (sa.Index(None, "task_id", "position"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(255))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    media_type: Mapped[str] = mapped_column(sa.String(32))
    size: Mapped[int] = mapped_column(sa.BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    attempts: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None] = mapped_column(sa.String(32))
    error_detail: Mapped[str | None] = mapped_column(sa.String(500))
    engine: Mapped[str | None] = mapped_column(sa.Text)
    searched_width: Mapped[int | None]
    rotation: Mapped[int | None]
    digest: Mapped[str | None] = mapped_column(sa.String(72))
    version: Mapped[int] = mapped_column(server_default="1")
    last_added: Mapped[int] = mapped_column(server_default="0")


class RemovedImage(Model):
    """An image that was taken out of a task, and the task's version with that."""

    __tablename__ = "removed_image"

    task_id: Mapped[str] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    version: Mapped[int]


class Face(Model):
    """A face of an image; the box is in pixels of the upright picture.

    `number` counts from 1, largest first as found, and never changes. What an engine does not say is null. The values
    are those that count: a person's, once `corrected`. Then `detected` has the engine's own by the names of the
    columns; it is null of a face that a person added. `is_face` is false where a person says that it is none.
    """

    __tablename__ = "face"

    image_id: Mapped[str] = mapped_column(sa.ForeignKey("image.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    x: Mapped[int]
    y: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    gender: Mapped[str] = mapped_column(sa.String(8))
    age: Mapped[float | None]
    score: Mapped[float | None]
    male_probability: Mapped[float | None]
    age_low: Mapped[float | None]
    age_high: Mapped[float | None]
    quality_height: Mapped[int | None]
    quality_sharpness: Mapped[float | None]
    quality_brightness: Mapped[float | None]
    corrected: Mapped[bool] = mapped_column(server_default=sa.false())
    is_face: Mapped[bool] = mapped_column(server_default=sa.true())
    detected: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))


class Review(Model):
    """A random sample of a task's photos that were done, for a person to check.

    `left_out` has the ids of the photos that were not done when it was drawn: estimates are about the others.
    """

    __tablename__ = "review"
    __table_args__ = (sa.Index(None, "task_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"))
    created_at: Mapped[str] = mapped_column(sa.String(24))
    seed: Mapped[int] = mapped_column(sa.BigInteger)
    left_out: Mapped[list[str]] = mapped_column(sa.JSON)


class ReviewPhoto(Model):
    """A photo of a review, at its place in the random order; `reviewed_at` is when a person said that it is right."""

    __tablename__ = "review_photo"
    __table_args__ = (sa.Index(None, "image_id"),)

    review_id: Mapped[str] = mapped_column(sa.ForeignKey("review.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(sa.ForeignKey("image.id", ondelete="CASCADE"))
    reviewed_at: Mapped[str | None] = mapped_column(sa.String(24))


class WebhookEvent(Model):
    """The end of a task, as it is told to the task's webhook; the id is the `webhook-id`.

    `status` is pending, delivered or failed; `answer` is the status of the receiver's last answer, `detail` why it was
    no success. `attempts` counts all of them.
    """

    __tablename__ = "webhook_event"
    __table_args__ = (sa.Index(None, "task_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("task.id", ondelete="CASCADE"))
    body: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[str] = mapped_column(sa.String(32), server_default="")
    status: Mapped[str] = mapped_column(sa.String(16), server_default="pending", default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0", default=0)
    tried_at: Mapped[str | None] = mapped_column(sa.String(32))
    answer: Mapped[int | None]
    detail: Mapped[str | None] = mapped_column(sa.Text)

    @property
    def type(self) -> str:
        """What is told, such as `task.completed`."""
        return str(orjson.loads(self.body)["type"])


def image_key(task_id: str, image_id: str) -> str:
    """Return the storage key of an image's original."""
    return f"tasks/{task_id}/{image_id}"


def thumbnail_key(task_id: str, image_id: str) -> str:
    """Return the storage key of an image's thumbnail, which is there once somebody has asked for it."""
    return f"{image_key(task_id, image_id)}.thumbnail"
