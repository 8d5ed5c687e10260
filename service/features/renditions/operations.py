"""What a client can do with images and their renditions: plain values and streams in, plain values out."""

import math
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.db.results import record_result
from service.errors import NotFound, TooLarge, Unavailable
from service.features.renditions.job import KIND
from service.features.renditions.models import (
    KINDS,
    TASK,
    ImageVersion,
    OwnedImage,
    Owner,
    Rendition,
    folder_of,
    is_own,
    keys_in,
    original_in,
    original_key,
    rendition_key,
)
from service.features.renditions.replacement import take_out_images
from service.imaging import transform as pictures
from service.imaging.intake import Intake, Upload, pointing_at
from service.imaging.validate import Picture, printable
from service.jobs import queue
from service.jobs.executors import Executor
from service.jobs.file_deletion import FileDeletion
from service.storage.signed_urls import Download, SignedUrls
from service.storage.temporary_credentials import Action, CredentialsIssuer

LINK_SECONDS = 3600


@dataclass(frozen=True)
class Services:
    """What the operations of renditions stand on. `scales` are the sizes of `KINDS`; `cdn` an address, or empty."""

    database: Database
    executor: Executor
    intake: Intake
    scales: Sequence[float]
    signed_urls: SignedUrls
    credentials_issuer: CredentialsIssuer
    cdn: str


def add_image(here: Services, owner: Owner, upload: Upload, *, replacing: bool = False) -> dict[str, Any]:
    """Store an image, and start the making of its renditions.

    `replacing` lets it take the place of all that the owner had before, as soon as they are made.
    """

    def place(session: Session) -> OwnedImage:
        # One after the other, so that the last of the owner's images also has the latest time.
        here.database.lock(session, [owner.folder()])
        image = OwnedImage(
            id=str(uuid.uuid4()), owner_type=owner.type, owner_id=owner.id, replaces=replacing, created_at=now()
        )
        session.add(image)
        session.flush()
        return image

    return _accept(here, owner, upload, place)


def replace_image(here: Services, image_id: str, upload: Upload) -> dict[str, Any]:
    """Store a new version of an image; what it had before stays until the new renditions are made."""
    with here.database.read() as session:
        image = _find(session, image_id)
    return _accept(
        here, Owner(image.owner_type, image.owner_id), upload, lambda session: _find(session, image_id, lock=True)
    )


def get_image(here: Services, image_id: str) -> dict[str, Any]:
    """Return an image with its renditions."""
    with here.database.read() as session:
        return _shown(here, session, [_find(session, image_id)])[0]


