"""The HTTP interface of face tasks."""

from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request, url_for

from service.api import (
    LINK_SECONDS,
    answer,
    body,
    describe,
    file_answer,
    page_answer,
    place_of,
    query,
    redirect_answer,
    redirects,
)
from service.auth import require_basic
from service.faces import operations
from service.faces.bodies import Bodies
from service.faces.schemas import ImageOut, ImagesOut, Limits, TaskIn, TaskList, TaskOut, TaskQuery
from service.faces.uploads import MAX_REQUEST_BYTES, read_uploads
from service.media import ACCEPTED

faces = Blueprint("faces", __name__, url_prefix="/api/v1")
faces.before_request(require_basic)
bodies = Bodies()

UPLOAD: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {
                "image": {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}},
                "name": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
    **{media_type: {"schema": {}} for media_type in ACCEPTED},
}


def _here() -> operations.Services:
    here: operations.Services = current_app.extensions["faces"]
    return here


@faces.get("/limits")
@describe({200: Limits})
def show_limits() -> Response:
    """Tell what uploads may be: bytes, pixels, images a task, types."""
    here = _here()
    return answer(
        {
            "max_image_bytes": here.limits.bytes,
            "max_image_pixels": here.limits.pixels,
            "max_images_per_task": here.images_per_task,
            "max_request_bytes": MAX_REQUEST_BYTES,
            "accepted_types": list(ACCEPTED),
        }
    )


@faces.post("/tasks")
@describe({201: TaskOut}, 400, 413, 422, body=TaskIn, headers={201: ("Location",)})
def create_task() -> Response:
    """Create an empty task."""
    task = operations.create_task(_here(), body(TaskIn).name)
    return answer(task, 201, Location=url_for("faces.get_task", task_id=task["id"]))


@faces.get("/tasks")
@describe({200: TaskList}, 422, query=TaskQuery)
def list_tasks() -> Response:
    """List the tasks, newest first, without their images."""
    wanted = query(TaskQuery)
    place = place_of(wanted.cursor, 2)
    before = (place[0], place[1]) if place else None
    return page_answer(*operations.list_tasks(_here(), wanted.status, wanted.limit, before))


@faces.get("/tasks/<task_id>")
@describe({200: TaskOut}, 404, conditional=True)
def get_task(task_id: str) -> Response:
    """Get a task with its images, their faces, and its statistics."""
    tag = f"{task_id}.{operations.task_version(_here(), task_id)}"
    if request.if_none_match.contains(tag):
        return Response(status=304, headers={"ETag": f'"{tag}"'})
    text = bodies.get(tag)
    if text is None:
        task, version = operations.get_task(_here(), task_id)
        tag, text = f"{task_id}.{version}", orjson.dumps(task)
        if task["status"] in ("completed", "error"):
            bodies.keep(tag, text)
    return Response(text, headers={"ETag": f'"{tag}"'}, content_type="application/json")


@faces.delete("/tasks/<task_id>")
@describe({204: ""}, 404, 503)
def delete_task(task_id: str) -> Response:
    """Delete a task in any status: its processing stops, its rows and files go."""
    operations.delete_task(_here(), task_id)
    return Response(status=204)


@faces.post("/tasks/<task_id>/start")
@describe({202: TaskOut}, 404, 409, headers={202: ("Location", "Retry-After")})
def start_task(task_id: str) -> Response:
    """Start a task; after an error, process again just the images that failed."""
    operations.start(_here(), task_id)
    task, _ = operations.get_task(_here(), task_id)
    return answer(task, 202, Location=url_for("faces.get_task", task_id=task_id), Retry_After="1")


@faces.post("/tasks/<task_id>/images")
@describe({201: ImagesOut}, 400, 404, 409, 413, 415, 422, 503, 507, content=UPLOAD)
def add_images(task_id: str) -> Response:
    """Upload images: multipart parts `image` with as many `name` fields or none, or the bare bytes with `?name=`.

    All or nothing: one bad file refuses the request and is named in the answer.
    """
    with read_uploads(request, _here().limits.bytes) as uploads:
        return answer({"items": operations.add_images(_here(), task_id, uploads)}, 201)


@faces.get("/tasks/<task_id>/images/<image_id>")
@describe({200: ImageOut}, 404)
def get_image(task_id: str, image_id: str) -> Response:
    """Get one image with its faces."""
    return answer(operations.get_image(_here(), task_id, image_id))


@faces.delete("/tasks/<task_id>/images/<image_id>")
@describe({204: ""}, 404, 409, 503)
def delete_image(task_id: str, image_id: str) -> Response:
    """Take an image out of a task that has not been started."""
    operations.delete_image(_here(), task_id, image_id)
    return Response(status=204)


@faces.get("/tasks/<task_id>/images/<image_id>/content")
@describe({200: "image/*", 302: ""}, 404, 503, conditional=True)
def get_content(task_id: str, image_id: str) -> Response:
    """Get the original bytes of an image, whole or by `Range`."""
    if redirects():
        return redirect_answer(operations.content_url(_here(), task_id, image_id, LINK_SECONDS))
    content = operations.open_content(_here(), task_id, image_id)
    response = file_answer(content.stream, content.size, content.id, content.media_type)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
