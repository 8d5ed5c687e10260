"""The rows of renditions, and the keys of their files."""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Model

KINDS = ("full", "large", "medium", "small")
PREFIX = "images/"
TASK = "renditions/"
"""What stands before a version's id in the column `task` of its job."""

_LONGEST_NAME = 128
_OWN_KEY = re.compile(r"(?:^|/)(images/[^/]+/[^/]+/([0-9a-f-]{36})/)(original|(?:full|large|medium|small)\.webp)$")


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

    Width and height are the upright picture's; size is in bytes.
    """

    __tablename__ = "image_version"
    __table_args__ = (sa.Index(None, "image_id", "number"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    image_id: Mapped[str] = mapped_column(sa.ForeignKey("owned_image.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(255))
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    media_type: Mapped[str] = mapped_column(sa.String(32))
    size: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    error_code: Mapped[str | None] = mapped_column(sa.String(32))
    error_detail: Mapped[str | None] = mapped_column(sa.String(500))


class Rendition(Model):
    """A WebP that was made of a version."""

    __tablename__ = "rendition"

    version_id: Mapped[str] = mapped_column(sa.ForeignKey("image_version.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(8), primary_key=True)
    width: Mapped[int]
    height: Mapped[int]
    size: Mapped[int]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an image is."""

    type: str
    id: str

    def folder(self) -> str:
        """Return the prefix of all keys of this owner and of no other; it ends with a slash."""
        return f"{PREFIX}{self.type}/{_folder_name(self.id)}/"


def _folder_name(owner_id: str) -> str:
    """Write any text as the name of one folder: letters, digits, `_` and `-` as they are, other bytes as `.2f`.

    So there is no `..` and no slash, and nothing that URLs, policies or disks read in a way of their own. A name that
    gets too long ends with a hash instead; `.x` begins no byte, so it is no other owner's name.
    """
    encoded = "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"_-" else f".{byte:02x}"
        for byte in owner_id.encode()
    )
    if len(encoded) <= _LONGEST_NAME:
        return encoded
    return f"{encoded[:48]}.x{hashlib.sha256(owner_id.encode()).hexdigest()}"


def folder_of(owner: Owner, version_id: str) -> str:
    """Return the prefix of a version's keys."""
    return f"{owner.folder()}{version_id}/"


def original_key(folder: str) -> str:
    """Return the key of what was uploaded."""
    return f"{folder}original"


def rendition_key(folder: str, kind: str) -> str:
    """Return the key of a rendition. It is known before the work, so a run that is repeated overwrites."""
    return f"{folder}{kind}.webp"


def keys_in(folder: str) -> list[str]:
    """Return all keys that a version can have."""
    return [original_key(folder), *(rendition_key(folder, kind) for kind in KINDS)]


def original_in(text: str) -> tuple[str, str] | None:
    """Return the key of an original, and its version's id, with which a path or a full key ends; else None."""
    found = _OWN_KEY.search(text)
    return (found[1] + found[3], found[2]) if found and found[3] == "original" else None


def is_own(key: str) -> bool:
    """Tell whether a storage key has the form of this slice's own, and not of what clients write themselves."""
    return _OWN_KEY.match(key) is not None


def known_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Return those of the storage keys that some row knows, or that have not the form of this slice's own.

    These were written by clients with temporary credentials, and no row knows of them.
    """
    own = {key: found[2] for key in keys if (found := _OWN_KEY.match(key))}
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
