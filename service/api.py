"""What the routes of every slice share: bodies and queries by pydantic, JSON answers, lists."""

import errno
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, BinaryIO, TypeVar
from urllib.parse import quote

import orjson
from flask import Response, current_app, request
from itsdangerous import BadSignature, URLSafeSerializer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from werkzeug.datastructures import MultiDict
from werkzeug.routing import BaseConverter
from werkzeug.wsgi import FileWrapper

from service import logs
from service.errors import Invalid, Malformed, Problem
from service.idempotency import read_body

log = logging.getLogger(__name__)

LINK_SECONDS = 300
"""How long the address lives that a request for a file is redirected to."""

M = TypeVar("M", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])
Answer = type[BaseModel] | list[type[BaseModel]] | str
"""A model, an array of a model, or a media type."""


class Shape(BaseModel):
    """The base of what comes in: unknown members are refused, and nothing is guessed from another type."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        """Refuse the one character that PostgreSQL's texts cannot have."""
        if isinstance(value, str) and "\0" in value:
            raise PydanticCustomError("nul", "must not have the character U+0000")
        return value


class Number(BaseConverter):
    """A number in a path. Anything else is 0, which nothing has: so credentials are looked at before it is 404."""

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


class Identifier(BaseConverter):
    """A UUID in a path, in capitals or not (RFC 9562, section 4). Anything else is taken as it is: nothing has it."""

    def to_python(self, value: str) -> str:
        """Return it as the rows have it."""
        return value.lower()


@cache
def template(rule: str) -> str:
    """Return a rule's path as the OpenAPI document writes it: `/tasks/{task_id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def _digits(text: Any) -> Any:
    """Refuse what is a number for Python alone: with a sign, a point, spaces, underscores, or other scripts' digits."""
    if isinstance(text, str) and not re.fullmatch("[0-9]+", text):
        raise PydanticCustomError("digits", "must be a whole number")
    return text


Count = Annotated[int, BeforeValidator(_digits)]
"""A number in a query."""


def _given_out(cursor: str) -> str:
    """Return a cursor that this list has signed; this refuses another together with what else is wrong in the query."""
    try:
        place_of(cursor, None)
    except Invalid as refusal:
        raise PydanticCustomError("cursor", "is unknown: take the `next` of the page before") from refusal
    return cursor


Cursor = Annotated[str, AfterValidator(_given_out)]


class Page(Shape):
    """The query of a list."""

    limit: Annotated[Count, Field(ge=1, le=100, description="How many items a page has.")] = 20
    cursor: Annotated[Cursor | None, Field(description="The `next` of the page before.")] = None


FILE: dict[str, Any] = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
"""What the OpenAPI document says of a form's part that is a file; by the `format` a page knows to ask for one."""


def without_null(shape: dict[str, Any]) -> dict[str, Any]:
    """Return a member's JSON schema as that of a part of a form or query, where leaving it out is the only null."""
    bare = {name: value for name, value in shape.items() if name != "anyOf" and (name, value) != ("default", None)}
    for one in shape.get("anyOf", ()):
        bare |= one if one != {"type": "null"} else {}
    return bare


@dataclass(frozen=True)
class Described:
    """What the OpenAPI document says of a view beside its docstring."""

    answers: Mapping[int, Answer]
    problems: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    conditional: bool = False
    open: bool = False
    scheme: str = "basic"


def describe(answers: Mapping[int, Answer], *problems: int, **more: Any) -> Callable[[F], F]:
    """Tell the OpenAPI document what a view takes and answers: a model, an array of one, or a media type, a status."""

    def mark(view: F) -> F:
        view.described = Described(answers, problems, **more)  # type: ignore[attr-defined]
        return view

    return mark


def body(model: type[M], types: str = "application/json") -> M:
    """Return the request's JSON as the model; an empty body counts as `{}`. Raises Malformed, Invalid, TooLarge.

    `types` is what a client is told to send that sent something else than JSON.
    """
    text = read_body() or b"{}"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if request.mimetype and not request.is_json:
            raise Malformed(f"The body is not JSON, and its Content-Type says something else: send {types}.") from error
        raise Malformed(f"The body is not JSON: {error}.") from error
    return _validated(lambda: model.model_validate_json(text, strict=True), "body", value)


class Nothing(Shape):
    """A body that has nothing to say."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


def refuse_body() -> None:
    """Refuse JSON that says anything: it would have no effect. A body of another type is not looked at."""
    if request.is_json:
        body(Nothing)


def validated(model: type[M], value: Any, part: str = "body") -> M:
    """Return a JSON value, or the named part of one, as the model; raises Invalid."""
    return _validated(lambda: model.model_validate(value, strict=True), part, value)


def query(model: type[M]) -> M:
    """Return the query string as the model; raises Invalid."""
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise Invalid(
            f"The query has `{repeated[0]}` more than once: send it once.", pointer=f"#/{_escaped(repeated[0])}"
        )
    return _validated(lambda: model.model_validate(request.args.to_dict()), "query", None)


def form_fields(model: type[M], texts: MultiDict[str, str]) -> M:
    """Return a form's texts as the model; raises Invalid."""
    repeated = [name for name, values in texts.lists() if len(values) > 1]
    if repeated:
        raise Invalid(
            f"The form has `{repeated[0]}` more than once: send it once.", pointer=f"#/{_escaped(repeated[0])}"
        )
    return _validated(lambda: model.model_validate(texts.to_dict()), "form", None)


