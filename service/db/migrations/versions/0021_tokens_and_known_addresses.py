"""Tokens of users that are revoked, and the addresses from which users logged in."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    with op.batch_alter_table("User") as user:
        user.add_column(sa.Column("token_generation", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "revoked_token",
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_revoked_token"),
    )
    op.create_index("ix_revoked_token_expires_at", "revoked_token", ["expires_at"])
    op.create_table(
        "known_address",
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["User.id"], name="fk_known_address_user_id_User", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "address", name="pk_known_address"),
    )


def downgrade() -> None:
    op.drop_table("known_address")
    op.drop_table("revoked_token")
    with op.batch_alter_table("User") as user:
        user.drop_column("token_generation")
