"""Webhooks: where a task's end is told, and what is still to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("task", sa.Column("webhook_url", sa.String(length=2000), nullable=True))
    op.create_table(
        "webhook_event",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["task.id"], name=op.f("fk_webhook_event_task_id_task"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_event")),
    )
    op.create_index(op.f("ix_webhook_event_task_id"), "webhook_event", ["task_id"])


def downgrade() -> None:
    op.drop_table("webhook_event")
    op.drop_column("task", "webhook_url")
