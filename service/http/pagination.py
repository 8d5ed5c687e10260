"""Lists in pages, and the signed cursors between them."""

from typing import Annotated, Any

from flask import Response, request
from itsdangerous import BadSignature, URLSafeSerializer
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from service.config import Settings
from service.errors import Invalid
from service.http.bodies import StrictModel, WholeNumber
from service.http.responses import answer
from service.http.services import provided

_CODE = "invalid_parameter"


def _given_out(cursor: str) -> str:
    """Return a cursor that this list has signed; this refuses another together with what else is wrong in the query."""
    try:
        place_of(cursor, None)
    except Invalid as refusal:
        raise PydanticCustomError("cursor", "is unknown: take the `next` of the page before") from refusal
    return cursor


Cursor = Annotated[str, AfterValidator(_given_out)]


class Page(StrictModel):
    """The query of a list."""

    limit: Annotated[WholeNumber, Field(ge=1, le=100, description="How many items a page has.")] = 20
    cursor: Annotated[Cursor | None, Field(description="The `next` of the page before.")] = None


def page_answer(items: list[dict[str, Any]], place: tuple[str, ...] | int | None) -> Response:
    """Return a page of a list; `place` is where the next one begins."""
    place = (str(place),) if isinstance(place, int) else place
    return answer({"items": items, "next": cursor_of(place) if place else None})


def cursor_of(place: tuple[str, ...], endpoint: str | None = None) -> str:
    """Return the cursor of a page that begins there, in the list of this endpoint or of the request's own."""
    return str(_signer(endpoint).dumps(place))


def place_of(cursor: str | None, parts: int | None) -> tuple[str, ...] | None:
    """Return the place that a cursor stands for. Signed, so that what was not given out here is refused: Invalid."""
    if cursor is None:
        return None
    try:
        place = _signer().loads(cursor)
    except BadSignature as error:
        raise Invalid(
            "This cursor is unknown: take the `next` of the page before.", parameter="cursor", code=_CODE
        ) from error
    if parts is not None and len(place) != parts:
        detail = "This cursor belongs to another list: take the `next` of a page of this one."
        raise Invalid(detail, parameter="cursor", code=_CODE)
    return tuple(place)


def number_of(cursor: str | None) -> int | None:
    """Return the number that a cursor of a list in the order of numbers stands for; raise Invalid as `place_of`."""
    place = place_of(cursor, 1)
    return int(place[0]) if place else None


def _signer(endpoint: str | None = None) -> URLSafeSerializer:
    return URLSafeSerializer(provided(Settings).signing_key, salt=f"cursor {endpoint or request.endpoint}")