def list_images(
    here: Services, owner: Owner | None, limit: int, before: int | None
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of images, newest first, and where the next one begins: four queries, whatever its size."""
    query = sa.select(OwnedImage).order_by(OwnedImage.number.desc()).limit(limit + 1)
    if owner:
        query = query.where(*_of(owner))
    if before is not None:
        query = query.where(OwnedImage.number < before)
    with here.database.read() as session:
        images = session.scalars(query).all()
        items = _shown(here, session, images[:limit])
    return items, images[limit - 1].number if len(images) > limit else None


def delete_image(here: Services, image_id: str) -> None:
    """Delete an image whatever is being done with it."""
    if not _delete(here, OwnedImage.id == image_id):
        raise _unknown()


def delete_of_owner(here: Services, owner: Owner) -> None:
    """Delete all images of an owner, and what clients wrote below its prefix with temporary credentials."""
    deleted = _delete(here, *_of(owner))
    try:
        deleted |= _delete_foreign(here, owner)
    except Unavailable:
        if not deleted:
            raise
    if not deleted:
        raise _unknown()


def delete_by_url(here: Services, url: str) -> None:
    """Delete the image whose original has, or had, this address or key."""
    path = here.signed_urls.key_of(url) or unquote(urlsplit(url).path)
    if not (found := original_in(path)):
        raise _unknown()
    key, version_id = found
    with here.database.read() as session:
        image = session.scalar(
            sa.select(OwnedImage)
            .join(ImageVersion, ImageVersion.image_id == OwnedImage.id)
            .where(ImageVersion.id == version_id)
        )
    if not image or key != original_key(folder_of(Owner(image.owner_type, image.owner_id), version_id)):
        raise _unknown()
    delete_image(here, image.id)


def grant(here: Services, owner: Owner, actions: Collection[Action], lifetime: int | None) -> dict[str, Any]:
    """Make temporary credentials for these actions on what lies below the owner's prefix."""
    folder = owner.folder()
    # With a slash at its end a prefix is no key, so the last part is named and taken off again.
    prefix = here.intake.storage.full_key(f"{folder}x").removesuffix("x")
    name = folder.removesuffix("/").partition("/")[2].replace("/", "=")[:64]
    given = here.credentials_issuer.issue(prefix, actions, lifetime, name)
    return asdict(given) | {"actions": sorted(set(actions))}


def _accept(here: Services, owner: Owner, upload: Upload, place: Callable[[Session], OwnedImage]) -> dict[str, Any]:
    """Check and store a file; then its row and its job, in one transaction."""
    version_id = str(uuid.uuid4())
    with here.intake.keeping([upload], [original_key(folder_of(owner, version_id))]) as (picture,):
        with pointing_at(upload):
            _check_webp(here, upload.name, picture)
        with queue.dispatching(here.database, here.executor) as session:
            session.connection()  # the transaction begins with it, and in SQLite the turn to write
            image = place(session)
            session.add(
                ImageVersion(
                    id=version_id,
                    image_id=image.id,
                    name=upload.name,
                    media_type=picture.media_type,
                    size=picture.size,
                    width=picture.width,
                    height=picture.height,
                )
            )
            session.flush()
            chosen = sa.select(ImageVersion.id, sa.literal(TASK) + ImageVersion.id, sa.literal(0))
            queue.enqueue(session, KIND, chosen.where(ImageVersion.id == version_id))
            answer = _shown(here, session, [image])[0]
            record_result(session, lambda: answer)
    return answer


def _check_webp(here: Services, name: str, picture: Picture) -> None:
    try:
        for scale in here.scales:
            pictures.check_size(*pictures.scale(scale).size(picture.width, picture.height), "image/webp")
    except TooLarge as error:
        detail = f"{printable(name)} is too large for its renditions. {error.detail}"
        raise TooLarge(detail, limit=error.limit) from error


def _delete(here: Services, *which: sa.ColumnElement[bool]) -> bool:
    """Delete images, if there are any: the rows, then what runs, then the files.

    Where the store is away, the job takes them later.
    """
    with queue.dispatching(here.database, here.executor) as session:
        versions = session.scalars(
            sa.select(ImageVersion.id).join(OwnedImage, OwnedImage.id == ImageVersion.image_id).where(*which)
        ).all()
        # Whoever is saving one of them is let finish: both take other rows after these, in orders of their own.
        here.database.lock(session, [TASK + version for version in versions])
        gone = take_out_images(session, *which)
    for _, version in gone:
        here.executor.cancel(TASK + version)
    with suppress(Unavailable):
        here.intake.storage.delete(*(key for folder, _ in gone for key in keys_in(folder)))
    return bool(gone)


def _delete_foreign(here: Services, owner: Owner) -> bool:
    """Delete what clients wrote below the owner's prefix, if anything; not what an upload is just writing there."""
    storage = here.intake.storage
    found = storage.keys(-math.inf, owner.folder())  # of any age, whatever the store's clock says
    keys = [key for key in found if not is_own(key)]
    storage.delete(*keys)
    return bool(keys)


def _find(session: Session, image_id: str, *, lock: bool = False) -> OwnedImage:
    query = sa.select(OwnedImage).where(OwnedImage.id == image_id)
    image = session.scalar(query.with_for_update() if lock else query)
    if not image:
        raise _unknown()
    return image


def _unknown() -> NotFound:
    return NotFound("There is no such image. It may have been deleted.")


def _of(owner: Owner) -> tuple[sa.ColumnElement[bool], ...]:
    return OwnedImage.owner_type == owner.type, OwnedImage.owner_id == owner.id


def _shown(here: Services, session: Session, images: Sequence[OwnedImage]) -> list[dict[str, Any]]:
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
        _image(here, image, newest[image.id], done.get(image.id), made)
        | ({"status": "pending"} if newest[image.id].id in waiting else {})
        for image in images
    ]


def _image(
    here: Services,
    image: OwnedImage,
    version: ImageVersion,
    done: ImageVersion | None,
    made: dict[str, dict[str, Rendition]],
) -> dict[str, Any]:
    owner = Owner(image.owner_type, image.owner_id)
    key = original_key(folder_of(owner, version.id))
    original = _file(here, key, version, Download(version.name, version.media_type, inline=True))
    return {
        "id": image.id,
        "owner_type": owner.type,
        "owner_id": owner.id,
        "name": version.name,
        "status": version.status,
        "created_at": image.created_at,
        "error": {"code": version.error_code, "detail": version.error_detail} if version.error_code else None,
        "original": original,
        "renditions": _renditions(here, folder_of(owner, done.id), done.name, made[done.id]) if done else [],
    }


def _renditions(here: Services, folder: str, name: str, made: dict[str, Rendition]) -> list[dict[str, Any]]:
    stem = PurePath(name.replace("/", "_")).stem
    return [
        {"kind": kind}
        | _file(
            here,
            rendition_key(folder, kind),
            made[kind],
            Download(f"{stem}_{kind}.webp", "image/webp", inline=True),
        )
        for kind in KINDS
    ]


def _file(here: Services, key: str, row: ImageVersion | Rendition, download: Download) -> dict[str, Any]:
    storage = here.intake.storage
    full = storage.full_key(key)
    url = f"{here.cdn}/{full}" if here.cdn else storage.url(key, LINK_SECONDS, download)
    return {"key": full, "url": url, "width": row.width, "height": row.height, "size": row.size}
