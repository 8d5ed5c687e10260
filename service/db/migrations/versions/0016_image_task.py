"""The table `ImageTask` as other programs read it: a UUID, the file's name as link, times as timestamps.

The old integer stays as `number`, the storage key as `key`: stored objects keep theirs. On the way down the link is the
key again; a UUID that another way up gives is another one.
"""

import re
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

CHUNK = 500
Rewritten = Callable[[sa.ColumnElement[str]], sa.ColumnElement[str]]
ROWS = "image_task_rows"
# Keys as they were, `…/<n>-<suffix>`, and as they are since this revision, `…/<n>/<name>_<suffix>.<ext>`.
_KEY = re.compile(r"augmentation/[^/]+/(\d+)(?:-(\w+)|/.*_(\w+)\.\w+)", re.DOTALL)
_EXTENSION = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,4})$")
TIME = sa.DateTime(timezone=True)
TEXT = sa.String(length=24)


def upgrade() -> None:
    change_users(TIME, lambda column: sa.func.replace(sa.func.replace(column, "T", " "), "Z", "000"))
    take_out()
    new = op.create_table(
        "ImageTask",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("suffix", sa.String(length=16), nullable=False),
        sa.Column("img_link", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        foreign_key(),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_ImageTask")),
        sa.UniqueConstraint("id", name=op.f("uq_ImageTask_id")),
        sa.UniqueConstraint("key", name=op.f("uq_ImageTask_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ImageTask_task_id_position"), "ImageTask", ["task_id", "position"])
    for rows in chunks("id"):
        names = names_of({row.task_id for row in rows})
        op.bulk_insert(new, [upgraded(row, names) for row in rows])
    end("number")


def downgrade() -> None:
    change_users(TEXT, lambda column: sa.func.replace(sa.func.substr(column, 1, 23), " ", "T") + "Z")
    take_out()
    old = op.create_table(
        "ImageTask",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("img_link", sa.String(length=400), nullable=False),  # longer than it was: keys have names by now
        sa.Column("created_at", TEXT, nullable=False),
        foreign_key(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ImageTask")),
        sa.UniqueConstraint("img_link", name=op.f("uq_ImageTask_img_link")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_ImageTask_task_id"), "ImageTask", ["task_id"])
    for rows in chunks("number"):
        op.bulk_insert(
            old,
            [
                {"id": row.number, "task_id": row.task_id, "img_link": row.key, "created_at": text_of(row.created_at)}
                for row in rows
            ],
        )
    end("id")


def upgraded(row: sa.Row[Any], names: dict[tuple[str, int], tuple[str, str]]) -> dict[str, object]:
    found = _KEY.fullmatch(row.img_link)
    if not found:
        raise ValueError(f"ImageTask {row.id} has a link that is no key of this service: {row.img_link}")
    position, suffix = int(found[1]), found[2] or found[3]
    name, media_type = names[row.task_id, position]
    return {
        "number": row.id,
        "id": str(uuid.uuid4()),
        "task_id": row.task_id,
        "position": position,
        "suffix": suffix,
        "img_link": file_name(name, suffix, media_type),
        "key": row.img_link,
        "created_at": datetime.fromisoformat(row.created_at),
    }


def file_name(name: str, suffix: str, media_type: str) -> str:
    found = _EXTENSION.search(name)
    stem, extension = (name[: found.start()], found[1]) if found else (name, "")
    fitting = {"image/jpeg": ("jpg", "jpeg"), "image/png": ("png",)}[media_type]
    stem = stem[:200] if stem.strip(" .") else "image"
    return f"{stem}_{suffix}.{extension if extension.lower() in fitting else fitting[0]}"


def text_of(moment: datetime | str) -> str:
    """Return a time as text; SQLite gives what is in the copy of the table as it stands there."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def foreign_key() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["task_id"], ["augmentation_task.id"], name=op.f("fk_ImageTask_task_id_augmentation_task"), ondelete="CASCADE"
    )


def take_out() -> None:
    """Put the rows aside and drop the table, so that the new one can have the names of its constraints."""
    op.execute(f'CREATE TABLE {ROWS} AS SELECT * FROM "ImageTask"')  # noqa: S608 - of constants
    op.drop_table("ImageTask")


def chunks(number: str) -> Iterable[list[sa.Row[Any]]]:
    """Yield the rows that were put aside, in the order of their numbers."""
    connection, last = op.get_bind(), -1
    if connection.dialect.name == "postgresql":
        op.execute("SET LOCAL TIME ZONE 'UTC'")
    page = sa.text(f"SELECT * FROM {ROWS} WHERE {number} > :last ORDER BY {number} LIMIT {CHUNK}")  # noqa: S608
    while rows := list(connection.execute(page, {"last": last})):
        yield rows
        last = getattr(rows[-1], number)


def names_of(tasks: set[str]) -> dict[tuple[str, int], tuple[str, str]]:
    image = sa.table("augmentation_image", *map(sa.column, ("task_id", "position", "name", "media_type")))
    query = sa.select(image).where(image.c.task_id.in_(tasks))
    return {(row.task_id, row.position): (row.name, row.media_type) for row in op.get_bind().execute(query)}


def end(number: str) -> None:
    """Drop what was put aside, and go on counting after the last number."""
    op.execute(f"DROP TABLE {ROWS}")
    if op.get_bind().dialect.name == "postgresql":
        sequence = f"pg_get_serial_sequence('\"ImageTask\"', '{number}')"
        op.execute(f'SELECT setval({sequence}, coalesce(max({number}), 0) + 1, false) FROM "ImageTask"')  # noqa: S608


def change_users(kind: sa.DateTime | sa.String, rewritten: Rewritten) -> None:
    """Change the type of a user's time. SQLite cannot, so there the table is made anew; what refers to it stays."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL TIME ZONE 'UTC'")
        using = (
            "created_at::timestamptz" if kind is TIME else """to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
        )
        op.alter_column("User", "created_at", type_=kind, existing_nullable=False, postgresql_using=using)
        return
    op.execute('CREATE TABLE user_rows AS SELECT * FROM "User"')
    op.drop_table("User")
    new = op.create_table(
        "User",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("password", sa.String(length=200), nullable=False),
        sa.Column("created_at", kind, nullable=False),
        sa.Column("first_name", sa.String(length=200), nullable=True),
        sa.Column("last_name", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_User")),
        sa.UniqueConstraint("email", name=op.f("uq_User_email")),
    )
    names = [column.name for column in new.columns]
    aside = sa.table("user_rows", *map(sa.column, names))
    values = [rewritten(aside.c[name]) if name == "created_at" else aside.c[name] for name in names]
    op.execute(sa.insert(new).from_select(names, sa.select(*values)))
    op.execute("DROP TABLE user_rows")
