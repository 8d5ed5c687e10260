"""Forms out of a request: within limits, their files spooled to disk when large."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from service.errors import Invalid, Malformed, NoRoom, TooLarge
from service.http.idempotency import is_keyed, reserve
from service.storage.storage import is_full

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_PARTS = 2_000
MAX_TEXT = 1_000_000
IN_MEMORY = 512 * 1024
NAME_LENGTH = 255
NAME_END = 40
"""Names of many files often differ in a number at their end, before the extension."""


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A part of the request: in memory while small, in a nameless file beyond; refuses what exceeds the limit.

    `kind` is what the client is told that it is, such as `image`.
    """

    def __init__(self, name: str, limit: int, kind: str) -> None:
        super().__init__(max_size=IN_MEMORY)
        self.client_name = name
        self.limit = limit
        self.kind = kind
        self.digest = hashlib.sha256() if is_keyed() else None

    def write(self, data: Any) -> int:
        """Write, or raise TooLarge as soon as the part is over the limit."""
        if self.tell() + len(data) > self.limit:
            raise TooLarge(
                f"{self.client_name} is too large: {self.kind}s may have at most {self.limit} bytes. Make it smaller.",
                limit=self.limit,
            )
        if self.digest:
            self.digest.update(data)
        try:
            return super().write(data)
        except OSError as error:
            if is_full(error):
                raise NoRoom("There is no room for the upload: nothing was stored. Try again later.") from error
            raise


@dataclass(frozen=True, slots=True)
class Form:
    """A form's fields; the files stand at their beginning."""

    texts: MultiDict[str, str]
    files: MultiDict[str, FileStorage]


@contextmanager
def spooling(limit: int, kind: str) -> Iterator[Callable[[str], Spool]]:
    """Yield a function that makes spools by their clients' names; all are deleted after the block."""
    with ExitStack() as spools:
        yield lambda name: spools.enter_context(Spool(display_name(name, kind), limit, kind))


class _RecordedStream:
    """A request's stream that keeps what came before the first file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept: bytearray | None = bytearray()

    def read(self, size: int = -1) -> bytes:
        """Read on; beyond what texts may have, nothing is kept."""
        data = self._stream.read(size)
        if self._kept is not None:
            self._kept += data
            if len(self._kept) > MAX_TEXT:
                self._kept = None
        return data

    def texts(self, boundary: str) -> MultiDict[str, str]:
        """Return the texts that came before the first file, and drop what was kept."""
        texts: MultiDict[str, str] = MultiDict()
        decoder = MultipartDecoder(boundary.encode("ascii"), MAX_TEXT, max_parts=MAX_PARTS)
        decoder.receive_data(bytes(self._kept or b""))
        self._kept = None
        name, text = "", b""
        while not isinstance(event := decoder.next_event(), (File, NeedData, Epilogue)):
            if isinstance(event, Field):
                name, text = event.name, b""
            elif isinstance(event, Data):
                text += event.data
                if not event.more_data:
                    texts.add(name, text.decode("utf-8", "replace"))
        return texts


Early = Callable[[MultiDict[str, str]], None]


@contextmanager
def read_form(
    request: Request, known: Collection[str], limit: int, kind: str, most: int, early: Early | None = None
) -> Iterator[Form]:
    """Yield the form with the known fields; a file has at most `limit` bytes, the request `most`.

    `early` is called with the texts that came before the first file, and may raise before that is taken.

    Raises Malformed, Invalid, TooLarge, NoRoom, and what `idempotency.reserve` raises, since the form is what an
    Idempotency-Key stands for: texts, file names and bytes in their order, not the boundary. The files are gone after
    the block.
    """
    request.max_content_length = most
    with spooling(limit, kind) as spool:
        form = _parsed(request, spool, early)
        unknown = {name or "" for name in (*form.texts, *form.files)} - set(known)
        if unknown:
            names, part = ", ".join(f"`{name}`" for name in known), display_name(min(unknown), "part")
            detail = f"The form has a part named `{part}`, which is unknown here. Known are: {names}."
            raise Invalid(detail, pointer=f"#/{part}")
        for file in form.files.values():
            file.stream.seek(0)
        if is_keyed():
            files = [(name, file.filename, fingerprint(file.stream)) for name, file in form.files.items(multi=True)]
            reserve("form", list(form.texts.items(multi=True)), files)
        yield form


def fingerprint(spool: Any) -> str:
    """Return what stands for the bytes of a spool in a request with an Idempotency-Key; it was made as they came."""
    return spool.digest.hexdigest() if spool.digest else ""


def _parsed(request: Request, spool: Callable[[str], Spool], early: Early | None) -> Form:
    if request.mimetype == "multipart/form-data" and not request.mimetype_params.get("boundary"):
        raise Malformed(
            "The Content-Type must name the boundary of the multipart body. Let your client set that header itself."
        )

    beginning, waiting = _RecordedStream(request.stream), [early] if early else []

    def factory(
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if waiting:
            waiting.pop()(beginning.texts(request.mimetype_params["boundary"]))
        return cast(IO[bytes], spool(filename or ""))

    stream = cast(IO[bytes], beginning) if early else request.stream
    parser = FormDataParser(factory, max_form_memory_size=MAX_TEXT, max_form_parts=MAX_PARTS, silent=False)
    try:
        _, texts, files = parser.parse(stream, request.mimetype, request.content_length, dict(request.mimetype_params))
    except RequestEntityTooLarge as error:
        raise TooLarge(
            f"The form is too large: at most {request.max_content_length} bytes, {MAX_PARTS} parts, and texts of "
            f"{MAX_TEXT} bytes in all. Send it in portions."
        ) from error
    except ValueError as error:
        raise Malformed("The form is broken or cut off. Send it again.") from error
    return Form(texts, files)


def display_name(name: str, otherwise: str) -> str:
    """Return a client's file name as a label: no control or direction characters, no surrogates.

    It has at most NAME_LENGTH characters; of a longer one the beginning and the end stay.
    """
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", "", name).strip()
    if len(clean) > NAME_LENGTH:
        clean = clean[: NAME_LENGTH - NAME_END] + clean[-NAME_END:]
    return clean or otherwise
