"""Reviews: random samples of photos, and which of them a person has checked."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("left_out", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_review_task_id_task", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
    )
    op.create_index("ix_review_task_id_created_at_id", "review", ["task_id", "created_at", "id"])
    op.create_table(
        "review_photo",
        sa.Column("review_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.String(36), nullable=False),
        sa.Column("reviewed_at", sa.String(24), nullable=True),
        sa.ForeignKeyConstraint(
            ["review_id"], ["review.id"], name="fk_review_photo_review_id_review", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_review_photo_image_id_image", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("review_id", "position", name="pk_review_photo"),
    )
    op.create_index("ix_review_photo_image_id", "review_photo", ["image_id"])


def downgrade() -> None:
    op.drop_table("review_photo")
    op.drop_table("review")
