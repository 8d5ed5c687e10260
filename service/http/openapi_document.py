"""The OpenAPI 3.1 document, made from the views: their docstrings, models and descriptions."""

import inspect
from functools import cache
from typing import Any

from apispec import APISpec
from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from service import __version__
from service.http import security
from service.http.idempotency import MAX_KEY
from service.http.openapi_examples import PROBLEM, example
from service.http.openapi_views import Described, template, without_null
from service.http.services import provided


def _header_parameter(name: str, text: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string"} | schema}


HEADERS = {
    "Allow": "The methods that this path supports.",
    "Content-Disposition": "The name under which to save it.",
    "Content-Range": "Which bytes of how many these are.",
    "ETag": "The version of the answer. Sent as `If-None-Match`, it gets 304 while that is current.",
    "Idempotency-Replayed": "`true` where this answer is a replay of the first one.",
    "Link": 'The next page, as `rel="next"` (RFC 8288).',
    "Location": "The address of the created or requested resource.",
    "Retry-After": "Seconds to wait before the next request.",
    "WWW-Authenticate": "How to authenticate.",
    "X-Request-Id": "The request's id in the log: the header `X-Request-Id` of the request, or a new one.",
}
"""The headers of answers, with their descriptions."""
ALWAYS = ("Location", "Retry-After", "ETag", "Content-Range", "WWW-Authenticate")
"""Headers that are required wherever an answer is documented with them."""
OF_STATUS = {
    206: ("Content-Range",),
    302: ("Location",),
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
IN_PATH = {
    "name": "The file's name.",
    "token": "The signed token of the link.",
    "user_id": "The id of the user, as registration and login return it.",
}
"""Descriptions of the parameters of paths that are no ids."""
RANGE = _header_parameter(
    "Range",
    "A part of the file, such as `bytes=0-1023`. Several parts, or other units than bytes, are ignored.",
)
IF_NONE_MATCH = _header_parameter("If-None-Match", "The `ETag` of the client's copy: 304 while that is current.")
IF_MATCH = _header_parameter(
    "If-Match", "The `ETag` of the image as the client knows it: 412 where it has been changed since."
)
IDEMPOTENCY_KEY = _header_parameter(
    "Idempotency-Key",
    "Chosen by the client, a new one for each new request. Repeated with the same key within 24 hours, the request "
    "gets its first answer again, and nothing happens twice. 409 while the first is being carried out, 422 for "
    "another request with the same key. Errors are not kept.",
    minLength=1,
    maxLength=MAX_KEY,
    pattern="^[ -~]+$",
)
ABOUT = """Upload a batch of photos, get every face with box, gender and age.

Every 4xx and 5xx is a problem document (RFC 9457) with a `detail` for people and a stable `code` for programs; its
`type` leads to what the code means, at /docs/errors. Every call may answer 400, 408, 414 and 431 where a request cannot
be read, 415 with `Accept-Encoding` for a body in a coding, 501 for a transfer coding other than `chunked`, 405 with
`Allow` for another method, and 404 for another path. A slash at the end of a path makes no difference."""
TEXTS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted. Processing continues in the background.",
    204: "Deleted.",
    206: "The part that `Range` requests.",
    302: "The file is at the signed address in `Location`, which expires soon.",
    304: "Not modified.",
    400: "The request cannot be read.",
    401: "Credentials are missing or wrong.",
    403: "Sent by a page of another site, or no longer allowed.",
    404: "Not found.",
    405: "The method is not allowed.",
    408: "The request came too slowly.",
    409: "Not possible in this state.",
    412: "Changed since `If-Match` was current.",
    413: "Too large. The answer names the limit.",
    414: "The request line is too long. The member `limit` has the most bytes.",
    415: "The type is not accepted. The answer names the accepted ones.",
    416: "The range is not satisfiable.",
    422: "Well-formed but invalid. `errors` names each fault.",
    429: "Too many failed logins. `Retry-After` says when the next may come.",
    431: "Too many headers, or one is too long. The detail says which, the member `limit` how many or how long.",
    500: "Internal error. The answer has the id under which it was logged.",
    503: "Temporarily unavailable. `Retry-After` says when to try again.",
    507: "The storage is full.",
}


class Tags(dict[str, str]):
    """What each blueprint is for, by its name, in the order of the document."""


@cache
def document(app: Flask) -> dict[str, Any]:
    """Return the document of the application's described views. `app` may be flask's proxy."""
    spec = APISpec("Headcount", version=__version__, openapi_version="3.1.0", info={"description": ABOUT})
    spec.components.security_scheme("basic", {"type": "http", "scheme": "basic"})
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    spec.components.security_scheme("bearer", bearer)
    spec.components.schema("Problem", PROBLEM)
    for name in HEADERS:
        spec.components.header(name, _header(name, required=name in ALWAYS))
    for status in TEXTS:
        if status >= 400:
            spec.components.response(f"Problem{status}", _problem(status))
    views = [(rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules() if not rule.alias]
    described = [(rule, view, view.described) for rule, view in views if is_call(view)]  # type: ignore[union-attr]
    tagged = {_tag(rule) for rule, _, _ in described}
    for name, text in provided(Tags, app).items():
        if name in tagged:
            spec.tag({"name": name, "description": text})
    for name, schema in _schemas([found for _, _, found in described]).items():
        spec.components.schema(name, schema)
    for rule, view, found in described:
        (method,) = (rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}
        operation = _operation(rule, view, found)
        spec.path(template(rule.rule), operations={method.lower(): operation})
    return spec.to_dict()


def is_call(view: Any) -> bool:
    """Return whether a view is a call of the API: described, and no page."""
    return hasattr(view, "described") and not view.described.for_people


def _schemas(described: list[Described]) -> dict[str, Any]:
    answers = [value for found in described for value in (*found.answers.values(), found.body)]
    flat = [value[0] if isinstance(value, list) else value for value in answers]
    models = {model for model in flat if isinstance(model, type) and issubclass(model, BaseModel)}
    wanted = [(model, "serialization") for model in sorted(models, key=lambda model: model.__name__)]
    _, schema = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return dict(schema["$defs"])


def _operation(rule: Rule, view: Any, found: Described) -> dict[str, Any]:
    text, keyed = inspect.getdoc(view) or "", hasattr(view, "idempotent")
    summary, _, rest = text.partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": _id(rule),
        "tags": [_tag(rule)],
        "summary": summary.replace("`", ""),  # which is plain text, unlike a description
        "parameters": _parameters(rule, found) + [IDEMPOTENCY_KEY] * keyed,
        "responses": _responses(rule, found, keyed=keyed),
        "security": [] if found.open else [{found.scheme: []}],
    }
    if rest:
        operation["description"] = rest
    content = dict(found.content)
    if found.body:
        content["application/json"] = _json(found.body)
    if content:
        optional = found.body and not any(member.is_required() for member in found.body.model_fields.values())
        operation["requestBody"] = {"content": content, "required": not optional}
    return operation


def _tag(rule: Rule) -> str:
    blueprint: str = rule.endpoint.partition(".")[0]
    return blueprint


def _id(rule: Rule) -> str:
    """Return the view's name, with its blueprint's or its path parameters where two would be the same."""
    endpoint: str = rule.endpoint
    blueprint, _, name = endpoint.rpartition(".")
    same = [other for other in rule.map.iter_rules() if other.endpoint.rpartition(".")[2] == name]
    if len({other.endpoint for other in same}) > 1:
        name = f"{blueprint}_{name}"
    if rule.arguments and len([other for other in same if other.endpoint == endpoint]) > 1:
        name += f"_by_{'_'.join(sorted(rule.arguments))}"
    return name


def _parameters(rule: Rule, found: Described) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": kind}}
        for name in sorted(rule.arguments)
        for text in [IN_PATH.get(name) or f"The {name.removesuffix('_id')}'s id."]
        for kind in ["integer" if f"<number:{name}>" in rule.rule else "string"]
    ]
    if found.query:
        schema = found.query.model_json_schema()
        for name, value in schema["properties"].items():
            shape = without_null(value)
            text = shape.pop("description", "")
            required = name in schema.get("required", ())
            parameters.append({"name": name, "in": "query", "required": required, "description": text, "schema": shape})
    conditions = [IF_NONE_MATCH] * found.conditional + [IF_MATCH] * found.matched
    return parameters + conditions + [RANGE] * _is_file(found)


