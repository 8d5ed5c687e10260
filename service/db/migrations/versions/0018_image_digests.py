"""The digests of images' bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.add_column(sa.Column("digest", sa.String(72), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.drop_column("digest")
