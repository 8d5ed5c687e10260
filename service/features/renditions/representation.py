"""Images and their renditions as clients see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.features.renditions.keys import KINDS
from service.features.renditions.models import ImageVersion, OwnedImage, Rendition
from service.jobs.file_deletion import FileDeletion
from service.storage.signed_urls import Download
from service.storage.storage import Storage

LINK_SECONDS = 3600
"""How long an address works, unless it is a CDN's."""


@dataclass(frozen=True)
class FileAddresses:
    """Where clients get stored files: from the CDN at this address, or without one from a link that ends."""

    storage: Storage
    cdn: str

    def lasting(self, key: str) -> str | None:
        """Return the address of a file that does not end: a CDN's, else none."""
        return f"{self.cdn}/{self.storage.full_key(key)}" if self.cdn else None

    def show(self, row: ImageVersion | Rendition, download: Download) -> dict[str, Any]:
        """Return a file with its address, its size in bytes, and its width and height in pixels."""
        url = self.lasting(row.path) or self.storage.url(row.path, LINK_SECONDS, download)
        full = self.storage.full_key(row.path)
        return {"key": full, "url": url, "width": row.width, "height": row.height, "size": row.size}


def show_images(files: FileAddresses, session: Session, images: Sequence[OwnedImage]) -> list[dict[str, Any]]:
    """Return images as clients see them: the newest version, with the renditions of the newest that has some.

    One that is done is shown as pending until the files that it replaced are gone.
    """
    ids = [image.id for image in images]
    versions = session.scalars(
        sa.select(ImageVersion).where(ImageVersion.image_id.in_(ids)).order_by(ImageVersion.number)
    ).all()
    newest = {version.image_id: version for version in versions}
    done = {version.image_id: version for version in versions if version.status == "done"}
    made_of = [version.id for version in done.values()]
    rows = session.scalars(sa.select(Rendition).where(Rendition.version_id.in_(made_of)))
    made: dict[str, dict[str, Rendition]] = {}
    for row in rows:
        made.setdefault(row.version_id, {})[row.kind] = row
    waiting = set(session.scalars(sa.select(FileDeletion.awaited_by).where(FileDeletion.awaited_by.in_(made_of))))
    return [
        _show_image(files, image, newest[image.id], done.get(image.id), made)
        | ({"status": "pending"} if newest[image.id].id in waiting else {})
        for image in images
    ]


def _show_image(
    files: FileAddresses,
    image: OwnedImage,
    version: ImageVersion,
    done: ImageVersion | None,
    made: dict[str, dict[str, Rendition]],
) -> dict[str, Any]:
    download = Download(version.name, version.media_type, inline=True)
    return {
        "id": image.id,
        "owner_type": image.owner_type,
        "owner_id": image.owner_id,
        "name": version.name,
        "status": version.status,
        "created_at": image.created_at,
        "error": {"code": version.error_code, "detail": version.error_detail} if version.error_code else None,
        "original": files.show(version, download),
        "renditions": _show_renditions(files, made[done.id]) if done else [],
    }


def _show_renditions(files: FileAddresses, made: dict[str, Rendition]) -> list[dict[str, Any]]:
    return [
        {"kind": kind} | files.show(made[kind], Download(made[kind].name, "image/webp", inline=True)) for kind in KINDS
    ]
