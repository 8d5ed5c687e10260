"""The tables of a result, and the forms in which they are written: Parquet, CSV, JSON lines."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

from service.features.faces.face_members import FACE_MEMBERS
from service.features.faces.tables import harmless

Kind = Literal["text", "int", "real"]
Columns = Sequence[tuple[str, Kind]]

PHOTO_COLUMNS: Columns = (
    ("path", "text"),
    ("size", "int"),  # bytes
    ("mtime_ns", "int"),  # nanoseconds since 1970, of a file
    ("etag", "text"),  # of an object
    ("digest", "text"),  # SHA-256 in hexadecimal, on request
    ("media_type", "text"),
    ("width", "int"),  # of the upright photo
    ("height", "int"),
    ("status", "text"),  # done, failed or duplicate
    ("error_code", "text"),
    ("error_detail", "text"),
    ("searched_width", "int"),
    ("rotation", "int"),
    ("faces", "int"),
    ("milliseconds", "real"),
    ("duplicate_of", "text"),  # the path of the photo with the same bytes that was worked on
)
_TEXTS = frozenset(("gender",))
_REALS = frozenset(
    ("age", "score", "male_probability", "age_low", "age_high", "quality_sharpness", "quality_brightness")
)
FACE_COLUMNS: Columns = (
    ("path", "text"),
    *((name, "text" if name in _TEXTS else "real" if name in _REALS else "int") for name in FACE_MEMBERS),
)

FORMATS = ("parquet", "csv", "jsonl")
PARQUET_MISSING = "Parquet needs a package that is not installed: pip install 'headcount[parquet]'"


def has_parquet() -> bool:
    """Return whether Parquet can be written here."""
    return find_spec("pyarrow") is not None


class Form(Protocol):
    """A way to write a table into a file."""

    suffix: str

    def write(self, file: Path, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Write the rows; what is in the file before is lost."""

    def read(self, file: Path, columns: Columns) -> Iterator[tuple[Any, ...]]:
        """Yield these columns of the rows."""

    def text(self, path: str) -> str:
        """Return a path as it is read back."""


def form_of(name: str) -> Form:
    """Return the form of one of the FORMATS."""
    forms: dict[str, Callable[[], Form]] = {"parquet": Parquet, "csv": Csv, "jsonl": JsonLines}
    return forms[name]()


class Parquet:
    """Apache Parquet by pyarrow; a file is one row group."""

    suffix = ".parquet"

    def write(self, file: Path, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Write the rows, compressed by zstd."""
        import pyarrow as pa
        import pyarrow.json
        import pyarrow.parquet as pq

        types = {"text": pa.string(), "int": pa.int64(), "real": pa.float64()}
        schema = pa.schema([(name, types[kind]) for name, kind in columns])
        # By way of JSON, since arrays from Python's objects import pandas wherever it is installed: 50 MB.
        data = _json_lines(columns, rows)
        reading = pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1)
        parsing = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
        table = pa.json.read_json(io.BytesIO(data), reading, parsing) if rows else schema.empty_table()
        pq.write_table(table, file, compression="zstd")

    def read(self, file: Path, columns: Columns) -> Iterator[tuple[Any, ...]]:
        """Yield these columns of the rows."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(file) as opened:
            table = opened.read(columns=[name for name, _ in columns], use_threads=False)
        return zip(*(table.column(name).to_pylist() for name, _ in columns), strict=True)

    def text(self, path: str) -> str:
        """Return it as it is."""
        return path


class Csv:
    """RFC 4180 in UTF-8, safe to open in a spreadsheet program."""

    suffix = ".csv"

    def write(self, file: Path, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Write the rows under the names of the columns."""
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([harmless(name) for name, _ in columns])
            writer.writerows([harmless(value) if isinstance(value, str) else value for value in row] for row in rows)

    def read(self, file: Path, columns: Columns) -> Iterator[tuple[Any, ...]]:
        """Yield these columns of the rows; an empty cell is None."""
        casts: dict[Kind, Callable[[str], Any]] = {"text": str, "int": int, "real": float}
        with file.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            names = next(rows)
            places = [(names.index(harmless(name)), casts[kind]) for name, kind in columns]
            for row in rows:
                yield tuple(cast(row[place]) if row[place] else None for place, cast in places)

    def text(self, path: str) -> str:
        """Return what no spreadsheet program takes for a formula."""
        return harmless(path)


class JsonLines:
    """One JSON object a line."""

    suffix = ".jsonl"

    def write(self, file: Path, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Write the rows."""
        file.write_bytes(_json_lines(columns, rows))

    def read(self, file: Path, columns: Columns) -> Iterator[tuple[Any, ...]]:
        """Yield these columns of the rows."""
        with file.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                yield tuple(row[name] for name, _ in columns)

    def text(self, path: str) -> str:
        """Return it as it is."""
        return path


def _json_lines(columns: Columns, rows: Sequence[Sequence[Any]]) -> bytes:
    names = [name for name, _ in columns]
    lines = [orjson.dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows]
    return b"".join(lines)


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is there whole or not at all, whatever happens to the machine."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".new-{file.name}.unfinished")
    try:
        write(unfinished)
        _sync(unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(file.parent)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_json(file: Path, value: object) -> None:
    """Write one JSON document, indented, whole or not at all."""
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_whole(file, lambda unfinished: _write(unfinished, [data]))


def _write(file: Path, pieces: Iterable[bytes]) -> None:
    with file.open("wb") as stream:
        stream.writelines(pieces)


def write_pieces(file: Path, pieces: Iterable[bytes]) -> None:
    """Write a file piece by piece, whole or not at all."""
    write_whole(file, lambda unfinished: _write(unfinished, pieces))