def _is_file(found: Described) -> bool:
    """Return whether the answer is a stored file, of which a part may be requested."""
    return found.conditional and found.ranged and isinstance(found.answers.get(200), str)


def _responses(rule: Rule, found: Described, *, keyed: bool) -> dict[str, Any]:
    answers = dict(found.answers)
    if _is_file(found):
        answers.setdefault(206, found.answers[200])
    if found.conditional:
        answers.setdefault(304, "")
    responses: dict[str, Any] = {}
    for status, value in sorted(answers.items()):
        names = {*found.headers.get(status, ()), *OF_STATUS.get(status, ())}
        names |= {"ETag"} if found.conditional and status != 302 else set()
        names |= {"Idempotency-Replayed"} if keyed else set()
        responses[str(status)] = {"description": TEXTS[status], "headers": _headers(names)}
        if value:
            content = {value: {"schema": {}}} if isinstance(value, str) else {"application/json": _json(value)}
            responses[str(status)]["content"] = content
    for status in sorted({*found.problems, *_common(rule, found, keyed=keyed)}):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    return responses


def _problem(status: int) -> dict[str, Any]:
    shown = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example(status)}
    content = {"application/problem+json": shown}
    return {"description": TEXTS[status], "headers": _headers(set(OF_STATUS.get(status, ()))), "content": content}


def _headers(names: set[str]) -> dict[str, Any]:
    """Return the headers of an answer; a name that ends with `?` is one which is not always there."""
    always = {name: {"$ref": f"#/components/headers/{name}"} for name in {"X-Request-Id", *names} if name[-1] != "?"}
    at_times = {name[:-1]: _header(name[:-1], required=False) for name in names if name[-1] == "?"}
    return dict(sorted((always | at_times).items()))


def _header(name: str, *, required: bool) -> dict[str, Any]:
    kind = "integer" if name == "Retry-After" else "string"
    return {"description": HEADERS[name], "schema": {"type": kind}, "required": required}


def _common(rule: Rule, found: Described, *, keyed: bool) -> set[int]:
    """Return the problems that the service has for every call of this kind."""
    common = {400, 408, 414, 431, 500, 503}
    common |= {403} if (rule.methods or set()) - security.SAFE else set()
    common |= set() if found.open else {401, 429}
    common |= {409, 413, 422} if keyed else set()
    common |= {413, 422} if found.body or found.content else set()
    common |= {422} if found.query else set()
    common |= {404} if rule.arguments else set()
    return common | ({416} if _is_file(found) else set())


def _json(model: Any) -> dict[str, Any]:
    """Return what JSON of the model is like, or of an array of it, with the model's own example."""
    if isinstance(model, list):
        item = _json(model[0])
        array = {"schema": {"type": "array", "items": item["schema"]}}
        return array | {"example": [item["example"]]} if "example" in item else array
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    examples = model.model_json_schema().get("examples")
    return {"schema": schema, "example": examples[0]} if examples else {"schema": schema}
