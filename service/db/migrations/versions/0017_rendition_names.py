"""The names, paths and lasting addresses of renditions as columns. A path is the storage key, as it always was.

Addresses of a CDN stand in the settings, so rows that are there get none.
"""

import hashlib
from pathlib import PurePath

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

VERSION = sa.table("image_version", *map(sa.column, ("id", "image_id", "name", "path")))
IMAGE = sa.table("owned_image", *map(sa.column, ("id", "owner_type", "owner_id")))
RENDITION = sa.table("rendition", *map(sa.column, ("version_id", "kind", "name", "path")))


def upgrade() -> None:
    # SQLite adds no column that must have a value without a default.
    for table in ("image_version", "rendition"):
        op.add_column(table, sa.Column("path", sa.String(length=300), nullable=False, server_default=""))
        op.add_column(table, sa.Column("url", sa.String(length=2000), nullable=True))
    op.add_column("rendition", sa.Column("name", sa.String(length=300), nullable=False, server_default=""))
    connection = op.get_bind()
    there = sa.select(VERSION.c.id, VERSION.c.name, IMAGE.c.owner_type, IMAGE.c.owner_id)
    for version in connection.execute(there.join(IMAGE, IMAGE.c.id == VERSION.c.image_id)).all():
        folder = f"images/{version.owner_type}/{folder_name(version.owner_id)}/{version.id}"
        connection.execute(sa.update(VERSION).where(VERSION.c.id == version.id).values(path=f"{folder}/original"))
        stem = PurePath(version.name.replace("/", "_")).stem
        connection.execute(
            sa.update(RENDITION)
            .where(RENDITION.c.version_id == version.id)
            .values(
                path=sa.literal(f"{folder}/", sa.String) + RENDITION.c.kind + ".webp",
                name=sa.literal(f"{stem}_", sa.String) + RENDITION.c.kind + ".webp",
            )
        )


def downgrade() -> None:
    for table, columns in (("rendition", ("name", "url", "path")), ("image_version", ("url", "path"))):
        for column in columns:
            op.drop_column(table, column)


def folder_name(owner_id: str) -> str:
    encoded = "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"_-" else f".{byte:02x}"
        for byte in owner_id.encode()
    )
    if len(encoded) <= 128:
        return encoded
    return f"{encoded[:48]}.x{hashlib.sha256(owner_id.encode()).hexdigest()}"
