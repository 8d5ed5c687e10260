"""Forms with files, as several features take them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, cast

from flask import request
from werkzeug.datastructures import FileStorage

from service.errors import TooLarge, UnsupportedType
from service.http.openapi_views import FILE, multipart
from service.http.uploads import FORM_TYPES, Early, Form, UploadedFile, display_name, read_form
from service.imaging.intake import Upload

MAX_REQUEST_BYTES = 1_000_000_000
READ_AHEAD = 64 * 1024
"""Bytes of a file that are read at once: its structure is read in two dozen small pieces."""
MAX_TEXT_BYTES = 1_000_000
"""What a form may have beside its one file."""


def images_form(field: str) -> dict[str, Any]:
    """Return what the API document says of a form that has images in this field alone."""
    images = {"type": "array", "items": FILE, "description": "The images."}
    return multipart({field: images}, {field: ["(a photo's bytes)"]}, required=[field])


def upload_of(file: FileStorage, pointer: str, name: str = "") -> Upload:
    """Return a form's file under this name, or else the client's for it; `pointer` is where it stands."""
    label = display_name(name, display_name(file.filename or "", "image"))
    return spooled_upload(label, cast(Any, file.stream), pointer)


def spooled_upload(name: str, file: UploadedFile, pointer: str = "#") -> Upload:
    """Return a file that was written, to be read ahead."""
    return Upload(name, BufferedReader(file, READ_AHEAD), f"sha-256:{file.sha256}", pointer)


@contextmanager
def read_images(field: str, limit: int) -> Iterator[list[Upload]]:
    """Yield the images in this field of the request's form, at most `limit` bytes each; raise as `read_form` does."""
    with read_form(request, (field,), (), limit, "image", MAX_REQUEST_BYTES) as sent:
        yield [upload_of(file, f"#/{field}/{place}") for place, file in enumerate(sent.files.getlist(field))]


@contextmanager
def read_single_file(
    file: str, texts: Sequence[str], limit: int, kind: str, early: Early | None = None
) -> Iterator[Form]:
    """Yield a form with these texts and this file, a `kind` of at most `limit` bytes.

    Raise as `read_form` does, and UnsupportedType or TooLarge before anything is read.
    """
    if request.mimetype not in ("", *FORM_TYPES):
        detail = f"Send multipart/form-data with the file `{file}`."
        raise UnsupportedType(detail, accepted_types=[FORM_TYPES[0]])
    if (request.content_length or 0) > limit + MAX_TEXT_BYTES:
        detail = f"The {kind} is too large: at most {limit} bytes are accepted. Make it smaller."
        raise TooLarge(detail, code="file_too_large", limit=limit)
    with read_form(request, (file,), texts, limit, kind, limit + MAX_TEXT_BYTES, early) as sent:
        yield sent
