"""The HTTP interface of face tasks."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Response, request, url_for

from service.features.faces import deliveries, exports, operations, queries, thumbnails
from service.features.faces.corrections import tag_of
from service.features.faces.documents import Documents
from service.features.faces.schemas import (
    AnnotationQuery,
    AnnotationsOut,
    ContentQuery,
    DeliveryList,
    DeliveryOut,
    ImageList,
    ImageOut,
    ImagesOut,
    ImagesQuery,
    Limits,
    StyleQuery,
    TableQuery,
    TaskIn,
    TaskList,
    TaskOut,
    TaskPatch,
    TaskQuery,
    TaskView,
    TaskViewQuery,
    UploadQuery,
)
from service.features.faces.uploads import MAX_REQUEST_BYTES, NEW_TASK, UPLOAD, read_task, read_uploads
from service.http.basic_auth import require_basic
from service.http.bodies import EmptyBody, body, query, refuse_body
from service.http.idempotency import idempotent
from service.http.openapi_views import describe
from service.http.pagination import Page, cursor_of, page_answer, place_of
from service.http.responses import absolute, answer, file_answer, file_or_redirect, stream_answer
from service.http.services import provided
from service.http.uploads import MAX_PARTS
from service.http.waiting_requests import WaitingRequests
from service.imaging.media_types import ACCEPTED
from service.storage.signed_urls import Download
from service.storage.stored_file import StoredFile

faces = Blueprint("faces", __name__, url_prefix="/api/v1")
faces.before_request(require_basic)

CREATED = {201: ("Location", "Retry-After?")}


def _services() -> operations.Services:
    return provided(operations.Services)


def _created(task: dict[str, Any]) -> Response:
    again = {"Retry_After": "1"} if task["status"] == "processing" else {}
    return answer(task, 201, Location=url_for("faces.get_task", task_id=task["id"]), **again)


def _redelivered(delivery: dict[str, Any]) -> Response:
    return answer(delivery, 202)


def _started(changed: operations.Changed) -> Response:
    return _changed(changed, Retry_After="1")


def _changed(changed: operations.Changed, **headers: str) -> Response:
    location = url_for("faces.get_task", task_id=changed.members["id"])
    return answer(changed.members | _images(changed.images), 202, Location=location, **headers)


def _images(found: Documents, since: int = 0) -> dict[str, Any]:
    return {"images": found.joined(), "images_next": _cursor(found, since)}


def _cursor(found: Documents, since: int) -> str | None:
    if found.next_after is None:
        return None
    return cursor_of((str(found.next_after), str(since)), "faces.list_images")


def _added(images: list[dict[str, Any]]) -> Response:
    return answer({"items": images}, 201)


@faces.get("/limits")
@describe({200: Limits})
def show_limits() -> Response:
    """Get the limits of uploads: bytes, pixels, images a task, types."""
    services = _services()
    return answer(
        {
            "max_image_bytes": services.intake.limits.bytes,
            "max_image_pixels": services.intake.limits.pixels,
            "max_images_per_task": services.images_per_task,
            "max_request_bytes": MAX_REQUEST_BYTES,
            "max_parts_per_request": MAX_PARTS,
            "accepted_types": list(ACCEPTED),
        }
    )


@faces.post("/tasks")
@describe({201: TaskOut}, *(400, 413, 415, 422, 507), body=TaskIn, content=NEW_TASK, headers=CREATED)
@idempotent(_created, form=True)
def create_task() -> Response:
    """Create a task: an empty one by JSON, or by a form one with images, with `start=true` started at once.

    In a form images are named as their files are. All or nothing: one bad file refuses the request and is named in the
    answer. With `start=true` the answer has `Retry-After`. `webhook_url` is told when the task ends, each time if it
    ends more than once: a POST of `{"type": "task.completed" | "task.error", "timestamp", "data": the task without
    images}`, signed as Standard Webhooks say.
    """
    with read_task(request, _services().intake.limits.bytes) as (new, uploads):
        started = new.start == "true"
        return _created(operations.create_task(_services(), new.name, new.webhook_url, uploads, started=started))


@faces.get("/tasks")
@describe({200: TaskList}, 422, query=TaskQuery)
def list_tasks() -> Response:
    """List the tasks, newest first, without their images."""
    wanted = query(TaskQuery)
    place = place_of(wanted.cursor, 2)
    before = (place[0], place[1]) if place else None
    return page_answer(*operations.list_tasks(_services(), wanted.status, wanted.limit, before))


@faces.get("/tasks/<id:task_id>")
@describe({200: TaskView}, 404, 422, query=TaskViewQuery, conditional=True, headers={200: ("Retry-After?",)})
def get_task(task_id: str) -> Response:
    """Get a task with its images, their faces, and its statistics; with `wait`, when it has changed or ended.

    To follow a task, ask with `since` for what has changed after the `version` of the answer before, with its `ETag` as
    `If-None-Match` and with `wait`. Images that changed are given whole.
    """
    wanted = query(TaskViewQuery)
    waited = provided(WaitingRequests).wait(lambda: _is_worth_answering(task_id), wanted.wait)
    response = _task_answer(task_id, wanted, partial(_is_known, task_id))
    if not waited:
        response.headers["Retry-After"] = "1"
    return response


def _is_worth_answering(task_id: str) -> bool:
    version, status = queries.task_state(_services(), task_id)
    if request.if_none_match:
        return not _is_known(task_id, version)
    return status in ("completed", "error")


def _is_known(task_id: str, version: int) -> bool:
    return request.if_none_match.contains_weak(f"{task_id}.{version}")


def _task_answer(task_id: str, wanted: TaskViewQuery, is_known: Callable[[int], bool]) -> Response:
    view = queries.view_task(_services(), task_id, is_known, since=wanted.since, images=wanted.images == "true")
    if isinstance(view, int):
        return Response(status=304, headers={"ETag": f'"{task_id}.{view}"'})
    members = view.members if view.images is None else view.members | _images(view.images, wanted.since or 0)
    return answer(members, ETag=f'"{task_id}.{view.version}"')


@faces.patch("/tasks/<id:task_id>")
@describe({200: TaskOut}, 404, 422, body=TaskPatch)
def rename_task(task_id: str) -> Response:
    """Give a task another name, or none."""
    operations.rename_task(_services(), task_id, body(TaskPatch).name)
    return _task_answer(task_id, TaskViewQuery(), is_known=lambda _: False)


@faces.delete("/tasks/<id:task_id>")
@describe({204: ""}, 404)
def delete_task(task_id: str) -> Response:
    """Delete a task in any status: its processing stops, its rows and files go.

    While the store is away the answer is the same: nothing can be fetched any more, and the files go when it is back.
    """
    operations.delete_task(_services(), task_id)
    return Response(status=204)


@faces.post("/tasks/<id:task_id>/start")
@describe({202: TaskOut}, 404, 409, body=EmptyBody, headers={202: ("Location", "Retry-After")})
@idempotent(_started)
def start_task(task_id: str) -> Response:
    """Start a task; after an error, process again just the images that failed. There is nothing to send."""
    refuse_body()
    return _started(operations.start(_services(), task_id))


@faces.post("/tasks/<id:task_id>/stop")
@describe({202: TaskOut}, 404, 409, body=EmptyBody, headers={202: ("Location",)})
@idempotent(_changed)
def stop_task(task_id: str) -> Response:
    """Stop a task that is processing: what is done stays, the rest fails with `stopped`. There is nothing to send.

    The task ends in `error`, which its webhook is told, and can be started again. Photos that are being sent are not
    waited for; what comes of them is dropped.
    """
    refuse_body()
    return _changed(operations.stop(_services(), task_id))


@faces.get("/tasks/<id:task_id>/deliveries")
@describe({200: DeliveryList}, 404, 422, query=Page)
def list_deliveries(task_id: str) -> Response:
    """List the deliveries of a task's webhook, newest first: when each was tried, what was answered, the next try."""
    wanted = query(Page)
    before = place_of(wanted.cursor, 2)
    return page_answer(*deliveries.list_deliveries(_services(), task_id, wanted.limit, before))


