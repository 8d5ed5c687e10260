"""Forms out of a request: within limits, their files spooled to disk when large."""

import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from service.errors import Invalid, Malformed, TooLarge
from service.http.idempotency import is_keyed, reserve
from service.http.multipart import Part, parameters, read_parts
from service.http.services import provided
from service.storage.spools import Spool, SpoolFolder

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_PARTS = 2_000
MAX_TEXT = 1_000_000
BEFORE_CREDENTIALS = 1_000_000
"""Bytes of a file that are taken from somebody who has not said yet who that is."""
NAME_LENGTH = 255
NAME_END = 40
"""Names of many files often differ in a number at their end, before the extension."""


class UploadedFile(io.RawIOBase):
    """A part of the request as a file; it refuses what exceeds `limit`. While it is written, it is the spool's last.

    `kind` is what the client is told that it is, such as `image`.
    """

    def __init__(self, spool: Spool, name: str, limit: int, kind: str) -> None:
        self.client_name = name
        self.limit = limit
        self.kind = kind
        self.is_from_stranger = False
        self._spool = spool
        self._begin = spool.size
        self._size = 0
        self._place = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:
        """Write behind what was written, or raise TooLarge as soon as the part is over the limit."""
        size = self._size + len(data)
        if self.is_from_stranger and size > BEFORE_CREDENTIALS:
            raise TooLarge(
                f"Send the credentials before the file: without them it may have {BEFORE_CREDENTIALS} bytes.",
                code="credentials_first",
                limit=BEFORE_CREDENTIALS,
            )
        if size > self.limit:
            raise TooLarge(
                f"{self.client_name} is too large: {self.kind}s may have at most {self.limit} bytes. Make it smaller.",
                code="file_too_large",
                limit=self.limit,
            )
        self._hash.update(data)
        self._spool.append(data)
        self._size = size
        return len(data)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the part."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, or all the rest."""
        left = max(0, self._size - self._place)
        data = self._spool.read(self._begin + self._place, left if size is None or size < 0 else min(size, left))
        self._place += len(data)
        return data

    def readall(self) -> bytes:
        """Read all the rest."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is room for."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True, slots=True)
class Form:
    """A form's fields; the files stand at their beginning."""

    texts: MultiDict[str, str]
    files: MultiDict[str, FileStorage]


@contextmanager
def spooling(limit: int, kind: str) -> Iterator[Callable[[str], UploadedFile]]:
    """Yield a function that makes files by their clients' names, one after the other; all are gone after the block."""
    with closing(Spool(provided(SpoolFolder))) as spool:
        yield lambda name: UploadedFile(spool, display_name(name, kind), limit, kind)


Early = Callable[[MultiDict[str, str]], bool]


@contextmanager
def read_form(
    request: Request,
    files: Collection[str],
    texts: Collection[str],
    limit: int,
    kind: str,
    most: int,
    early: Early | None = None,
) -> Iterator[Form]:
    """Yield the form with these files and texts; a file has at most `limit` bytes, the request `most`.

    `early` is called with the texts that came before the first file, and may raise before that is taken. It returns
    whether they say who sends the form; else the file may be small alone.

    Raises Malformed, Invalid, TooLarge, UnsupportedType, NoRoom, and what `idempotency.reserve` raises, since the form
    is what an Idempotency-Key stands for: texts, file names and bytes in their order, not the boundary. The files are
    gone after the block.
    """
    request.max_content_length = most
    with spooling(limit, kind) as file_for:
        form = _parsed(request, file_for, early)
        _check_parts(form, files, texts)
        if is_keyed():
            sent = [(name, file.filename, cast(Any, file.stream).sha256) for name, file in form.files.items(multi=True)]
            reserve("form", list(form.texts.items(multi=True)), sent)
        yield form


def _check_parts(form: Form, files: Collection[str], texts: Collection[str]) -> None:
    """Raise Invalid for a part that is unknown, a file that came as a text, or a text that came as a file."""
    known = (*texts, *files)
    if unknown := {name or "" for name in (*form.texts, *form.files)} - set(known):
        names, part = ", ".join(f"`{name}`" for name in known), display_name(min(unknown), "part")
        detail = f"The form has a part named `{part}`, which is unknown here. Known are: {names}."
        raise Invalid(detail, pointer=f"#/{part}", code="unknown_member")
    if nameless := sorted(set(form.texts).intersection(files)):
        detail = f"The part `{nameless[0]}` has no file name. Send it as a file: with `filename` in its header."
        raise Invalid(detail, pointer=f"#/{nameless[0]}", code="file_name_missing")
    if named := sorted(set(form.files).intersection(texts)):
        detail = f"The part `{named[0]}` must be a text, without a file name."
        raise Invalid(detail, pointer=f"#/{named[0]}", code="invalid_member")


def _parsed(request: Request, file_for: Callable[[str], UploadedFile], early: Early | None) -> Form:
    try:
        if request.mimetype != "multipart/form-data":
            parser = FormDataParser(max_form_memory_size=MAX_TEXT, silent=False)
            _, texts, _ = parser.parse(request.stream, request.mimetype, request.content_length)
            return Form(texts, MultiDict())
        return _multipart(request, file_for, early)
    except RequestEntityTooLarge as error:
        raise TooLarge(
            f"The form is too large: at most {request.max_content_length} bytes, {MAX_PARTS} parts, and texts of "
            f"{MAX_TEXT} bytes in all. Send it in portions."
        ) from error
    except ValueError as error:
        raise Malformed("The form is broken or cut off. Send it again.", code="form_broken") from error


def _multipart(request: Request, file_for: Callable[[str], UploadedFile], early: Early | None) -> Form:
    form, text, size, file = Form(MultiDict(), MultiDict()), bytearray(), 0, None
    is_known = early is None
    for event in read_parts(request.stream, _boundary(request), MAX_PARTS):
        if isinstance(event, Part):
            part, text, file = event, bytearray(), None
            if part.file_name is not None:
                if early and not form.files:
                    is_known = early(form.texts)
                file = file_for(part.file_name)
                file.is_from_stranger = not is_known
                form.files.add(part.name, FileStorage(cast(Any, file), part.file_name, part.name))
        elif event is None:
            if file is not None:
                file.seek(0)
            else:
                form.texts.add(part.name, _decoded(text, part.content_type))
        elif file is not None:
            file.write(event)
        else:
            text += event
            size += len(event)
            if size > MAX_TEXT:
                raise RequestEntityTooLarge
    return form


def _boundary(request: Request) -> str:
    boundary = parameters(request.headers["Content-Type"]).get("boundary")
    if not boundary:
        raise Malformed(
            "The Content-Type must name the boundary of the multipart body. Let your client set that header itself.",
            code="boundary_missing",
        )
    return boundary


def _decoded(text: bytearray, content_type: str) -> str:
    """Return a text in the charset that its part names, or as UTF-8; what cannot be decoded is replaced."""
    try:
        return text.decode(parameters(content_type).get("charset", "utf-8"), "replace")
    except (LookupError, ValueError):
        return text.decode("utf-8", "replace")


def display_name(name: str, otherwise: str) -> str:
    """Return a client's file name as a label: no control or direction characters, no surrogates.

    It has at most NAME_LENGTH characters; of a longer one the beginning and the end stay.
    """
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", "", name).strip()
    if len(clean) > NAME_LENGTH:
        clean = clean[: NAME_LENGTH - NAME_END] + clean[-NAME_END:]
    return clean or otherwise
