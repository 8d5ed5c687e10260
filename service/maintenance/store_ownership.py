"""Whether the files in the store are this database's to remove: decided once, when the two first meet."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.db.database import Database, Model

NEVER_EMPTY = frozenset(("share", "question_source", "store"))
"""The tables with rows also where nobody has ever asked for anything."""


class Store(Model):
    """The one row of what was decided; until there is one, a database with any other row is taken at its word."""

    __tablename__ = "store"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    is_ours: Mapped[bool]


def is_ours(session: Session) -> bool:
    """Return whether files without a row are waste here, and not the work of another database."""
    decided = session.scalar(sa.select(Store.is_ours))
    return _is_in_use(session) if decided is None else decided


def is_decided(database: Database) -> bool:
    """Return whether this database has met the store before."""
    with database.read() as session:
        return session.scalar(sa.select(Store.is_ours)) is not None


def record(database: Database, ours: bool, *, anew: bool = False) -> None:
    """Write down whether they are, unless it was decided before; `anew` is for a person who says so."""
    with database.read() as session:
        decided = session.scalar(sa.select(Store.is_ours))
    if decided is not None and (decided is ours or not anew):
        return
    with database.write() as session:
        database.lock(session, ["store"])
        row = session.get(Store, 1)
        if row is None:
            session.add(Store(id=1, is_ours=ours))
        elif anew:
            row.is_ours = ours


def _is_in_use(session: Session) -> bool:
    tables = [table for name, table in Model.metadata.tables.items() if name not in NEVER_EMPTY]
    return any(session.scalar(sa.select(sa.exists().select_from(table))) for table in tables)
