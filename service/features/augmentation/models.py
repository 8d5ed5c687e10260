"""The rows of augmentation. `User` and `ImageTask` have the names and columns that other programs read."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import BigId, Model

ORIGINAL = "original"
COPIES = ("rotated", "gray", "scaled")


class User(Model):
    """Somebody who may upload. The e-mail is in lower case and NFKC; of the password there is the Argon2id hash."""

    __tablename__ = "User"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    password: Mapped[str] = mapped_column(sa.String(200))
    created_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))
    first_name: Mapped[str | None] = mapped_column(sa.String(200))
    last_name: Mapped[str | None] = mapped_column(sa.String(200))
    token_generation: Mapped[int] = mapped_column(server_default="0", default=0)


class RevokedToken(Model):
    """A token that was revoked, as SHA-256; it is forgotten some time after its own end, in seconds since 1970."""

    __tablename__ = "revoked_token"

    token: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    expires_at: Mapped[float] = mapped_column(sa.Double(), index=True)


class KnownAddress(Model):
    """An address, as SHA-256, from which a user has logged in; `seen_at` is when last, in seconds since 1970."""

    __tablename__ = "known_address"

    user_id: Mapped[str] = mapped_column(sa.ForeignKey("User.id", ondelete="CASCADE"), primary_key=True)
    address: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    seen_at: Mapped[float] = mapped_column(sa.Double())


class ImageTask(Model):
    """A stored file: the original of an image, or a copy with its suffix. `number` is the order of arrival.

    `img_link` is the file's name, `<name>_<suffix>.<ext>`; links that work end, so they are made of `key` when asked
    for. Files that were stored before keys had names in them keep their keys.
    """

    __tablename__ = "ImageTask"
    __table_args__ = (sa.Index(None, "task_id", "position"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("augmentation_task.id", ondelete="CASCADE"))
    position: Mapped[int]
    suffix: Mapped[str] = mapped_column(sa.String(16))
    img_link: Mapped[str] = mapped_column(sa.String(255))
    key: Mapped[str] = mapped_column(sa.String(400), unique=True)
    created_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))


class AugmentationTask(Model):
    """What a user uploaded with one request; `done` and `failed` count images, `size` is bytes."""

    __tablename__ = "augmentation_task"
    __table_args__ = (sa.Index(None, "user_id"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("User.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    created_at: Mapped[str] = mapped_column(sa.String(24))
    total: Mapped[int]
    size: Mapped[int] = mapped_column(BigId, server_default="0", default=0)
    done: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)


class AugmentationImage(Model):
    """An uploaded image. Its files are the rows of `ImageTask` with its task and position.

    `user_id` is that of its task: with it a page of somebody's history is found without sorting all of them.
    """

    __tablename__ = "augmentation_image"
    __table_args__ = (
        sa.Index(None, "task_id", "position"),
        sa.Index(None, "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("augmentation_task.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(sa.String(36), server_default="")
    position: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(255))
    media_type: Mapped[str] = mapped_column(sa.String(32))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    error_code: Mapped[str | None] = mapped_column(sa.String(32))
    error_detail: Mapped[str | None] = mapped_column(sa.String(500))
