"""Outages, and what they cost: time for what was not served, attempts for what was answered."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "outage",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("wait", sa.Double(), nullable=False),
        sa.Column("is_asked", sa.Boolean(), nullable=False),
        sa.Column("next_try", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_outage")),
    )
    # Not by a copy of the table, which would forget that ids are never given twice.
    op.add_column("job", sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("job", sa.Column("unserved_since", sa.Double(), nullable=True))
    op.alter_column("job", "attempt", new_column_name="fence")
    # What was counted up to now had no answer, or was a webhook's, whose waits grow with its attempts.
    op.execute("UPDATE job SET attempts = fence WHERE kind = 'webhook' AND status = 'queued'")
    op.execute("UPDATE job SET attempts = fence - 1 WHERE kind = 'webhook' AND status = 'running'")
    with op.batch_alter_table("image") as image:
        image.drop_column("failed_at")


def downgrade() -> None:
    with op.batch_alter_table("image") as image:
        image.add_column(sa.Column("failed_at", sa.Double(), nullable=True))
    op.alter_column("job", "fence", new_column_name="attempt")
    op.drop_column("job", "unserved_since")
    op.drop_column("job", "attempts")
    op.drop_table("outage")
