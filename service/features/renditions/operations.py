"""What a client can do with images and their renditions: plain values and streams in, plain values out."""

import math
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.db.keyset import newest
from service.db.results import record_result
from service.errors import NotFound, TooLarge, Unavailable
from service.features.renditions.job import KIND
from service.features.renditions.keys import Owner, folder_of, keys_in, original_in, original_key, version_in
from service.features.renditions.models import TASK, ImageVersion, OwnedImage
from service.features.renditions.removal import remove_images
from service.features.renditions.representation import FileAddresses, show_images
from service.imaging import transform
from service.imaging.intake import Intake, Upload, pointing_at
from service.imaging.validate import Picture, printable
from service.jobs import queue
from service.jobs.executors import Executor
from service.storage.signed_urls import SignedUrls
from service.storage.temporary_credentials import Action, CredentialsIssuer


@dataclass(frozen=True)
class Services:
    """What the operations of renditions stand on. `scales` are the sizes of `KINDS`."""

    database: Database
    executor: Executor
    intake: Intake
    scales: Sequence[float]
    signed_urls: SignedUrls
    credentials_issuer: CredentialsIssuer
    files: FileAddresses


def add_image(services: Services, owner: Owner, upload: Upload, *, replacing: bool = False) -> dict[str, Any]:
    """Store an image, and start the making of its renditions.

    `replacing` lets it take the place of all that the owner had before, as soon as they are made.
    """

    def place(session: Session) -> OwnedImage:
        # One after the other, so that the last of the owner's images also has the latest time.
        services.database.lock(session, [owner.folder()])
        image = OwnedImage(
            id=str(uuid.uuid4()), owner_type=owner.type, owner_id=owner.id, replaces=replacing, created_at=now()
        )
        session.add(image)
        session.flush()
        return image

    return _accept(services, owner, upload, place)


def replace_image(services: Services, image_id: str, upload: Upload) -> dict[str, Any]:
    """Store a new version of an image; what it had before stays until the new renditions are made."""
    with services.database.read() as session:
        image = _find(session, image_id)
    return _accept(
        services, Owner(image.owner_type, image.owner_id), upload, lambda session: _find(session, image_id, lock=True)
    )


def get_image(services: Services, image_id: str) -> dict[str, Any]:
    """Return an image with its renditions."""
    with services.database.read() as session:
        return show_images(services.files, session, [_find(session, image_id)])[0]