def _validated(validate: Callable[[], M], part: str, value: Any) -> M:
    if part == "body" and not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.", [{"detail": "must be an object", "pointer": "#"}])
    root = "#" if part in ("body", "query", "form") else f"#/{part}"
    try:
        return validate()
    except ValidationError as error:
        faults = [
            ("".join(f"/{_escaped(step)}" for step in fault["loc"]), _must(str(fault["msg"])))
            for fault in error.errors(include_url=False, include_input=False)
        ]
        errors = [{"detail": must, "pointer": root + place} for place, must in faults]
        raise Invalid(_sentence(part, faults[:5]), errors) from error


def _sentence(part: str, faults: Sequence[tuple[str, str]]) -> str:
    """Say what must be, for each place such as `/name` within the part, or for the part itself."""
    return " ".join(
        f"`{place[1:]}` in the {part} {must}." if place else f"The {part} {must}." for place, must in faults
    )


def _must(message: str) -> str:
    """Return pydantic's sentence as the end of one that begins with a name."""
    for pattern, words in _WORDS.items():
        message = re.sub(pattern, words, message)
    return message


_WORDS = {
    "^Field required$": "must be sent",
    "^Extra inputs are not permitted$": "is unknown here",
    "^[A-Z][a-z]+ should ": "must ",
    "^must match pattern": "must match the pattern",
    "a valid string": "a text",
    "a valid integer": "a whole number",
    "a valid list": "an array",
    "a valid dictionary": "an object",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    ", unable to parse .*| after validation": "",
}


def _escaped(step: object) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")[:200]


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Return JSON. Keyword names are header names with `_` for `-`."""
    response = Response(orjson.dumps(value), status, content_type="application/json")
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


def file_answer(stream: BinaryIO, size: int, tag: str, media_type: str) -> Response:
    """Return stored bytes that never change, whole, by `Range`, or as 304; the stream is closed with the answer."""
    response = Response(FileWrapper(stream, 64 * 1024), content_type=media_type, direct_passthrough=True)
    response.content_length = size
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    response.make_conditional(_with_one_range(size), accept_ranges=True, complete_length=size)
    return response


def _with_one_range(size: int) -> dict[str, Any]:
    """Return the request's environment; a `Range` that is not one part in bytes is ignored (RFC 9110, section 14.2)."""
    environ = dict(request.environ)
    wanted = request.range
    if not wanted or wanted.units != "bytes" or len(wanted.ranges) > 1:
        environ.pop("HTTP_RANGE", None)
    elif wanted.ranges[0][0] < -size:
        environ["HTTP_RANGE"] = "bytes=0-"  # the last bytes, more than there are: all of them
    return environ


def stream_answer(pieces: Iterator[bytes], media_type: str, file_name: str) -> Response:
    """Return what is made while it is sent, as an attachment of this name; it is closed when the client goes away.

    The first piece is made here: a problem met by then is the answer. One that is met later breaks the answer off.
    """
    first = next(pieces, b"")
    response = Response(_sent(first, pieces, request.environ[logs.REQUEST_ID]), content_type=media_type)
    response.headers["Content-Disposition"] = attachment(file_name)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _sent(first: bytes, rest: Iterator[bytes], request_id: str) -> Iterator[bytes]:
    yield first
    try:
        yield from rest
    except Problem as problem:
        logs.event(log, "answer broke off", why=problem.detail, request_id=request_id)
        # The server takes it for a client that has gone: it says no more, not even that this was the end.
        raise BrokenPipeError(errno.EPIPE, "the answer breaks off") from problem


def attachment(file_name: str) -> str:
    """Return a Content-Disposition after RFC 6266: the name as it is, and in ASCII for old clients."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", unicodedata.normalize("NFC", file_name))
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


def redirects() -> bool:
    """Tell whether this request for a file is to be answered with its address. It is signed for GET, not for HEAD."""
    return current_app.extensions["settings"].content_delivery == "redirect" and request.method == "GET"


def redirect_answer(url: str) -> Response:
    """Lead to a file at an address that lives for LINK_SECONDS; the browser may keep the answer half as long."""
    response = Response(status=302, headers={"Location": url})
    response.headers["Cache-Control"] = f"private, max-age={LINK_SECONDS // 2}"
    return response


def absolute(url: str) -> str:
    """Return the url itself, or a path of this service with `PUBLIC_URL`, or else the request's host, before it."""
    if not url.startswith("/"):
        return url
    base: str = current_app.extensions["settings"].public_url or request.host_url
    return base.rstrip("/") + url


def page_answer(items: list[dict[str, Any]], place: tuple[str, ...] | None) -> Response:
    """Return a page of a list; `place` is where the next one begins."""
    return answer({"items": items, "next": str(_signer().dumps(place)) if place else None})


def place_of(cursor: str | None, parts: int | None) -> tuple[str, ...] | None:
    """Return the place that a cursor stands for. Signed, so that what was not given out here is refused: Invalid."""
    if cursor is None:
        return None
    try:
        place = _signer().loads(cursor)
    except BadSignature as error:
        raise Invalid("This cursor is unknown: take the `next` of the page before.", pointer="#/cursor") from error
    if parts is not None and len(place) != parts:
        detail = "This cursor belongs to another list: take the `next` of a page of this one."
        raise Invalid(detail, pointer="#/cursor")
    return tuple(place)


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.extensions["settings"].signing_key, salt=f"cursor {request.endpoint}")
