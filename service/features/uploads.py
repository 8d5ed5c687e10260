"""Forms with images, as several features take them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from flask import request

from service.http.openapi_views import FILE, form
from service.http.uploads import display_name, read_form
from service.imaging.intake import Upload

MAX_REQUEST_BYTES = 1_000_000_000


def images_form(field: str) -> dict[str, Any]:
    """Return what the API document says of a form that has images in this field alone."""
    images = {"type": "array", "items": FILE, "description": "The images."}
    return form({field: images}, {field: ["(a photo's bytes)"]}, required=[field])


@contextmanager
def read_images(field: str, limit: int) -> Iterator[list[Upload]]:
    """Yield the images in this field of the request's form, at most `limit` bytes each; raise as `read_form` does."""
    with read_form(request, (field,), limit, "image", MAX_REQUEST_BYTES) as sent:
        yield [
            Upload(display_name(file.filename or "", "image"), cast(Any, file.stream), f"#/{field}/{place}")
            for place, file in enumerate(sent.files.getlist(field))
        ]
