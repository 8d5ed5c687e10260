"""The digests of images' bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.add_column(sa.Column("digest", sa.String(72), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.drop_column("digest")
