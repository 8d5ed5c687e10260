"""The table and the jobs of file deletions bear the name of no feature; what waits is carried over."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.drop_index(op.f("ix_image_leftover_awaited_by"), "image_leftover")
    op.rename_table("image_leftover", "file_deletion")
    op.alter_column("file_deletion", "folder", new_column_name="name")
    op.create_index(op.f("ix_file_deletion_awaited_by"), "file_deletion", ["awaited_by"])
    rename_constraints("image_leftover", "file_deletion")
    rename_jobs("renditions.removal", "file_deletion")


def downgrade() -> None:
    op.drop_index(op.f("ix_file_deletion_awaited_by"), "file_deletion")
    op.alter_column("file_deletion", "name", new_column_name="folder")
    op.rename_table("file_deletion", "image_leftover")
    op.create_index(op.f("ix_image_leftover_awaited_by"), "image_leftover", ["awaited_by"])
    rename_constraints("file_deletion", "image_leftover")
    rename_jobs("file_deletion", "renditions.removal")


def rename_constraints(old: str, new: str) -> None:
    """Rename what does not follow the table in PostgreSQL. In SQLite nothing refers to the constraint by its name."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT pk_{old} TO pk_{new}")
        op.execute(f"ALTER SEQUENCE {old}_id_seq RENAME TO {new}_id_seq")


def rename_jobs(old: str, new: str) -> None:
    job = sa.table("job", sa.column("kind"), sa.column("task"), sa.column("subject"))
    # The task of such a job is the kind with the row's id.
    values = {"kind": new, "task": sa.literal(f"{new}/", sa.String) + job.c.subject}
    op.execute(sa.update(job).where(job.c.kind == old).values(values))
