"""What must hold among recordings and their files."""

import sqlalchemy as sa

from service.features.recordings.models import Recording, recording_key
from service.maintenance.checks import Inspection, Stored

INSPECTION = Inspection(
    files=(
        Stored(
            key=Recording.id,
            rows=sa.select(Recording.id, Recording.user_id),
            name=lambda row: recording_key(row.user_id, row.id),
            sentence="Recording {id} of user {user_id} has no file in the store: put it back from a backup.",
        ),
    )
)
