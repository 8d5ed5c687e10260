"""The OpenAPI 3.1 document, made from the views: their docstrings, models and descriptions."""

import inspect
import re
from functools import cache
from typing import Any

from apispec import APISpec
from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from service import security
from service.api import Described

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for people: what happened, and what to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"detail": {"type": "string"}, "pointer": {"type": "string"}},
            },
        },
    },
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Made up by the client, a new one for each new request: sent again with the same key within 24 "
    "hours, the request gets its first answer again, and nothing happens twice. 409 while the first is still being "
    "carried out, 422 for another request with the same key. Refusals are not kept.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
TEXTS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; it goes on in the background.",
    204: "Gone.",
    206: "The part that `Range` asks for.",
    302: "The file is at the address in `Location`, which is signed and ends soon.",
    304: "Not changed.",
    400: "The request cannot be read.",
    401: "No credentials, or wrong ones.",
    403: "From a page of another site, or not allowed any more.",
    404: "There is no such thing.",
    405: "Not with this method.",
    409: "Not in this state.",
    413: "Too large; the answer names the limit.",
    415: "Not an accepted type; the answer names them.",
    416: "There is no such range.",
    422: "Well-formed but wrong; `errors` names each fault.",
    429: "Too many wrong credentials; `Retry-After` says when the next may come.",
    500: "A fault of the service; the answer has the id under which it was logged.",
    503: "Not now; `Retry-After` says when.",
    507: "The store is full.",
}


@cache
def document(app: Flask) -> dict[str, Any]:
    """Return the document of the application's described views. `app` may be flask's proxy."""
    spec = APISpec(
        title="Media batch service",
        version="1",
        openapi_version="3.1.0",
        info={"description": "Hand in a batch of photos, get every face with box, gender and age."},
    )
    spec.components.security_scheme("basic", {"type": "http", "scheme": "basic"})
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    spec.components.security_scheme("bearer", bearer)
    spec.components.schema("Problem", PROBLEM)
    views = [(rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()]
    described = [(rule, view, view.described) for rule, view in views if hasattr(view, "described")]
    for name, schema in _schemas([found for _, _, found in described]).items():
        spec.components.schema(name, schema)
    for rule, view, found in described:
        (method,) = (rule.methods or set()) & {"GET", "POST", "PUT", "DELETE"}
        operation = _operation(rule, view, found)
        spec.path(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), operations={method.lower(): operation})
    return spec.to_dict()


def _schemas(described: list[Described]) -> dict[str, Any]:
    answers = [value for found in described for value in (*found.answers.values(), found.body)]
    flat = [value[0] if isinstance(value, list) else value for value in answers]
    ordered = sorted({model for model in flat if _is_model(model)}, key=lambda model: model.__name__)  # type: ignore[union-attr]
    _, schema = models_json_schema(
        [(model, "serialization") for model in ordered],  # type: ignore[misc]
        ref_template="#/components/schemas/{model}",
    )
    return dict(schema["$defs"])


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _operation(rule: Rule, view: Any, found: Described) -> dict[str, Any]:
    text, keyed = inspect.getdoc(view) or "", hasattr(view, "idempotent")
    summary, _, rest = text.partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.rpartition(".")[2],
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": summary,
        "parameters": _parameters(rule, found) + [KEY] * keyed,
        "responses": _responses(rule, found, keyed=keyed),
        "security": [] if found.open else [{found.scheme: []}],
    }
    if rest:
        operation["description"] = rest
    content = dict(found.content)
    if found.body:
        content["application/json"] = {"schema": _reference(found.body)}
    if content:
        operation["requestBody"] = {"content": content, "required": not found.body}
    return operation


def _parameters(rule: Rule, found: Described) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": _path_type(rule, name)}}
        for name in sorted(rule.arguments)
    ]
    if found.query:
        schema = found.query.model_json_schema()
        for name, value in schema["properties"].items():
            text = value.pop("description", "")
            required = name in schema.get("required", ())
            parameters.append({"name": name, "in": "query", "required": required, "description": text, "schema": value})
    if set(found.content) - {"multipart/form-data"}:
        text = "The name of a bare image."
        parameters.append({"name": "name", "in": "query", "description": text, "schema": {"type": "string"}})
    if found.conditional:
        parameters.append({"name": "If-None-Match", "in": "header", "schema": {"type": "string"}})
    return parameters


def _path_type(rule: Rule, name: str) -> str:
    return "integer" if f"<number:{name}>" in rule.rule else "string"


def _responses(rule: Rule, found: Described, *, keyed: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, value in found.answers.items():
        responses[str(status)] = {"description": TEXTS[status]}
        if isinstance(value, list):
            schema = {"type": "array", "items": _reference(value[0])}
            responses[str(status)]["content"] = {"application/json": {"schema": schema}}
        elif _is_model(value):
            responses[str(status)]["content"] = {"application/json": {"schema": _reference(value)}}
        elif value:
            responses[str(status)]["content"] = {value: {"schema": {}}}
        names = found.headers.get(status, ()) + (("ETag",) if found.conditional else ())
        names += ("Idempotency-Replayed",) if keyed else ()
        if names:
            responses[str(status)]["headers"] = {name: {"schema": {"type": "string"}} for name in names}
    if found.conditional:
        responses["304"] = {"description": TEXTS[304]}
    for status in sorted({*found.problems, *_common(rule, found, keyed=keyed)}):
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        responses[str(status)] = {"description": TEXTS[status], "content": content}
    return responses


def _common(rule: Rule, found: Described, *, keyed: bool) -> set[int]:
    """Return the problems that the service has for every call of this kind."""
    unsafe = {403} if (rule.methods or set()) - security.SAFE else set()
    return {500} | unsafe | (set() if found.open else {401, 429, 503}) | ({409, 422} if keyed else set())


def _reference(model: Any) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