def list_images(
    services: Services, owner: Owner | None, limit: int, before: int | None
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of images, newest first, and where the next one begins: four queries, whatever its size."""
    query = sa.select(OwnedImage.number, OwnedImage).where(*(_of(owner) if owner else ()))
    with services.database.read() as session:
        rows, end = newest(session, query, limit, before)
        return show_images(services.files, session, [image for _, image in rows]), end


def delete_image(services: Services, image_id: str) -> None:
    """Delete an image whatever is being done with it."""
    if not _delete(services, OwnedImage.id == image_id):
        raise _unknown()


def delete_of_owner(services: Services, owner: Owner) -> None:
    """Delete all images of an owner, and what clients wrote below its prefix with temporary credentials."""
    deleted = _delete(services, *_of(owner))
    try:
        deleted |= _delete_foreign(services, owner)
    except Unavailable:
        if not deleted:
            raise
    if not deleted:
        raise _unknown()


def delete_by_url(services: Services, url: str) -> None:
    """Delete the image whose original has, or had, this address or key."""
    path = services.signed_urls.key_of(url) or unquote(urlsplit(url).path)
    if not (found := original_in(path)):
        raise _unknown()
    key, version_id = found
    with services.database.read() as session:
        image = session.scalar(
            sa.select(OwnedImage)
            .join(ImageVersion, ImageVersion.image_id == OwnedImage.id)
            .where(ImageVersion.id == version_id)
        )
    if not image or key != original_key(folder_of(Owner(image.owner_type, image.owner_id), version_id)):
        raise _unknown()
    delete_image(services, image.id)


def grant(services: Services, owner: Owner, actions: Collection[Action], lifetime: int | None) -> dict[str, Any]:
    """Make temporary credentials for these actions on what lies below the owner's prefix."""
    folder = owner.folder()
    # With a slash at its end a prefix is no key, so the last part is named and taken off again.
    prefix = services.intake.storage.full_key(f"{folder}x").removesuffix("x")
    name = folder.removesuffix("/").partition("/")[2].replace("/", "=")[:64]
    given = services.credentials_issuer.issue(prefix, actions, lifetime, name)
    return asdict(given) | {"actions": sorted(set(actions))}


def _accept(services: Services, owner: Owner, upload: Upload, place: Callable[[Session], OwnedImage]) -> dict[str, Any]:
    """Check and store a file; then its row and its job, in one transaction."""
    version_id = str(uuid.uuid4())
    path = original_key(folder_of(owner, version_id))
    with services.intake.keeping([upload], [path]) as (picture,):
        with pointing_at(upload):
            _check_webp(services, upload.name, picture)
        with services.database.write() as session:
            session.connection()  # the transaction begins with it, and in SQLite the turn to write
            image = place(session)
            session.add(
                ImageVersion(
                    id=version_id,
                    image_id=image.id,
                    name=upload.name,
                    path=path,
                    url=services.files.lasting(path),
                    media_type=picture.media_type,
                    size=picture.size,
                    width=picture.width,
                    height=picture.height,
                )
            )
            session.flush()
            chosen = sa.select(ImageVersion.id, sa.literal(TASK) + ImageVersion.id, sa.literal(0))
            queue.enqueue(session, KIND, chosen.where(ImageVersion.id == version_id))
            answer = show_images(services.files, session, [image])[0]
            record_result(session, lambda: answer)
    return answer


def _check_webp(services: Services, name: str, picture: Picture) -> None:
    try:
        for scale in services.scales:
            transform.check_size(*transform.scale(scale).size(picture.width, picture.height), "image/webp")
    except TooLarge as error:
        detail = f"{printable(name)} is too large for its renditions. {error.detail}"
        raise TooLarge(detail, code=error.code, limit=error.limit) from error


def _delete(services: Services, *which: sa.ColumnElement[bool]) -> bool:
    """Delete images, if there are any: the rows, then what runs, then the files.

    Where the store is away, the job takes them later.
    """
    with services.database.write() as session:
        versions = session.scalars(
            sa.select(ImageVersion.id).join(OwnedImage, OwnedImage.id == ImageVersion.image_id).where(*which)
        ).all()
        # Whoever is saving one of them is let finish: both take other rows after these, in orders of their own.
        services.database.lock(session, [TASK + version for version in versions])
        gone = remove_images(session, *which)
    for _, version in gone:
        services.executor.cancel(TASK + version)
    with suppress(Unavailable):
        services.intake.storage.delete(*(key for folder, _ in gone for key in keys_in(folder)))
    return bool(gone)


def _delete_foreign(services: Services, owner: Owner) -> bool:
    """Delete what clients wrote below the owner's prefix, if anything; not what an upload is just writing there."""
    storage = services.intake.storage
    found = storage.keys(-math.inf, owner.folder())  # of any age, whatever the store's clock says
    keys = [key for key in found if version_in(key) is None]
    storage.delete(*keys)
    return bool(keys)


def _find(session: Session, image_id: str, *, lock: bool = False) -> OwnedImage:
    query = sa.select(OwnedImage).where(OwnedImage.id == image_id)
    image = session.scalar(query.with_for_update() if lock else query)
    if not image:
        raise _unknown()
    return image


def _unknown() -> NotFound:
    return NotFound("There is no such image. It may have been deleted.", code="image_not_found")


def _of(owner: Owner) -> tuple[sa.ColumnElement[bool], ...]:
    return OwnedImage.owner_type == owner.type, OwnedImage.owner_id == owner.id
