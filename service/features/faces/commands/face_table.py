"""Photos and their faces as a table on the terminal."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from service.cli.output import number, plain_table


def face_table(title: str) -> Table:
    """Return an empty table; `title` heads the column of names."""
    columns = ("Faces", "Gender", "Male", "Age", "Range", "Left, top, width × height", "Score")
    return plain_table(title, *columns, numbers=("Faces", "Male", "Age", "Range", "Score"))


def add_rows(table: Table, name: str, status: str | None, faces: Iterable[dict[str, Any]]) -> None:
    """Add a row for each face of a photo, and one for a photo without any."""
    found = list(faces)
    first = [Text(printable(name)), Text(status or str(len(found)))]
    for face in found:
        table.add_row(*first, *_cells(face))
        first = [Text(""), Text("")]
    if not found:
        table.add_row(*first, *"––––––")


def _cells(face: dict[str, Any]) -> tuple[str, ...]:
    box = face["bbox"]
    return (
        "?" if face["gender"] == "unknown" else face["gender"],
        number(face["male_probability"], ".2f"),
        number(face["age"], ".1f"),
        age_range(face) or "–",
        f"{box['x']}, {box['y']}, {box['width']} × {box['height']}",
        number(face["score"], ".3f"),
    )


def age_range(face: dict[str, Any]) -> str:
    """Return between which ages a face is, nine times in ten; empty where the engine does not say."""
    low, high = face["age_low"], face["age_high"]
    return "" if low is None or high is None else f"{low:.0f}–{high:.0f}"


def printable(text: str) -> str:
    """Return a text in which no terminal finds a command."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
