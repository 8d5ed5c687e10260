"""Multipart forms as clients send them: a file's name decides nothing, and what is not understood is refused."""

import re
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote

from werkzeug.datastructures import Headers
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, Preamble

from service.errors import UnsupportedType

PIECE = 64 * 1024
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:\\"|[^"])*"|[^;]*)')
_EXTENDED = re.compile(r"([\w.:+-]+)'[^']*'(.*)", re.DOTALL)
_WINDOWS_FOLDERS = re.compile(r"\A(?:[A-Za-z]:)?\\(?:.*\\)?", re.DOTALL)
_PLAIN_CODINGS = ("", "identity", "binary", "8bit", "7bit")


def read_parts(stream: IO[bytes], boundary: str, most_text: int, most_parts: int) -> Iterator[File | Field | Data]:
    """Yield each part, then its bytes, of which the last has `more_data` false.

    Raise ValueError for a form that is broken or cut off, RequestEntityTooLarge over a limit, and UnsupportedType for
    a part in a coding that is not read.
    """
    decoder = _Decoder(boundary.encode("ascii"), most_text, max_parts=most_parts)
    while True:
        piece = stream.read(PIECE)
        decoder.receive_data(piece or None)
        while not isinstance(event := decoder.next_event(), NeedData):
            if isinstance(event, Epilogue):
                return
            if isinstance(event, File | Field):
                yield _as_sent(event)
            elif not isinstance(event, Preamble):
                yield event  # type: ignore[misc]


def parameters(header: str) -> dict[str, str]:
    """Return a header's parameters, their names in lower case; values without quotes may have any character but `;`."""
    return {name.lower(): _unquoted(value.strip()) for name, value in _PARAMETER.findall(header)}


class _Decoder(MultipartDecoder):
    """A decoder that reads headers of any bytes: curl on Windows sends names in the code page of the system."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        return super()._parse_headers(data.decode("utf-8", "replace").encode())


def _as_sent(part: File | Field) -> File | Field:
    """Return the part with the file name that the client meant; raise UnsupportedType for a coding that is not read."""
    for header in ("Content-Encoding", "Content-Transfer-Encoding"):
        coding = part.headers.get(header, "").strip().lower()
        if coding not in _PLAIN_CODINGS:
            detail = (
                f"A part of the form has the {header} {coding[:50]}, which is not read. Send its bytes as they are."
            )
            raise UnsupportedType(detail, code="content_coding_not_read", headers={"Accept-Encoding": "identity"})
    name = _file_name(parameters(part.headers["Content-Disposition"]))
    if name is None:
        return Field(name=part.name, headers=part.headers)
    return File(name=part.name, headers=part.headers, filename=name)


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
