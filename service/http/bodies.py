"""JSON bodies, queries and form fields, checked by pydantic."""

import codecs
import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from werkzeug.datastructures import MultiDict

from service.errors import Invalid, Malformed
from service.http.idempotency import read_body

M = TypeVar("M", bound=BaseModel)


class StrictModel(BaseModel):
    """A model that refuses unknown members and converts no types."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        """Refuse the one character that PostgreSQL's texts cannot have."""
        if isinstance(value, str) and "\0" in value:
            raise PydanticCustomError("nul", "must not have the character U+0000")
        return value


def _digits(text: Any) -> Any:
    """Refuse what is a number for Python alone: with a sign, a point, spaces, underscores, or other scripts' digits."""
    if isinstance(text, str) and not re.fullmatch("[0-9]+", text):
        raise PydanticCustomError("digits", "must be a whole number")
    return text


WholeNumber = Annotated[int, BeforeValidator(_digits)]
"""A number in a query."""


def body(model: type[M], types: str = "application/json") -> M:
    """Return the request's JSON as the model; an empty body counts as `{}`. Raises Malformed, Invalid, TooLarge.

    `types` is what a client is told to send that sent something else than JSON.
    """
    text = read_body() or b"{}"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if charset := _wrong_charset(text):
            raise Malformed(f"The body is {charset}: send JSON as UTF-8.", code="charset_not_utf8") from error
        if request.mimetype and not request.is_json:
            detail = f"The body is not JSON, and its Content-Type says something else: send {types}."
            raise Malformed(detail, code="not_json") from error
        raise Malformed(f"The body is not JSON: {error}.", code="not_json") from error
    _refuse_repeated_members(text)
    if not isinstance(value, dict):
        fault = {"detail": "must be an object", "pointer": "#"}
        raise Invalid("The body must be a JSON object.", [fault], code="invalid_member")
    return _validated(model, lambda: model.model_validate_json(text, strict=True), "body")


def _refuse_repeated_members(text: bytes) -> None:
    """Raise Invalid where an object has a member twice: readers differ in which one counts (RFC 8259, section 4)."""

    def unique(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        if len(names) > len(set(names)):
            name = next(name for name in names if names.count(name) > 1)[:200]
            raise Invalid(f"The body has the member `{name}` more than once: send it once.", code="repeated_member")

    try:
        json.loads(text, object_pairs_hook=unique)
    except RecursionError as error:
        raise Malformed("The body is nested too deeply.", code="not_json") from error


def _wrong_charset(text: bytes) -> str | None:
    """Return what the bytes seem to be in place of UTF-8; JSON begins with two ASCII characters."""
    if text[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in text[:2]:
        return "UTF-16 or UTF-32"
    try:
        text.decode()
    except UnicodeDecodeError:
        return "not UTF-8, but Latin-1 or another code page"
    return None


class EmptyBody(StrictModel):
    """An empty JSON object."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


def refuse_body() -> None:
    """Refuse JSON with members and forms, whose files would be lost. A body of another type is not read."""
    if request.is_json or request.mimetype == "multipart/form-data":
        body(EmptyBody)


def query(model: type[M]) -> M:
    """Return the query string as the model; raises Invalid."""
    return form_fields(model, request.args, "query")


def form_fields(model: type[M], texts: MultiDict[str, str], part: str = "form") -> M:
    """Return a form's texts as the model; raises Invalid."""
    repeated = [name for name, values in texts.lists() if len(values) > 1]
    if repeated:
        detail = f"The {part} has `{repeated[0]}` more than once: send it once."
        fault = {"detail": "must be sent once", **_place(part, (repeated[0],))}
        raise Invalid(detail, [fault], code=f"invalid_{_MEMBER[part == 'query']}")
    return _validated(model, lambda: model.model_validate(texts.to_dict()), part)


def validated(model: type[M], value: Any, part: str = "body") -> M:
    """Return a JSON value, or the named part of one, as the model; raises Invalid."""
    return _validated(model, lambda: model.model_validate(value, strict=True), part)


_MEMBER = {False: "member", True: "parameter"}
_KINDS = {"extra_forbidden": "unknown", "missing": "missing"}


def _validated(model: type[M], validate: Callable[[], M], part: str) -> M:
    try:
        return validate()
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        faults = [("".join(f"/{_escaped(step)}" for step in fault["loc"]), _must(str(fault["msg"]))) for fault in found]
        detail = _sentence(part, faults[:5])
        if any(fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1 for fault in found):
            detail = f"{detail} {_known_members(model)}"
        all_of_it = tuple(model.model_fields)[:1] if part == "query" else ()
        errors = [
            {"detail": must, **_place(part, fault["loc"] or all_of_it)}
            for fault, (_, must) in zip(found, faults, strict=True)
        ]
        kinds = {_KINDS.get(fault["type"], "invalid") for fault in found}
        kind = next(kind for kind in ("unknown", "missing", "invalid") if kind in kinds)
        raise Invalid(detail, errors, code=f"{kind}_{_MEMBER[part == 'query']}") from error


def _place(part: str, steps: Sequence[object]) -> dict[str, str]:
    """Return where a fault is: a parameter of the query, or a pointer into the body."""
    if part == "query":
        return {"parameter": str(steps[0])[:200] if steps else ""}
    within = [] if part in ("body", "form") else [part]
    return {"pointer": "#" + "".join(f"/{_escaped(step)}" for step in [*within, *steps])}


def _known_members(model: type[BaseModel]) -> str:
    names = ", ".join(f"`{name}`" for name in model.model_fields)
    return f"Known are: {names}." if names else "Nothing is to be sent."


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
