"""Pages of a user's history and of a task's deliveries are found by an index, without a sort."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_index("ix_webhook_event_task_id_created_at_id", "webhook_event", ["task_id", "created_at", "id"])
    op.drop_index("ix_webhook_event_task_id", "webhook_event")
    op.add_column("augmentation_image", sa.Column("user_id", sa.String(36), server_default="", nullable=False))
    op.execute(
        "UPDATE augmentation_image SET user_id ="
        " (SELECT user_id FROM augmentation_task WHERE augmentation_task.id = augmentation_image.task_id)"
    )
    op.create_index("ix_augmentation_image_user_id_id", "augmentation_image", ["user_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_augmentation_image_user_id_id", "augmentation_image")
    op.drop_column("augmentation_image", "user_id")
    op.create_index("ix_webhook_event_task_id", "webhook_event", ["task_id"])
    op.drop_index("ix_webhook_event_task_id_created_at_id", "webhook_event")
