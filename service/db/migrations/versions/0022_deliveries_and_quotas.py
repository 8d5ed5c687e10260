"""What became of each webhook, which is kept with its task; and the bytes of uploads for augmentation."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    with op.batch_alter_table("webhook_event") as event:
        event.add_column(sa.Column("created_at", sa.String(32), nullable=False, server_default=""))
        event.add_column(sa.Column("status", sa.String(16), nullable=False, server_default="pending"))
        event.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
        event.add_column(sa.Column("tried_at", sa.String(32), nullable=True))
        event.add_column(sa.Column("answer", sa.Integer(), nullable=True))
        event.add_column(sa.Column("detail", sa.Text(), nullable=True))
    with op.batch_alter_table("augmentation_task") as task:
        size = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        task.add_column(sa.Column("size", size, nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("augmentation_task") as task:
        task.drop_column("size")
    op.execute("DELETE FROM webhook_event WHERE status IN ('delivered', 'failed')")
    with op.batch_alter_table("webhook_event") as event:
        for name in ("detail", "answer", "tried_at", "attempts", "status", "created_at"):
            event.drop_column(name)
