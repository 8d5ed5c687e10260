"""Descriptions of views for the OpenAPI document."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])

Answer = type[BaseModel] | list[type[BaseModel]] | str
"""A model, an array of a model, or a media type."""


@cache
def template(rule: str) -> str:
    """Return a rule's path as the OpenAPI document writes it: `/tasks/{task_id}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


FILE: dict[str, Any] = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
"""What the OpenAPI document says of a form's part that is a file; by the `format` a page knows to ask for one."""


def multipart(properties: dict[str, Any], example: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a multipart request: the schemas of its parts, and an example that can be sent."""
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    schema |= {"required": list(required)} if required else {}
    return {"multipart/form-data": {"schema": schema, "example": example}}


def without_null(shape: dict[str, Any]) -> dict[str, Any]:
    """Return a member's JSON schema as that of a part of a form or query, where leaving it out is the only null."""
    bare = {name: value for name, value in shape.items() if name != "anyOf" and (name, value) != ("default", None)}
    for one in shape.get("anyOf", ()):
        bare |= one if one != {"type": "null"} else {}
    return bare


@dataclass(frozen=True)
class Described:
    """What the OpenAPI document says of a view beside its docstring; of one that is `for_people`, nothing."""

    answers: Mapping[int, Answer]
    problems: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    conditional: bool = False
    ranged: bool = True
    matched: bool = False
    open: bool = False
    for_people: bool = False
    scheme: str = "basic"


def describe(answers: Mapping[int, Answer], *problems: int, **more: Any) -> Callable[[F], F]:
    """Return a decorator that describes a view: its answers by status, its problems, and fields of Described."""

    def mark(view: F) -> F:
        view.described = Described(answers, problems, **more)  # type: ignore[attr-defined]
        return view

    return mark
