"""What must hold among the tasks of augmentation, their images, their files and their jobs."""

import sqlalchemy as sa

from service.features.augmentation.job import KIND
from service.features.augmentation.models import AugmentationImage, ImageTask
from service.jobs.queue import open_subjects
from service.maintenance.checks import Check, Inspection, Stored

INSPECTION = Inspection(
    checks=(
        Check(
            key=AugmentationImage.id,
            wrong=sa.select(AugmentationImage.id, AugmentationImage.task_id).where(
                AugmentationImage.status == "pending",
                sa.cast(AugmentationImage.id, sa.String).not_in(open_subjects(KIND)),
            ),
            sentence="Image {id} of augmentation task {task_id} is pending, and no job will copy it.",
        ),
    ),
    files=(
        Stored(
            key=ImageTask.id,
            rows=sa.select(ImageTask.id, ImageTask.key),
            name=lambda row: str(row.key),
            sentence="File {id} of augmentation is not in the store at {key}: put it back from a backup.",
        ),
    ),
)
