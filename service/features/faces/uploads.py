"""Images out of a request: multipart parts or the bare body; a whole task out of a form."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END

from flask import Request

from service.errors import Invalid, Malformed, UnsupportedType
from service.features.faces.schemas import TaskForm, TaskIn
from service.features.uploads import spooled_upload, upload_of
from service.http.bodies import body, form_fields
from service.http.idempotency import reserve, reserve_json
from service.http.openapi_views import FILE, multipart, without_null
from service.http.uploads import Form, UploadedFile, display_name, read_form, spooling
from service.imaging.intake import Upload
from service.imaging.media_types import ACCEPTED

MAX_REQUEST_BYTES = 1_000_000_000
KIND = "image"

PHOTOS = {"type": "array", "items": FILE, "description": "The photos."}
NAMES = {
    "type": "array",
    "items": {"type": "string"},
    "description": "As many names as photos, or none: then they are named as their files are.",
    "examples": [[]],
}
UPLOAD = multipart({"image": PHOTOS, "name": NAMES}, {"image": ["(a photo's bytes)"]}, required=["image"])
UPLOAD |= {media_type: {"schema": {}} for media_type in ACCEPTED}
NEW_TASK = multipart(
    {name: without_null(part) for name, part in TaskForm.model_json_schema()["properties"].items()} | {"image": PHOTOS},
    {"name": "team", "start": "true", "image": ["(a photo's bytes)"]},
)
"""What the OpenAPI document says of the bodies read here."""


@contextmanager
def read_uploads(request: Request, limit: int) -> Iterator[list[Upload]]:
    """Yield the request's files; `limit` is in bytes a file. All are gone after the block.

    Raise Malformed, Invalid, TooLarge, UnsupportedType, and what `idempotency.reserve` raises.
    """
    if request.mimetype == "multipart/form-data":
        with read_form(request, ("image",), ("name",), limit, KIND, MAX_REQUEST_BYTES) as form:
            yield _parts(form)
    elif request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        request.max_content_length = MAX_REQUEST_BYTES
        with spooling(limit, KIND) as file_for:
            name = display_name(request.args.get("name", ""), KIND)
            yield [_bare(request, name, file_for(name))]
    else:
        accepted = ", ".join(ACCEPTED)
        raise UnsupportedType(
            f"Send multipart/form-data with parts named `image`, or the bytes of one image as {accepted}.",
            accepted_types=list(ACCEPTED),
        )


@contextmanager
def read_task(request: Request, limit: int) -> Iterator[tuple[TaskForm, list[Upload]]]:
    """Yield what a new task is made of: from JSON, or from a form with images, each named as its file is.

    Raise Malformed, Invalid, TooLarge, and what `idempotency.reserve` raises. The files are gone after the block.
    """
    if request.mimetype != "multipart/form-data":
        reserve_json()
        new = body(TaskIn, "application/json or multipart/form-data")
        yield TaskForm.model_construct(**new.model_dump()), []  # in JSON an empty text is no way to say nothing
        return
    with read_form(request, ("image",), tuple(TaskForm.model_fields), limit, KIND, MAX_REQUEST_BYTES) as form:
        if not (form.texts or form.files):
            raise Invalid(
                "The form has no parts: nothing was made. Send `image` or `name`, or no body at all.", code="form_empty"
            )
        task = form_fields(TaskForm, form.texts)
        if task.start == "true" and "image" not in form.files:
            detail = "There is no image to start with: send one or more parts named `image`."
            raise Invalid(detail, pointer="#/image", code="file_missing")
        yield task, _named(form, [])


def _parts(form: Form) -> list[Upload]:
    images, names = form.files.getlist("image"), form.texts.getlist("name")
    if not any(names):  # as forms of browsers send what nobody filled in
        names = []
    if names and len(names) != len(images):
        counts = f"Images: {len(images)}, names: {len(names)}"
        raise Invalid(
            f"{counts}. Send a `name` for each `image`, or none.", pointer="#/name", code="names_do_not_match"
        )
    return _named(form, names)


def _named(form: Form, names: list[str]) -> list[Upload]:
    images = form.files.getlist("image")
    given = names or [""] * len(images)
    return [
        upload_of(image, f"#/image/{place}", name)
        for place, (name, image) in enumerate(zip(given, images, strict=True))
    ]


def _bare(request: Request, name: str, file: UploadedFile) -> Upload:
    while chunk := request.stream.read(256 * 1024):
        file.write(chunk)
    size = file.seek(0, SEEK_END)
    if request.content_length is not None and size < request.content_length:
        raise Malformed(f"{name} was cut off: fewer bytes came than Content-Length says.", code="body_cut_off")
    if not size:
        raise Invalid("The body is empty: send the bytes of one image.", code="file_empty")
    file.seek(0)
    reserve("bytes", request.mimetype, file.sha256)
    return spooled_upload(name, file)
