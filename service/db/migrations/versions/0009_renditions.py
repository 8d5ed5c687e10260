"""Images of owners, their versions and renditions."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "owned_image",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner_type", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=64), nullable=False),
        sa.Column("replaces", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_owned_image")),
        sa.UniqueConstraint("id", name=op.f("uq_owned_image_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("owned_image", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_owned_image_owner_type_owner_id_number"), ["owner_type", "owner_id", "number"], unique=False
        )
    op.create_table(
        "image_version",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("image_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error_detail", sa.String(length=500), nullable=True),
        sa.ForeignKeyConstraint(
            ["image_id"], ["owned_image.id"], name=op.f("fk_image_version_image_id_owned_image"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_image_version")),
        sa.UniqueConstraint("id", name=op.f("uq_image_version_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("image_version", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_version_image_id_number"), ["image_id", "number"], unique=False)
    op.create_table(
        "rendition",
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["image_version.id"], name=op.f("fk_rendition_version_id_image_version"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version_id", "kind", name=op.f("pk_rendition")),
    )
    op.create_table(
        "image_leftover",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(length=220), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_leftover")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("image_leftover")
    op.drop_table("rendition")
    op.drop_table("image_version")
    op.drop_table("owned_image")
