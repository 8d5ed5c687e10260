"""Pages of a list that is ordered by a number, which new rows have the highest of."""

from collections.abc import Sequence
from typing import Any, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

Ts = TypeVarTuple("Ts")


def newest(
    session: Session, query: "sa.Select[*Ts]", limit: int, before: int | None
) -> "tuple[Sequence[sa.Row[*Ts]], int | None]":
    """Return up to `limit` rows of a query, the newest first, and where the next page begins, or None.

    The first column is the number; only rows below `before` count, if it is given.
    """
    number: sa.ColumnElement[Any] = query.selected_columns[0]
    page = query.order_by(number.desc()).limit(limit + 1)
    if before is not None:
        page = page.where(number < before)
    rows = session.execute(page).all()
    last: Any = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], last[0] if last else None
