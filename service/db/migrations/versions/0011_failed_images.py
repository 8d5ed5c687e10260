"""Since when an image fails."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.add_column(sa.Column("failed_at", sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.drop_column("failed_at")
