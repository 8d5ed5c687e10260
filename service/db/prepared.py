"""Statements of hot paths, compiled once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

MOST_ROWS = 512
"""Rows of an insert that go at once: SQLite takes 32,766 values."""

T = TypeVar("T")


class Prepared:
    """A statement that is compiled once and then given to the driver itself: a quarter of the cost.

    Its parameters are named by `bindparam`, in an insert by the `columns`, by default all. Values go to the driver
    unconverted, and so rows come back from it, except by `rows`: it is for texts, numbers and nulls. `lists` are those
    that are `expanding`, each with at least one value, or tuple of values. SQLAlchemy's events of statements do not
    tell of it.
    """

    def __init__(
        self, statement: sa.Executable, columns: Sequence[str] | None = None, lists: Sequence[str] = ()
    ) -> None:
        self._statement = statement
        self._columns = columns
        self._lists = lists
        self._compiled = lru_cache(self._compile)
        self._converters = lru_cache(self._find_converters)

    def execute(self, connection: sa.Connection, **values: Any) -> sa.Result[Any]:
        """Execute it with these values, and return the rows, all of which are read."""
        text, arrange = self._prepare(connection, values)
        names, rows = _execute(connection, text, arrange(values))
        return IteratorResult(_metadata(names), iter(rows))

    def rows(self, connection: sa.Connection, **values: Any) -> list[Sequence[Any]]:
        """Execute a query with these values, and return its rows with booleans and JSON as Python has them."""
        text, arrange = self._prepare(connection, values)
        _, found = _execute(connection, text, arrange(values))
        converters = self._converters(connection.dialect)
        if not converters:
            return found
        converted = [list(row) for row in found]
        for place, convert in converters:
            for row in converted:
                row[place] = convert(row[place])
        return cast(list[Sequence[Any]], converted)

    def execute_many(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for each of the rows, of which there is at least one.

        SQLite takes many rows of an insert at once. Its driver would let all other threads run between any two.
        Here they go by powers of two, so that there are few texts for it to keep.
        """
        text, arrange = self._compiled(connection.dialect)
        head, is_insert, row_of_values = text.partition(" VALUES ")
        if not is_insert or not connection.dialect.positional:
            connection.exec_driver_sql(text, [arrange(row) for row in rows])
            return
        left = [arrange(row) for row in rows]
        while left:
            number = min(MOST_ROWS, 1 << len(left).bit_length() - 1)
            values, left = left[:number], left[number:]
            many = ", ".join([row_of_values] * len(values))
            _execute(connection, f"{head} VALUES {many}", tuple(chain.from_iterable(values)))

    def _prepare(self, connection: sa.Connection, values: dict[str, Any]) -> Any:
        """Expand the lists among the values, and return the text for so many with what arranges them."""
        shapes = []
        for name in self._lists:
            listed = _padded(values.pop(name))
            is_of_tuples = isinstance(listed[0], tuple)
            shapes.append((name, len(listed), len(listed[0]) if is_of_tuples else 0))
            if is_of_tuples:
                listed = list(chain.from_iterable(listed))
            values.update(zip(_expanded_names(*shapes[-1]), listed, strict=True))
        return self._compiled(connection.dialect, *shapes)

    def _find_converters(self, dialect: sa.Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
        columns = cast(sa.Select[Any], self._statement).selected_columns
        found = [
            (place, column.type.dialect_impl(dialect).result_processor(dialect, None))
            for place, column in enumerate(columns)
            if isinstance(column.type, sa.Boolean | sa.JSON)
        ]
        return [(place, convert) for place, convert in found if convert]

    def _compile(self, dialect: sa.Dialect, *shapes: tuple[str, int, int]) -> Any:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)  # type: ignore[attr-defined]
        fixed = {name: parameter.value for name, parameter in compiled.binds.items() if not parameter.required}
        samples = {name: [(0,) * members if members else 0] * number for name, number, members in shapes}
        state = compiled.construct_expanded_state({**dict.fromkeys(compiled.binds), **samples})
        if not state.positiontup:
            return state.statement, lambda values: {**fixed, **values}
        pick = _picker(state.positiontup)
        return state.statement, lambda values: pick({**fixed, **values})


def _padded(values: Sequence[T]) -> list[T]:
    """Return the values for an `IN`, the last of them repeated until their number is a power of two.

    So there are few texts of the statement: each connection's driver keeps the last hundred compiled.
    """
    number = 1 << max(0, len(values) - 1).bit_length()
    return [*values, *(values[-1] for _ in range(number - len(values)))]


@cache
def _expanded_names(name: str, number: int, members: int) -> list[str]:
    """Return the names that SQLAlchemy gives to the values of a list, or of a list of tuples."""
    places = range(1, number + 1)
    if not members:
        return [f"{name}_{place}" for place in places]
    return [f"{name}_{place}_{member}" for place in places for member in range(1, members + 1)]


def _execute(connection: sa.Connection, text: str, values: Any) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    """Return the names of the columns, and the rows; raise the driver's errors as SQLAlchemy's.

    SQLAlchemy itself would look anew at the columns each time, which takes several times as long.
    """
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.dialect.loaded_dbapi
    with closing(connection.connection.cursor()) as cursor:
        try:
            cursor.execute(text, values)
            columns = cursor.description or ()
            return tuple([column[0] for column in columns]), list(cursor.fetchall()) if columns else []
        except driver.Error as error:
            raise sa.exc.DBAPIError.instance(text, values, error, driver.Error, dialect=connection.dialect) from error


@cache
def _metadata(names: tuple[str, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData(names)


def _picker(names: Sequence[str]) -> Any:
    """Return a function that takes these members of a mapping out, always as a tuple."""
    return itemgetter(*names) if len(names) > 1 else lambda values: (values[names[0]],)
