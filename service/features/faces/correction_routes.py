"""The HTTP interface of corrections."""

from flask import Blueprint, Response, request

from service.features.faces import corrections
from service.features.faces.correction_schemas import AddedFaceIn, CorrectionIn
from service.features.faces.corrections import Edited
from service.features.faces.operations import Services
from service.features.faces.schemas import FaceOut
from service.http.basic_auth import require_basic
from service.http.bodies import body
from service.http.idempotency import idempotent
from service.http.openapi_views import describe
from service.http.responses import answer
from service.http.services import provided

corrected = Blueprint("corrections", __name__, url_prefix="/api/v1/tasks/<id:task_id>/images/<id:image_id>/faces")
corrected.before_request(require_basic)

TAGGED = dict.fromkeys((200, 201, 204), ("ETag",))


def _services() -> Services:
    return provided(Services)


def expected_tags() -> frozenset[str] | None:
    """Return the tags that `If-Match` names, compared strongly (RFC 9110, section 13.1.1); None where any will do."""
    wanted = request.if_match
    if "If-Match" not in request.headers or wanted.star_tag:
        return None
    return frozenset(wanted.as_set())


def _shown(edited: Edited, status: int = 200) -> Response:
    return answer(edited.face, status, ETag=f'"{edited.tag}"')


def _added(edited: Edited) -> Response:
    return _shown(edited, 201)


@corrected.patch("/<number:number>")
@describe({200: FaceOut}, 404, 409, 412, body=CorrectionIn, headers=TAGGED, matched=True)
def correct_face(task_id: str, image_id: str, number: int) -> Response:
    """Correct a face: its gender, age or box, or whether it is one. What the engine said stays in `detected`.

    `is_face` false takes it out of statistics, exports and pictures. Statistics, exports and pictures follow at once.
    """
    changes = body(CorrectionIn).model_dump(exclude_unset=True)
    return _shown(corrections.correct(_services(), task_id, image_id, number, changes, expected_tags()))


@corrected.delete("/<number:number>/correction")
@describe({200: FaceOut}, 404, 409, 412, headers=TAGGED, matched=True)
def undo_correction(task_id: str, image_id: str, number: int) -> Response:
    """Undo the corrections of a face: it is again as the engine said. 409 for a face that a person added."""
    return _shown(corrections.undo(_services(), task_id, image_id, number, expected_tags()))


@corrected.post("")
@describe({201: FaceOut}, 404, 409, 412, body=AddedFaceIn, headers=TAGGED, matched=True)
@idempotent(_added)
def add_face(task_id: str, image_id: str) -> Response:
    """Add a face that the engine missed. It gets the next number; no number is used twice."""
    said = body(AddedFaceIn).model_dump()
    return _added(corrections.add(_services(), task_id, image_id, said, expected_tags()))


@corrected.delete("/<number:number>")
@describe({204: ""}, 404, 409, 412, headers=TAGGED, matched=True)
def remove_face(task_id: str, image_id: str, number: int) -> Response:
    """Remove a face that a person added. 409 for one that the engine found."""
    edited = corrections.remove(_services(), task_id, image_id, number, expected_tags())
    return Response(status=204, headers={"ETag": f'"{edited.tag}"'})
