"""The HTTP interface of crops: faces cut out of their photos."""

from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field

from service.features.faces import crops
from service.features.faces.cutting import MARGIN
from service.features.faces.operations import Services
from service.http.basic_auth import require_basic
from service.http.bodies import StrictModel, query
from service.http.openapi_views import describe
from service.http.responses import stream_answer
from service.http.services import provided

cropped = Blueprint("crops", __name__, url_prefix="/api/v1/tasks/<id:task_id>")
cropped.before_request(require_basic)


class CropQuery(StrictModel):
    """The query of a crop."""

    margin: Annotated[
        float,
        Field(ge=0, le=5, description="What is shown around the face on each side, in parts of its box's longer side."),
    ] = MARGIN


def _services() -> Services:
    return provided(Services)


@cropped.get("/images/<id:image_id>/faces/<number:number>/crop")
@describe({200: crops.MEDIA_TYPE}, 404, 422, query=CropQuery, conditional=True, ranged=False)
def get_crop(task_id: str, image_id: str, number: int) -> Response:
    """Get one face, cut out of its photo: an upright JPEG without metadata, of at most 1,024 pixels a side."""
    wanted = crops.find_crop(_services(), task_id, image_id, number, query(CropQuery).margin)
    headers = {"ETag": f'"{wanted.tag}"', "Cache-Control": "private, no-cache"}
    if request.if_none_match.contains_weak(wanted.tag):
        return Response(status=304, headers=headers)
    crop = crops.read_crop(_services(), provided(crops.CropCache), wanted)
    return Response(crop, headers=headers, content_type=crops.MEDIA_TYPE)


@cropped.get("/crops.zip")
@describe({200: "application/zip"}, 404)
def get_crops_zip(task_id: str) -> Response:
    """Get a zip of all faces found so far, each as its crop, by the name of its photo and its number.

    If the task is deleted meanwhile, the answer breaks off.
    """
    export = crops.crops_zip(_services(), task_id)
    return stream_answer(export.pieces, "application/zip", export.file_name)