@faces.post("/tasks/<id:task_id>/deliveries/<delivery_id>/redeliver")
@describe({202: DeliveryOut}, 404, body=EmptyBody)
@idempotent(_redelivered)
def redeliver_webhook(task_id: str, delivery_id: str) -> Response:
    """Send a webhook again, with the same `webhook-id`. There is nothing to send."""
    refuse_body()
    return _redelivered(deliveries.redeliver(_services(), task_id, delivery_id))


@faces.post("/tasks/<id:task_id>/images")
@describe({201: ImagesOut}, 400, 404, 409, 413, 415, 422, 503, 507, content=UPLOAD, query=UploadQuery)
@idempotent(_added, form=True)
def add_images(task_id: str) -> Response:
    """Upload images: multipart parts `image` with as many `name` fields or none, or the bare bytes with `?name=`.

    An empty `name` stands for the file's own. A name has at most 255 characters; a longer one loses its
    middle. All or nothing: one bad file refuses the request and is named in the answer. An upload that broke off can
    be sent again with `skip_existing=true`: only what the task has not is added.
    """
    skip = query(UploadQuery).skip_existing == "true"
    with read_uploads(request, _services().intake.limits.bytes) as uploads:
        return _added(operations.add_images(_services(), task_id, uploads, skip_existing=skip))


