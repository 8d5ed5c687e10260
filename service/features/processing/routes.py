"""The HTTP interface of processing. Its paths may be written with `image_processing` too."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict

from service.errors import Malformed
from service.features.processing import operations
from service.features.processing.schemas import (
    PARAMS,
    FilesOut,
    ProcessingIn,
    ProcessingQuery,
    ProcessingTaskOut,
    TaskIdsOut,
)
from service.features.uploads import images_form, read_images
from service.http.basic_auth import require_basic
from service.http.bodies import EmptyBody, body, query, refuse_body, validated
from service.http.idempotency import idempotent
from service.http.openapi_views import describe
from service.http.pagination import Page, cursor_of, number_of
from service.http.responses import answer, file_or_redirect, stream_array
from service.http.services import provided

processing = Blueprint("processing", __name__, url_prefix="/api")
processing.before_request(require_basic)

_services = partial(provided, operations.Services)


class _Members(BaseModel):
    """Any JSON object, before anything is known of it."""

    model_config = ConfigDict(extra="allow")


def _added(file_ids: list[int]) -> Response:
    return answer({"file_ids": file_ids}, 201)


def _started(task_ids: list[int]) -> Response:
    return answer({"task_ids": task_ids})


@processing.post("/files/")
@describe({201: FilesOut}, 400, 413, 415, 422, 507, content=images_form("file"))
@idempotent(_added, form=True)
def add_files() -> Response:
    """Upload images: JPEG, PNG or WebP, multipart parts `file`. All or nothing: one bad file refuses the request."""
    services = _services()
    with read_images("file", services.intake.limits.bytes) as uploads:
        return _added(operations.add_files(services, uploads))


@processing.get("/files/<number:file_id>")
@describe({200: "image/*", 302: ""}, 404, 503, conditional=True)
def get_file(file_id: int) -> Response:
    """Get a file's bytes, whole or by `Range`: an upload as it came, or a task's result."""
    wanted = (_services(), file_id)
    return file_or_redirect(partial(operations.file_url, *wanted), partial(operations.open_file, *wanted))


@processing.delete("/files/<number:file_id>")
@describe({204: ""}, 404, 409)
def delete_file(file_id: int) -> Response:
    """Delete a file; not while a task that is pending or being processed needs it."""
    operations.delete_file(_services(), file_id)
    return Response(status=204)


@processing.get("/image-processing/")
@processing.get("/image_processing/", alias=True)
@describe({200: [ProcessingTaskOut]}, 422, query=ProcessingQuery, headers={200: ("Link?",)})
def list_processing_tasks() -> Response:
    """List tasks in the order in which they were made: all, or with `limit` a page, whose `Link` leads to the next."""
    wanted = query(ProcessingQuery)
    if wanted.limit is None and wanted.cursor is None:
        return stream_array(operations.all_tasks(_services()))
    limit = wanted.limit or Page().limit
    tasks, end = operations.page_of_tasks(_services(), limit, number_of(wanted.cursor))
    if end is None:
        return answer(tasks)
    following = urlencode({"limit": limit, "cursor": cursor_of((str(end),))})
    return answer(tasks, Link=f'<{request.path}?{following}>; rel="next"')


@processing.post("/image-processing/")
@processing.post("/image_processing/", alias=True)
@describe({200: TaskIdsOut}, 400, 404, 413, 422, body=ProcessingIn)
@idempotent(_started)
def create_processing_tasks() -> Response:
    """Start a task for each file. Results are upright, in sRGB, without metadata, and keep their source's type."""
    order = _order()
    return _started(operations.create_tasks(_services(), order.file_ids, order.algorithm, order.params))


@processing.get("/image-processing/<number:task_id>")
@processing.get("/image_processing/<number:task_id>", alias=True)
@describe({200: ProcessingTaskOut}, 404)
def get_processing_task(task_id: int) -> Response:
    """Get a task: pending, processing, finished with its `result_id`, or error."""
    return answer(operations.get_task(_services(), task_id))


@processing.post("/image-processing/<number:task_id>/restart")
@processing.post("/image_processing/<number:task_id>/restart", alias=True)
@describe({200: ProcessingTaskOut}, 404, 405, body=EmptyBody)
@idempotent(answer)
def restart_processing_task(task_id: int) -> Response:
    """Run a task that ended in error again, from its source. There is nothing to send."""
    refuse_body()
    return answer(operations.restart(_services(), task_id))


def _order() -> ProcessingIn:
    """Read the body. What is missing is 400 in the words that clients of this slice know; what is wrong is 422."""
    members = body(_Members).model_extra or {}
    _refuse_missing(("file_ids", "algorithm", "params"), members, "field")
    order = validated(ProcessingIn, members)
    if not order.file_ids:
        raise Malformed("specify at least one task", code="invalid_member")
    shape = PARAMS[order.algorithm]
    _refuse_missing(shape.model_fields, order.params, "parameter")
    validated(shape, order.params, "params")
    return order


def _refuse_missing(names: Any, members: dict[str, Any], what: str) -> None:
    for name in names:
        if name not in members:
            raise Malformed(f"[{name}] {what} is missing", code="missing_member")
