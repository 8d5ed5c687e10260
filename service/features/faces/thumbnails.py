"""Small copies of a task's images for the page, made when they are first asked for and kept in the store."""

import io
from contextlib import suppress

from service.errors import NoRoom, Unavailable
from service.features.faces.models import image_key, thumbnail_key
from service.features.faces.operations import Services, find_image, unknown_image
from service.imaging.decode import thumbnail as make_thumbnail

SIDE = 480
"""Pixels of the longer side, at most: sharp on a dense screen, some 30 KB a photo."""
MEDIA_TYPE = "image/jpeg"
PATIENCE = 30
"""Seconds that a request waits for its turn."""
_BUSY = "Too many thumbnails are being made. Try again in a few seconds."


def read_thumbnail(services: Services, task_id: str, image_id: str) -> bytes:
    """Return the thumbnail, made now if need be: an upright JPEG without metadata."""
    _check_image(services, task_id, image_id)
    key = thumbnail_key(task_id, image_id)
    with suppress(FileNotFoundError):
        return services.storage.read(key)
    with services.drawings.hold(PATIENCE, _BUSY, retry_after=2):
        with suppress(FileNotFoundError):  # made while this request waited
            return services.storage.read(key)
        return _make(services, task_id, image_id)


def _make(services: Services, task_id: str, image_id: str) -> bytes:
    try:
        thumbnail = make_thumbnail(services.storage.read(image_key(task_id, image_id)), SIDE, services.intake.pixels)
        with suppress(NoRoom, Unavailable):  # a store that takes nothing now is no reason to show nothing
            services.storage.save(thumbnail_key(task_id, image_id), io.BytesIO(thumbnail))
    except FileNotFoundError as error:  # deleted meanwhile, the folder too
        raise unknown_image() from error
    _forget_if_deleted(services, task_id, image_id)
    return thumbnail


def _forget_if_deleted(services: Services, task_id: str, image_id: str) -> None:
    """Remove what was saved after a deletion had removed the files. The row goes before the files: no row, no file."""
    try:
        _check_image(services, task_id, image_id)
    except Exception:
        with suppress(Unavailable):  # then the sweep takes it
            services.storage.delete(thumbnail_key(task_id, image_id))
        raise


def _check_image(services: Services, task_id: str, image_id: str) -> None:
    with services.database.read() as session:
        find_image(session, task_id, image_id)
