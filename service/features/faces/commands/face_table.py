"""Photos and their faces as a table on the terminal."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from service.cli.output import number, plain_table


def face_table(title: str) -> Table:
    """Return an empty table; `title` heads the column of names."""
    columns = ("Faces", "Gender", "Age", "Left, top, width × height", "Score")
    return plain_table(title, *columns, numbers=("Faces", "Age", "Score"))


def add_rows(table: Table, name: str, status: str | None, faces: Iterable[dict[str, Any]]) -> None:
    """Add a row for each face of a photo, and one for a photo without any."""
    found = list(faces)
    first = [Text(printable(name)), Text(status or str(len(found)))]
    for face in found:
        box = face["bbox"]
        place = f"{box['x']}, {box['y']}, {box['width']} × {box['height']}"
        table.add_row(*first, face["gender"], number(face["age"], ".1f"), place, number(face["score"], ".3f"))
        first = [Text(""), Text("")]
    if not found:
        table.add_row(*first, *"––––")


def printable(text: str) -> str:
    """Return a text in which no terminal finds a command."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
