"""The folder of a result: parts of photos and faces, what made them, and a summary."""

import fcntl
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from service.features.faces.analyze.tables import (
    FACE_COLUMNS,
    PARQUET_MISSING,
    PHOTO_COLUMNS,
    Columns,
    Form,
    form_of,
    has_parquet,
    write_json,
    write_whole,
)

RUN, SUMMARY, INDEX, LOCK = "run.json", "summary.json", ".index.sqlite", ".lock"
_PART = re.compile(r"part-(\d{5,})\.(parquet|csv|jsonl)")

Row = Sequence[Any]


class BadResult(Exception):
    """A folder cannot be used as a result; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A photo of a result, by the names of PHOTO_COLUMNS and of its list, and its faces as FACE_COLUMNS."""

    members: Mapping[str, Any]
    faces: Sequence[Row] = field(default_factory=tuple)


class ResultFolder:
    """Parts are numbered files of two tables. A part counts once its photos are there; its faces are there before."""

    def __init__(self, folder: Path, form: Form, columns: Sequence[str] = ()) -> None:
        """Use a folder whose photos have these columns of a list beside their own."""
        self.folder = folder
        self._form = form
        self.photo_columns: Columns = (*PHOTO_COLUMNS, *((list_column(name), "text") for name in columns))

    @classmethod
    def open(cls, folder: Path) -> "ResultFolder":
        """Return the result that is in a folder; raise `BadResult` where there is none."""
        run = read_run(folder)
        if run is None:
            raise BadResult(f"{folder} has no result: there is no {RUN} in it.")
        if run["format"] == "parquet" and not has_parquet():
            raise BadResult(f"{folder} is in Parquet. {PARQUET_MISSING}")
        return cls(folder, form_of(run["format"]), run["columns"])

    def text(self, path: str) -> str:
        """Return a path as this result has it."""
        return self._form.text(path)

    def parts(self) -> list[int]:
        """Return the numbers of the parts, in order."""
        names = os.listdir(self.folder / "photos") if (self.folder / "photos").is_dir() else []  # noqa: PTH208
        return sorted(int(found[1]) for name in names if (found := _PART.fullmatch(name)))

    def write(self, part: int, photos: Sequence[Row], faces: Sequence[Row]) -> None:
        """Write a part whole: faces first, and with its photos it counts."""
        write_whole(self._file("faces", part), lambda file: self._form.write(file, FACE_COLUMNS, faces))
        write_whole(self._file("photos", part), lambda file: self._form.write(file, self.photo_columns, photos))

    def photos(self, part: int, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield these columns of a part's photos, by default all."""
        return self._form.read(self._file("photos", part), _chosen(self.photo_columns, names))

    def faces(self, part: int, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield these of FACE_COLUMNS of a part's faces, by default all."""
        return self._form.read(self._file("faces", part), _chosen(FACE_COLUMNS, names))

    def drop(self, part: int, paths: Collection[str]) -> None:
        """Take photos out of a part: newer parts have them."""
        photos = [row for row in self.photos(part) if row[0] not in paths]
        if photos:
            self.write(part, photos, [row for row in self.faces(part) if row[0] not in paths])
            return
        self._file("faces", part).unlink(missing_ok=True)
        self._file("photos", part).unlink()

    def sweep(self) -> None:
        """Remove what a run left that was killed: files without an end, and faces whose photos are not there."""
        numbers = set(self.parts())
        for table in ("photos", "faces"):
            for file in (self.folder / table).glob("*"):
                found = _PART.fullmatch(file.name)
                if file.name.endswith(".unfinished") or (found and int(found[1]) not in numbers):
                    file.unlink()

    def write_summary(self, summary: object) -> None:
        """Write summary.json."""
        write_json(self.folder / SUMMARY, summary)

    def write_run(self, run: object) -> None:
        """Write run.json."""
        write_json(self.folder / RUN, run)

    def lock(self) -> Callable[[], None]:
        """Keep other runs out until the process ends or calls what this returns; raise `BadResult` if one is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(opened)
            raise BadResult(f"Another run is at work in {self.folder}: wait for its end, or stop it.") from error
        return lambda: os.close(opened)

    def _file(self, table: str, part: int) -> Path:
        return self.folder / table / f"part-{part:05}{self._form.suffix}"


def _chosen(columns: Columns, names: Sequence[str]) -> Columns:
    """Return the columns of these names, in the names' order; without names all."""
    kinds = dict(columns)
    return [(name, kinds[name]) for name in names] or columns


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return what run.json says; None where there is none. Raise `BadResult` where it is no such document."""
    try:
        run = orjson.loads((folder / RUN).read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise BadResult(f"{folder / RUN} is damaged: take another folder.") from error
    if not isinstance(run, dict) or run.get("format") not in ("parquet", "csv", "jsonl"):
        raise BadResult(f"{folder / RUN} is not of a result: take another folder.")
    return run


def list_column(name: str) -> str:
    """Return the name that a list's column has in the table of photos."""
    return f"list_{name}" if name in dict(PHOTO_COLUMNS) else name
