"""A task's faces and photos as CSV (RFC 4180), safe to open in a spreadsheet program."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator

from service.features.faces.face_members import FACE_MEMBERS

FACE_COLUMNS = ("image_id", "name", *FACE_MEMBERS, "corrected")
PHOTO_COLUMNS = ("id", "name", "status", "faces", "error_code", "error_detail", "digest")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_SEPARATORS = re.compile(r"([,;\t|\r\n])")
_PLAIN = re.compile(r"[A-Za-z0-9_][^,;\t|\r\n]*")
"""One part that begins with what is visible and no sign: most names, in a twentieth of the time."""
_FORMULA = frozenset("=+-@\N{MINUS SIGN}")
_INVISIBLE = frozenset(("Cc", "Cf", "Mn", "Zl", "Zp", "Zs"))
_INVISIBLE_LETTERS = frozenset('"\u115f\u1160\u2800\u3164\uffa0')


def as_csv(columns: Iterable[str], pages: Iterable[Iterable[tuple[object, ...]]], *, bom: bool) -> Iterator[bytes]:
    """Yield the rows of the pages under the columns, as UTF-8; with `bom` after a byte order mark.

    The columns come at once, before the first page is made.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    if bom:
        yield BYTE_ORDER_MARK
    yield from _taken(text)
    for page in pages:
        writer.writerows(page)
        yield from _taken(text)


def harmless(text: str) -> str:
    """Return a text of which no spreadsheet program takes any cell for a formula, whatever it takes for a separator.

    Some split at semicolons or tabs, and skip what is invisible; so each part gets an apostrophe that would begin with
    `=`, `+`, `-`, `@` or a form of them.
    """
    if _PLAIN.fullmatch(text):
        return text
    marked = "".join(f"'{part}" if _begins_a_formula(part) else part for part in _SEPARATORS.split(text))
    return f"'{marked}" if text[:1] in ("\t", "\r") else marked


def _begins_a_formula(cell: str) -> bool:
    visible = (letter for letter in cell if not _is_invisible(letter))
    return unicodedata.normalize("NFKC", next(visible, " "))[0] in _FORMULA


def _is_invisible(letter: str) -> bool:
    return letter in _INVISIBLE_LETTERS or unicodedata.category(letter) in _INVISIBLE


def _taken(text: io.StringIO) -> Iterator[bytes]:
    if written := text.getvalue():
        yield written.encode()
        text.seek(0)
        text.truncate()
