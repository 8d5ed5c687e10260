"""How sure an engine is of a face, how it looked at the image, and the numbers of faces, which count from 1."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

ADDED: dict[str, dict[str, Any]] = {
    "face": {
        "male_probability": sa.Double(),
        "age_low": sa.Double(),
        "age_high": sa.Double(),
        "quality_height": sa.Integer(),
        "quality_sharpness": sa.Double(),
        "quality_brightness": sa.Double(),
    },
    "image": {"engine": sa.Text(), "searched_width": sa.Integer(), "rotation": sa.Integer()},
}
COUNTERS = ("over_60", "small_faces", "unsure")


def upgrade() -> None:
    # By way of negative numbers, since a row may not have its neighbour's number even for a moment.
    op.execute("UPDATE face SET position = -position - 1")
    op.alter_column("face", "position", new_column_name="number")
    op.execute("UPDATE face SET number = -number")
    for table, columns in ADDED.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))
    for counter in COUNTERS:
        op.add_column("task", sa.Column(counter, sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for counter in COUNTERS:
        op.drop_column("task", counter)
    for table, columns in ADDED.items():
        for name in columns:
            op.drop_column(table, name)
    op.execute("UPDATE face SET number = -number")
    op.alter_column("face", "number", new_column_name="position")
    op.execute("UPDATE face SET position = -position - 1")
