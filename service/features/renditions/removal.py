"""Removal of versions: their rows at once, their files by a job that outlives any crash."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.features.renditions.models import TASK, ImageVersion, OwnedImage, folders
from service.jobs import queue
from service.jobs.file_deletion import FileDeletion, delete_later


def remove_versions(
    session: Session, *which: sa.ColumnElement[bool], awaited_by: str | None = None
) -> list[tuple[str, str]]:
    """Delete the versions of which this is true, with their jobs, and leave their files to a job.

    What they waited for, the version waits for that takes their place. Return their folders and ids. The jobs go
    first: who saves has its job's row before those of the slice, too.
    """
    found = [(folder, version) for folder, version, _ in folders(session, *which)]
    for _, version in found:
        queue.remove(session, TASK + version)
        session.execute(sa.delete(ImageVersion).where(ImageVersion.id == version), execution_options=_PLAIN)
    inherited = sa.update(FileDeletion).where(FileDeletion.awaited_by.in_([version for _, version in found]))
    session.execute(inherited.values(awaited_by=awaited_by), execution_options=_PLAIN)
    delete_later(session, [folder for folder, _ in found], awaited_by)
    return found


def remove_images(
    session: Session, *which: sa.ColumnElement[bool], awaited_by: str | None = None
) -> list[tuple[str, str]]:
    """Delete the images of which this is true, as `remove_versions` does their versions.

    They are locked first, so that no version comes to one of them meanwhile.
    """
    ids = session.scalars(sa.select(OwnedImage.id).where(*which).order_by(OwnedImage.number).with_for_update()).all()
    gone = [
        found
        for image in ids
        for found in remove_versions(session, ImageVersion.image_id == image, awaited_by=awaited_by)
    ]
    for image in ids:
        session.execute(sa.delete(OwnedImage).where(OwnedImage.id == image), execution_options=_PLAIN)
    return gone


_PLAIN = {"synchronize_session": False}
