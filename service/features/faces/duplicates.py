"""Images that a task has already, found by the digests of their bytes: an upload that broke off can be sent again."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database
from service.features.faces.models import Image, image_key
from service.features.faces.representation import IMAGES, image_with_faces
from service.imaging.intake import Upload
from service.storage.storage import Storage

PIECE = 256 * 1024


def digests_of(connection: sa.Connection, task_id: str) -> set[str]:
    """Return the digests of all images of the task that have one."""
    known = sa.select(Image.digest).where(Image.task_id == task_id, Image.digest.is_not(None))
    return {digest for digest in connection.scalars(known) if digest}


def read_missing_digests(database: Database, storage: Storage, task_id: str) -> None:
    """Read the files of the task's images that an earlier version stored, and write their digests."""
    nameless = sa.select(Image.id).where(Image.task_id == task_id, Image.digest.is_(None))
    with database.read() as session:
        ids = session.scalars(nameless).all()
    for image_id in ids:
        with suppress(FileNotFoundError), storage.open(image_key(task_id, image_id)) as stream:
            digest = f"sha-256:{_sha256(stream)}"
            with database.write() as session:
                session.execute(sa.update(Image).where(Image.id == image_id).values(digest=digest))


def _sha256(stream: BinaryIO) -> str:
    found = hashlib.sha256()
    while piece := stream.read(PIECE):
        found.update(piece)
    return found.hexdigest()


def without_known(uploads: Iterable[Upload], known: set[str]) -> list[Upload]:
    """Return the first of each bytes among the uploads that are not known."""
    first = {upload.digest: upload for upload in reversed(list(uploads)) if upload.digest not in known}
    return list(reversed(first.values()))


def for_each_upload(
    session: Session, task_id: str, uploads: Sequence[Upload], added: Iterable[str]
) -> list[dict[str, Any]]:
    """Return the image that has the bytes of each upload, as skipped unless its id is among those added for it."""
    new, digests = set(added), {upload.digest for upload in uploads}
    chosen = IMAGES.where(Image.task_id == task_id, Image.digest.in_(digests)).order_by(Image.position.desc())
    by_digest = {row.digest: image_with_faces(row, {}) for row in session.execute(chosen)}
    images = []
    for upload in uploads:
        image = by_digest[upload.digest]
        images.append(image if image["id"] in new else image | {"skipped": True})
        new.discard(image["id"])
    return images
