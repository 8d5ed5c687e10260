"""Which version of an image waits for the removal of what it replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("image_leftover", sa.Column("awaited_by", sa.String(length=36), nullable=True))
    op.create_index(op.f("ix_image_leftover_awaited_by"), "image_leftover", ["awaited_by"])


def downgrade() -> None:
    op.drop_index(op.f("ix_image_leftover_awaited_by"), "image_leftover")
    op.drop_column("image_leftover", "awaited_by")
