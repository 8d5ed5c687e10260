"""Problems in the OpenAPI document: their schema, and an example of each status."""

from http import HTTPStatus
from typing import Any

from service.errors import Problem
from service.http.problem_codes import CODES

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "description": "The address of the code's entry in the documents."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(CODES), "description": "Stable, for programs."},
        "detail": {"type": "string", "description": "A sentence for people: what happened, and what to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string"},
                    "parameter": {"type": "string"},
                },
            },
            "description": "With 422 each fault, by a pointer into the body or a parameter of the query. Of several "
            "files the one that is refused: `#/image/3` is the fourth part `image`; also with 413 and "
            "415 where it is its content.",
        },
        "accepted_types": {"type": "array", "items": {"type": "string"}, "description": "With 415."},
        "limit": {"type": "number", "description": "With 413: what the detail says, as a number in the same unit."},
    },
}
_NO_NUMBER = {"detail": "must be at most 100", "parameter": "limit"}
_EXAMPLES: dict[int, dict[str, Any]] = {
    400: {"detail": "The body is not JSON: unexpected end of data: line 1 column 2 (char 1)."},
    401: {"detail": "Send the user name and the password of this service by HTTP Basic."},
    403: {"detail": "This request comes from a page of another site, which may not act here."},
    404: {"detail": "There is no such task. It may have been deleted."},
    405: {"detail": "This address does not take DELETE; it takes GET, HEAD, OPTIONS."},
    408: {"detail": "The request came too slowly. Send it again."},
    409: {"detail": "The task is processing: images can be added only while it is forming."},
    412: {"detail": "The image has been changed since. Get it again, then repeat what is still right."},
    413: {
        "detail": "photo.jpg is too large: images may have at most 20000000 bytes. Make it smaller.",
        "limit": 20_000_000,
    },
    414: {"detail": "The address is too long."},
    415: {
        "detail": "notes.txt is not an image: image/jpeg, image/png, image/webp, image/heic, image/avif are accepted.",
        "accepted_types": ["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"],
    },
    416: {"detail": "There is no such range: the file has 91342 bytes."},
    422: {"detail": "`limit` in the query must be at most 100.", "errors": [_NO_NUMBER]},
    429: {"detail": "Too many wrong credentials came from this address. Try again in 300 seconds."},
    431: {"detail": "The headers are too long."},
    500: {"detail": "Something went wrong here. It was logged under 15a5d28d5aff4762."},
    503: {"detail": "The database is busy. Try again in a second."},
    507: {"detail": "The disk is full: nothing was stored. Make room, then try again."},
}
_CODES = {kind.status: kind.code for kind in Problem.__subclasses__()} | {
    400: "not_json",
    401: "credentials_missing",
    403: "cross_site_request",
    404: "task_not_found",
    409: "task_not_forming",
    413: "file_too_large",
    414: "request_line_too_long",
    415: "image_type_not_accepted",
    416: "range_not_satisfiable",
    422: "invalid_parameter",
    431: "headers_too_large",
    500: Problem.code,
    503: "database_unavailable",
}
_TITLES = {kind.status: kind.title for kind in Problem.__subclasses__() if kind.title}


def example(status: int) -> dict[str, Any]:
    """Return an example of a problem of this status."""
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    code = _CODES[status]
    return {"type": f"/docs/errors#{code}", "title": title, "status": status, "code": code, **_EXAMPLES[status]}
