"""What changed of a task after a version: the version of each image, and the images that were taken out."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("image", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "removed_image",
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_removed_image_task_id_task", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "id", name="pk_removed_image"),
    )


def downgrade() -> None:
    op.drop_table("removed_image")
    op.drop_column("image", "version")
