"""What a source says of a question: its own date, its difficulty, its value."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

COLUMNS = (("asked_at", sa.String(length=24)), ("difficulty", sa.String(length=32)), ("value", sa.Integer()))


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("question", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name, _ in COLUMNS:
        op.drop_column("question", name)