@faces.get("/tasks/<id:task_id>/images")
@describe({200: ImageList}, 404, 422, query=ImagesQuery)
def list_images(task_id: str) -> Response:
    """List a task's images in the order of upload, with their faces."""
    wanted = query(ImagesQuery)
    after, since = (int(part) for part in place_of(wanted.cursor, 2) or (-1, 0))
    found = queries.page_of_images(_services(), task_id, wanted.limit, after, since)
    return answer({"items": found.joined(), "next": _cursor(found, since)})


@faces.get("/tasks/<id:task_id>/images/<id:image_id>")
@describe({200: ImageOut}, 404, conditional=True)
def get_image(task_id: str, image_id: str) -> Response:
    """Get one image with its faces. Its `ETag` is what `If-Match` of a correction takes."""
    image = operations.get_image(_services(), task_id, image_id)
    tag = tag_of(image)
    if request.if_none_match.contains_weak(tag):
        return Response(status=304, headers={"ETag": f'"{tag}"'})
    return answer(image, ETag=f'"{tag}"')


@faces.delete("/tasks/<id:task_id>/images/<id:image_id>")
@describe({204: ""}, 404, 409)
def delete_image(task_id: str, image_id: str) -> Response:
    """Take an image out of a task that has not been started."""
    operations.delete_image(_services(), task_id, image_id)
    return Response(status=204)


@faces.get("/tasks/<id:task_id>/images/<id:image_id>/content")
@describe({200: "image/*", 302: ""}, 404, 409, 422, 503, query=ContentQuery, conditional=True)
def get_content(task_id: str, image_id: str) -> Response:
    """Get the original bytes of an image, whole or by `Range`; or with its faces drawn or hidden.

    A drawn photo is upright and without metadata; one of more than 16 megapixels is scaled down. With `boxed` a face of
    unknown gender has a dashed box and `?`; while there are no results it is the photo without boxes. `blurred`,
    `mosaic` and `solid` hide the faces that were found, with hair and chin: 409 until the image is done.
    """
    faces = query(ContentQuery).faces
    if faces == "boxed":
        return _drawn(task_id, image_id, faces, exports.boxed_photo)
    if faces:
        return _drawn(task_id, image_id, faces, partial(exports.anonymous_photo, style=faces))
    wanted = (_services(), task_id, image_id)
    return file_or_redirect(partial(operations.content_url, *wanted), partial(operations.open_content, *wanted))


@faces.get("/tasks/<id:task_id>/images/<id:image_id>/thumbnail")
@describe({200: thumbnails.MEDIA_TYPE}, 404, 422, conditional=True)
def get_thumbnail(task_id: str, image_id: str) -> Response:
    """Get a small upright JPEG of an image, at most 480 pixels wide and high. It is made with the first request."""
    thumbnail = thumbnails.read_thumbnail(_services(), task_id, image_id)
    download = Download("", thumbnails.MEDIA_TYPE, inline=True)
    return file_answer(StoredFile(io.BytesIO(thumbnail), len(thumbnail), f"{image_id}.thumbnail", download))


