"""What must hold among the files and tasks of processing, and their jobs."""

import sqlalchemy as sa

from service.features.processing.job import KIND
from service.features.processing.models import ProcessingFile, ProcessingTask
from service.jobs.queue import open_subjects
from service.maintenance.checks import Check, Inspection, Stored

INSPECTION = Inspection(
    checks=(
        Check(
            key=ProcessingTask.id,
            wrong=sa.select(ProcessingTask.id, ProcessingTask.status).where(
                ProcessingTask.status.in_(("pending", "processing")),
                sa.cast(ProcessingTask.id, sa.String).not_in(open_subjects(KIND)),
            ),
            sentence="Processing task {id} is {status}, and no job will do it.",
        ),
    ),
    files=(
        Stored(
            key=ProcessingFile.id,
            rows=sa.select(ProcessingFile.id, ProcessingFile.key),
            name=lambda row: str(row.key),
            sentence="Processing file {id} is not in the store at {key}: put it back from a backup.",
        ),
    ),
)
