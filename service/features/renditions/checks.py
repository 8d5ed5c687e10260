"""What must hold among images, their versions, their files and their jobs."""

import sqlalchemy as sa

from service.features.renditions.job import KIND
from service.features.renditions.keys import KINDS, Owner, folder_of, original_key, rendition_key
from service.features.renditions.models import ImageVersion, OwnedImage, Rendition
from service.jobs.queue import open_subjects
from service.maintenance.checks import Check, Inspection, Row, Stored

_owner = (OwnedImage.owner_type, OwnedImage.owner_id)


def _folder(row: Row) -> str:
    return folder_of(Owner(row.owner_type, row.owner_id), row.id)


def _renditions(kind: str) -> Stored:
    return Stored(
        key=Rendition.version_id,
        rows=sa.select(Rendition.version_id.label("id"), *_owner, Rendition.kind)
        .join(ImageVersion, ImageVersion.id == Rendition.version_id)
        .join(OwnedImage)
        .where(Rendition.kind == kind),
        name=lambda row: rendition_key(_folder(row), kind),
        sentence="Rendition {kind} of version {id} is not in the store: replace its image with the same one.",
    )


INSPECTION = Inspection(
    checks=(
        Check(
            key=ImageVersion.id,
            wrong=sa.select(ImageVersion.id, ImageVersion.image_id).where(
                ImageVersion.status == "pending", ImageVersion.id.not_in(open_subjects(KIND))
            ),
            sentence="Version {id} of image {image_id} is pending, and no job will make its renditions.",
        ),
    ),
    files=(
        Stored(
            key=ImageVersion.id,
            rows=sa.select(ImageVersion.id, *_owner).join(OwnedImage),
            name=lambda row: original_key(_folder(row)),
            sentence="The original of version {id} is not in the store: put it back from a backup.",
        ),
        *map(_renditions, KINDS),
    ),
)
