"""Files and tasks of processing."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "processing_file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processing_file")),
        sa.UniqueConstraint("key", name=op.f("uq_processing_file_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "processing_task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.String(length=26), nullable=False),
        sa.Column("updated_at", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["result_id"],
            ["processing_file.id"],
            name=op.f("fk_processing_task_result_id_processing_file"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processing_task")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("processing_task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_processing_task_source_id_status"), ["source_id", "status"], unique=False)
        batch_op.create_index(batch_op.f("ix_processing_task_result_id"), ["result_id"], unique=False)


def downgrade() -> None:
    op.drop_table("processing_task")
    op.drop_table("processing_file")
