"""The rows of renditions."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Model
from service.features.renditions.keys import Owner, folder_of, keys_in, original_key, version_in

TASK = "renditions/"
"""What stands before a version's id in the column `task` of its job."""


class OwnedImage(Model):
    """An image of an owner. `number` is the order of arrival.

    With `replaces` it takes the place of all that its owner had before it, as soon as its renditions are made.
    """

    __tablename__ = "owned_image"
    __table_args__ = (sa.Index(None, "owner_type", "owner_id", "number"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    owner_type: Mapped[str] = mapped_column(sa.String(32))
    owner_id: Mapped[str] = mapped_column(sa.String(64))
    replaces: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[str] = mapped_column(sa.String(24))


class ImageVersion(Model):
    """What was uploaded for an image, once; a newer version that is done removes it. `id` stands in the keys.

    Width and height are the upright picture's; size is in bytes. `path` is the storage key of the original; `url` its
    lasting address, where it has one: a CDN's.
    """

    __tablename__ = "image_version"
    __table_args__ = (sa.Index(None, "image_id", "number"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    image_id: Mapped[str] = mapped_column(sa.ForeignKey("owned_image.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(255))
    path: Mapped[str] = mapped_column(sa.String(300))
    url: Mapped[str | None] = mapped_column(sa.String(2000))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    media_type: Mapped[str] = mapped_column(sa.String(32))
    size: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    error_code: Mapped[str | None] = mapped_column(sa.String(32))
    error_detail: Mapped[str | None] = mapped_column(sa.String(500))


class Rendition(Model):
    """A WebP that was made of a version: its file name, its storage key, and its lasting address if it has one."""

    __tablename__ = "rendition"

    version_id: Mapped[str] = mapped_column(sa.ForeignKey("image_version.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(8), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(300))
    path: Mapped[str] = mapped_column(sa.String(300))
    url: Mapped[str | None] = mapped_column(sa.String(2000))
    width: Mapped[int]
    height: Mapped[int]
    size: Mapped[int]


def known_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Return those of the storage keys that some row knows, or that clients wrote with temporary credentials.

    No row knows of the latter; they differ in form.
    """
    own = {key: version for key in keys if (version := version_in(key))}
    known = set(keys) - own.keys()
    for folder, _, status in folders(session, ImageVersion.id.in_(set(own.values()))):
        known |= {original_key(folder)} if status == "failed" else set(keys_in(folder))
    return known


def folders(session: Session, *which: sa.ColumnElement[bool]) -> Sequence[tuple[str, str, str]]:
    """Return folder, id and status of the versions of which this is true, the oldest first."""
    query = (
        sa.select(OwnedImage.owner_type, OwnedImage.owner_id, ImageVersion.id, ImageVersion.status)
        .join(OwnedImage, OwnedImage.id == ImageVersion.image_id)
        .where(*which)
        .order_by(ImageVersion.number)
    )
    return [
        (folder_of(Owner(owner_type, owner_id), version), version, status)
        for owner_type, owner_id, version, status in session.execute(query)
    ]
