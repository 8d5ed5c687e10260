"""Multipart forms as clients send them: a file's name decides nothing, and what is not understood is refused."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO
from urllib.parse import unquote

from multipart import MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.exceptions import RequestEntityTooLarge

from service.errors import UnsupportedType

PIECE = 64 * 1024
MOST_HEADERS, LARGEST_HEADER = 32, 64 * 1024
"""Of a part; a header is as large as the longest file name that some client sends."""
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:\\"|[^"])*"|[^;]*)')
_EXTENDED = re.compile(r"([\w.:+-]+)'[^']*'(.*)", re.DOTALL)
_WINDOWS_FOLDERS = re.compile(r"\A(?:[A-Za-z]:)?\\(?:.*\\)?", re.DOTALL)
_PLAIN_CODINGS = ("", "identity", "binary", "8bit", "7bit")


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a part; `file_name` is None for one that is no file."""

    name: str
    file_name: str | None
    content_type: str


def read_parts(stream: IO[bytes], boundary: str, most_parts: int) -> Iterator[Part | bytes | None]:
    """Yield each part, then its bytes in pieces, then None.

    Raise ValueError for a form that is broken or cut off, RequestEntityTooLarge over a limit, and UnsupportedType for
    a part in a coding that is not read.
    """
    limits = {"max_segment_count": most_parts, "max_header_count": MOST_HEADERS, "max_header_size": LARGEST_HEADER}
    try:
        # Headers may have any bytes: curl on Windows sends names in the code page of the system.
        with PushMultipartParser(boundary.encode("ascii"), header_charset="latin-1", **limits) as parser:
            while piece := stream.read(PIECE):
                for event in parser.parse(piece):
                    yield _as_sent(event) if isinstance(event, MultipartSegment) else event
    except ParserLimitReached as error:
        raise RequestEntityTooLarge from error


def parameters(header: str) -> dict[str, str]:
    """Return a header's parameters, their names in lower case; values without quotes may have any character but `;`."""
    return {name.lower(): _unquoted(value.strip()) for name, value in _PARAMETER.findall(header)}


def _as_sent(segment: MultipartSegment) -> Part:
    """Return the part with the file name that the client meant; raise UnsupportedType for a coding that is not read."""
    for header in ("Content-Encoding", "Content-Transfer-Encoding"):
        coding = _header(segment, header).strip().lower()
        if coding not in _PLAIN_CODINGS:
            detail = (
                f"A part of the form has the {header} {coding[:50]}, which is not read. Send its bytes as they are."
            )
            raise UnsupportedType(detail, code="content_coding_not_read", headers={"Accept-Encoding": "identity"})
    given = parameters(_header(segment, "Content-Disposition"))
    return Part(given.get("name", ""), _file_name(given), _header(segment, "Content-Type"))


def _header(segment: MultipartSegment, name: str) -> str:
    value: str = segment.header(name, "")
    return value.encode("latin-1").decode("utf-8", "replace")


def _file_name(given: dict[str, str]) -> str | None:
    """Return the file's name without the folders of a Windows path, or None for a part that is no file."""
    name = given.get("filename")
    if extended := _EXTENDED.fullmatch(given.get("filename*", "")):
        try:
            name = unquote(extended[2], extended[1], "replace")
        except LookupError:  # a charset that is not known
            name = unquote(extended[2], "utf-8", "replace")
    elif "filename*" in given and name is None:
        name = given["filename*"]
    return name and _WINDOWS_FOLDERS.sub("", name)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r'\\(["\\])', r"\1", value[1:-1]).replace("%22", '"')
