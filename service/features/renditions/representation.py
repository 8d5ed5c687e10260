"""Images and their renditions as clients see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.features.renditions.keys import KINDS, Owner, folder_of, original_key, rendition_key
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

    def show(self, key: str, row: ImageVersion | Rendition, download: Download) -> dict[str, Any]:
        """Return a file with its address, its size in bytes, and its width and height in pixels."""
        full = self.storage.full_key(key)
        url = f"{self.cdn}/{full}" if self.cdn else self.storage.url(key, LINK_SECONDS, download)
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
    owner = Owner(image.owner_type, image.owner_id)
    download = Download(version.name, version.media_type, inline=True)
    return {
        "id": image.id,
        "owner_type": owner.type,
        "owner_id": owner.id,
        "name": version.name,
        "status": version.status,
        "created_at": image.created_at,
        "error": {"code": version.error_code, "detail": version.error_detail} if version.error_code else None,
        "original": files.show(original_key(folder_of(owner, version.id)), version, download),
        "renditions": _show_renditions(files, folder_of(owner, done.id), done.name, made[done.id]) if done else [],
    }


def _show_renditions(files: FileAddresses, folder: str, name: str, made: dict[str, Rendition]) -> list[dict[str, Any]]:
    stem = PurePath(name.replace("/", "_")).stem
    return [
        {"kind": kind}
        | files.show(
            rendition_key(folder, kind), made[kind], Download(f"{stem}_{kind}.webp", "image/webp", inline=True)
        )
        for kind in KINDS
    ]
