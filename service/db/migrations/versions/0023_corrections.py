"""What people correct: faces beside the engine's own answer, faces that are none, and faces that were missed."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("face", sa.Column("corrected", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("face", sa.Column("is_face", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("face", sa.Column("detected", sa.JSON(), nullable=True))
    op.add_column("image", sa.Column("last_added", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("image", "last_added")
    for name in ("detected", "is_face", "corrected"):
        op.drop_column("face", name)
