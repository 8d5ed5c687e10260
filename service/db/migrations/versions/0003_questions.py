"""Questions, and what is known of their sources."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "question",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("category", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_question")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_question_fingerprint")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_question_source_external_id")),
        sqlite_autoincrement=True,
    )
    sources = op.create_table(
        "question_source",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("last_call_at", sa.Double(), nullable=False),
        sa.Column("token", sa.String(length=128), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_question_source")),
    )
    op.bulk_insert(sources, [{"name": name, "last_call_at": 0.0} for name in ("order", "opentdb")])


def downgrade() -> None:
    op.drop_table("question_source")
    op.drop_table("question")