def _drawn(task_id: str, image_id: str, form: str, draw: Callable[[operations.Services, str, str], bytes]) -> Response:
    tag = exports.drawn_tag(_services(), task_id, image_id, form)
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
    if request.if_none_match.contains_weak(tag):
        return Response(status=304, headers=headers)
    return Response(draw(_services(), task_id, image_id), headers=headers, content_type="image/jpeg")


@faces.get("/tasks/<id:task_id>/faces.csv")
@describe({200: "text/csv"}, 404, query=TableQuery)
def get_faces_csv(task_id: str) -> Response:
    """Get one row a face found so far, in the order of upload and then of size, as CSV (RFC 4180, UTF-8).

    The first row names the columns: image_id, name, x, y, width, height, gender, age, score, male_probability, age_low,
    age_high, quality_height, quality_sharpness, quality_brightness, number, corrected. What is not known is empty. A
    part of a name that a spreadsheet program would take for a formula, since it begins with `=`, `+`, `-` or `@` after
    any separator, has an apostrophe before it. If the task is deleted meanwhile, the answer breaks off.
    """
    export = exports.faces_csv(_services(), task_id, bom=query(TableQuery).bom == "1")
    return stream_answer(export.pieces, "text/csv; charset=utf-8", export.file_name)


@faces.get("/tasks/<id:task_id>/photos.csv")
@describe({200: "text/csv"}, 404, query=TableQuery)
def get_photos_csv(task_id: str) -> Response:
    """Get one row a photo in the order of upload, as CSV: photos without faces, failed and missing ones differ.

    The first row names the columns: id, name, status, faces, error_code, error_detail, digest. `faces` is their number,
    empty while the photo is not done. Names are made harmless as in `faces.csv`.
    """
    export = exports.photos_csv(_services(), task_id, bom=query(TableQuery).bom == "1")
    return stream_answer(export.pieces, "text/csv; charset=utf-8", export.file_name)


@faces.get("/tasks/<id:task_id>/faces.jsonl")
@describe({200: "application/jsonl"}, 404)
def get_faces_jsonl(task_id: str) -> Response:
    """Get one JSON object a line for each face found so far, in the order of upload and then of size.

    Its members are image_id, name, and those of a face of the task. If the task is deleted meanwhile, the answer breaks
    off.
    """
    export = exports.faces_jsonl(_services(), task_id)
    return stream_answer(export.pieces, "application/jsonl", export.file_name)


@faces.get("/tasks/<id:task_id>/annotations.json")
@describe({200: AnnotationsOut}, 404, query=AnnotationQuery)
def get_annotations(task_id: str) -> Response:
    """Get the photos that are done, with a box around each face, for another program.

    `coco` is COCO's object detection; `labelstudio` are tasks with predictions; `fiftyone` are the labels of a
    `FiftyOneImageDetectionDataset`, by the photos' names without suffix. Boxes are in the upright photo.
    """
    task = absolute(url_for("faces.get_task", task_id=task_id))
    export = exports.annotations(_services(), task_id, query(AnnotationQuery).format, task)
    return stream_answer(export.pieces, "application/json", export.file_name)


@faces.get("/tasks/<id:task_id>/boxed.zip")
@describe({200: "application/zip"}, 404)
def get_boxed_zip(task_id: str) -> Response:
    """Get a zip of all photos with the faces found so far drawn, each as `?faces=boxed` gives it.

    Names are the images' own, made fit for every file system; where two are the same, one gets a number. If the task
    is deleted meanwhile, the answer breaks off.
    """
    export = exports.boxed_zip(_services(), task_id)
    return stream_answer(export.pieces, "application/zip", export.file_name)


@faces.get("/tasks/<id:task_id>/blurred.zip")
@describe({200: "application/zip"}, 404, 422, query=StyleQuery)
def get_blurred_zip(task_id: str) -> Response:
    """Get a zip of the photos that are done without recognisable faces, as `?faces=` gives them, to hand on.

    Photos whose faces are not known, since they wait or failed, are not in it: `left-out.txt` in the zip names them.
    Hidden is what was found; look through the photos before they are published. If the task is deleted meanwhile, the
    answer breaks off.
    """
    export = exports.blurred_zip(_services(), task_id, query(StyleQuery).style)
    return stream_answer(export.pieces, "application/zip", export.file_name)
