"""The rows of augmentation. `User` and `ImageTask` have the names and columns that other programs read."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Model

ORIGINAL = "original"
COPIES = ("rotated", "gray", "scaled")


class User(Model):
    """Somebody who may upload. The e-mail is in lower case and NFKC; of the password there is the Argon2id hash."""

    __tablename__ = "User"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    password: Mapped[str] = mapped_column(sa.String(200))
    created_at: Mapped[str] = mapped_column(sa.String(24))
    first_name: Mapped[str | None] = mapped_column(sa.String(200))
    last_name: Mapped[str | None] = mapped_column(sa.String(200))


class ImageTask(Model):
    """A stored file. `img_link` is its storage key: links that work end, so they are made from it when asked for."""

    __tablename__ = "ImageTask"
    __table_args__ = (sa.Index(None, "task_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("augmentation_task.id", ondelete="CASCADE"))
    img_link: Mapped[str] = mapped_column(sa.String(100), unique=True)
    created_at: Mapped[str] = mapped_column(sa.String(24))


class AugmentationTask(Model):
    """What a user uploaded with one request; `done` and `failed` count images."""

    __tablename__ = "augmentation_task"
    __table_args__ = (sa.Index(None, "user_id"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("User.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    created_at: Mapped[str] = mapped_column(sa.String(24))
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)


class AugmentationImage(Model):
    """An uploaded image. Its files' keys follow from task and position."""

    __tablename__ = "augmentation_image"
    __table_args__ = (sa.Index(None, "task_id", "position"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("augmentation_task.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(255))
    media_type: Mapped[str] = mapped_column(sa.String(32))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    error_code: Mapped[str | None] = mapped_column(sa.String(32))
    error_detail: Mapped[str | None] = mapped_column(sa.String(500))


def file_key(task_id: str, position: int, suffix: str) -> str:
    """Return the storage key of an original or a copy. It is known before the work, so a repeated run overwrites."""
    return f"augmentation/{task_id}/{position}-{suffix}"
