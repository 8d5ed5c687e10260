"""Files out of a request: multipart parts or the bare body, within limits, spooled to disk when large."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, cast

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from service.errors import Invalid, Malformed, TooLarge, UnsupportedType
from service.faces.operations import NAME_LENGTH, Upload
from service.media import ACCEPTED

MAX_REQUEST_BYTES = 1_000_000_000
MAX_PARTS = 2_000
IN_MEMORY = 512 * 1024


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A part of the request: in memory while small, in a nameless file beyond; refuses what exceeds the limit."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(max_size=IN_MEMORY)
        self.client_name = name
        self.limit = limit

    def write(self, data: Any) -> int:
        """Write, or raise TooLarge as soon as the part is over the limit."""
        if self.tell() + len(data) > self.limit:
            raise TooLarge(f"{self.client_name} is too large: an image may have at most {self.limit} bytes.")
        return super().write(data)


@contextmanager
def read_uploads(request: Request, limit: int) -> Iterator[list[Upload]]:
    """Give the request's files; `limit` is in bytes a file. All are gone after the block.

    Raises Malformed, Invalid, TooLarge, UnsupportedType.
    """
    with ExitStack() as spools:

        def spool(name: str) -> Spool:
            return spools.enter_context(Spool(display_name(name), limit))

        request.max_content_length = MAX_REQUEST_BYTES
        if request.mimetype == "multipart/form-data":
            yield _multipart(request, spool)
        elif request.mimetype in ACCEPTED or request.mimetype == "application/octet-stream":
            yield [_bare(request, spool)]
        else:
            accepted = ", ".join(ACCEPTED)
            raise UnsupportedType(
                f"Send multipart/form-data with parts named `image`, or the bytes of one image as {accepted}.",
                accepted_types=list(ACCEPTED),
            )


def _multipart(request: Request, spool: Callable[[str], Spool]) -> list[Upload]:
    if not request.mimetype_params.get("boundary"):
        raise Malformed("The multipart body has no boundary in its Content-Type.")

    def factory(
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return cast(IO[bytes], spool(filename or "image"))

    parser = FormDataParser(factory, max_form_memory_size=1_000_000, max_form_parts=MAX_PARTS, silent=False)
    try:
        _, form, files = parser.parse(
            request.stream, request.mimetype, request.content_length, dict(request.mimetype_params)
        )
    except RequestEntityTooLarge as error:
        raise TooLarge(f"The form is too large: at most {MAX_PARTS} parts, and names of 1 MB in all.") from error
    except ValueError as error:
        raise Malformed("The multipart body is broken or cut off.") from error
    unknown = {*form, *files} - {"image", "name"}
    if unknown:
        raise Invalid(f"The form has a part named {display_name(min(unknown))}: known are `image` and `name`.")
    if form.getlist("image") or files.getlist("name"):
        raise Invalid("Each `image` part must be a file with a file name, and each `name` a text.")
    images, names = files.getlist("image"), form.getlist("name")
    if names and len(names) != len(images):
        raise Invalid(f"There are {len(images)} images but {len(names)} names: send as many, or no name.")
    given = names or [image.filename or "image" for image in images]
    for image in images:
        image.stream.seek(0)
    return [Upload(display_name(name), cast(Any, image.stream)) for name, image in zip(given, images, strict=True)]


def _bare(request: Request, spool: Callable[[str], Spool]) -> Upload:
    name = display_name(request.args.get("name", "") or "image")
    file = spool(name)
    while chunk := request.stream.read(256 * 1024):
        file.write(chunk)
    if request.content_length is not None and file.tell() < request.content_length:
        raise Malformed(f"{name} was cut off: fewer bytes came than Content-Length says.")
    file.seek(0)
    return Upload(name, cast(Any, file))


def display_name(name: str) -> str:
    """Return a client's file name as a label: no control or direction characters, no surrogates, capped in length."""
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", "", name).strip()
    return clean[:NAME_LENGTH] or "image"
