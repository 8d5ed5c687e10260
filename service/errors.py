"""The kinds of problem, and the one place that renders them (RFC 9457)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
import werkzeug.exceptions
from flask import Flask, Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestedRangeNotSatisfiable

from service import db, logs

log = logging.getLogger(__name__)


class Problem(Exception):
    """Something the client is told: one subclass a kind, `detail` a sentence that helps.

    Problem
     ├── Malformed 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · NotAllowed 405 · TooSlow 408
     ├── Conflict 409 · TooLarge 413 · UnsupportedType 415 · Invalid 422 · TooManyTries 429
     └── Unavailable 503 · NoRoom 507
    """

    status = 500
    title: str | None = None

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members


class Malformed(Problem):
    """The request cannot be read at all."""

    status = 400


class Unauthorized(Problem):
    """No credentials, or wrong ones."""

    status = 401


class Forbidden(Problem):
    """Not from there, or not any more."""

    status = 403


class NotFound(Problem):
    """There is no such thing, or not for this client."""

    status = 404


class NotAllowed(Problem):
    """Not with this method now; the header `Allow` names those that the path knows."""

    status = 405


class TooSlow(Problem):
    """The request did not come in time; the connection ends."""

    status = 408


class Conflict(Problem):
    """Not in this state."""

    status = 409


class TooLarge(Problem):
    """Over a limit, which the detail names; where it is one number, the member `limit` has it, in the same unit."""

    status = 413
    title = "Content Too Large"

    def __init__(self, detail: str, *, limit: float | None = None) -> None:
        super().__init__(detail)
        self.limit = limit
        if limit is not None:
            self.members["limit"] = limit


class UnsupportedType(Problem):
    """Not one of the accepted types, which the detail names."""

    status = 415


class Invalid(Problem):
    """Well-formed but wrong; `errors` names each fault by a pointer into the body or query, `#` being all of it."""

    status = 422
    title = "Unprocessable Content"

    def __init__(
        self, detail: str, errors: Sequence[dict[str, str]] = (), *, pointer: str = "#", **members: Any
    ) -> None:
        super().__init__(detail, **members)
        self.members["errors"] = list(errors) or [{"detail": detail, "pointer": pointer}]


class TooManyTries(Problem):
    """Too many wrong credentials; `Retry-After` says when the next may come."""

    status = 429

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(Problem):
    """Not now; `Retry-After` says when."""

    status = 503

    def __init__(self, detail: str, retry_after: int = 1, **members: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class NoRoom(Problem):
    """The store is full."""

    status = 507


def render(status: int, detail: str, *, title: str | None = None, headers: Any = None, **members: Any) -> Response:
    """Return an answer of type application/problem+json."""
    body = {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status, "detail": detail}
    response = Response(orjson.dumps(body | members), status, content_type="application/problem+json")
    for name, value in dict(headers or {}).items():
        response.headers[name] = value
    return response


def _sentence(error: HTTPException, status: int) -> str:
    """Return what a person is told of an error that was raised below this service."""
    if isinstance(error, MethodNotAllowed):
        return f"This address does not take {request.method}; it takes {', '.join(sorted(error.valid_methods or ()))}."
    if isinstance(error, RequestedRangeNotSatisfiable) and error.length is not None:
        return f"There is no such range: the file has {error.length} bytes."
    if isinstance(error, werkzeug.exceptions.NotFound):
        return "There is no such address. /docs shows those that there are."
    return error.description or HTTPStatus(status).phrase


def install(app: Flask) -> None:
    """Make every answer that is not 2xx or 3xx a problem document."""

    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        return render(error.status, error.detail, title=error.title, headers=error.headers, **error.members)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        kept = {name: value for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")}
        status = error.code or 500
        if status < 400:
            return Response(status=status, headers=kept)
        return render(status, _sentence(error, status), headers=kept)

    @app.errorhandler(SQLAlchemyError)
    def database(error: SQLAlchemyError) -> Response:
        if db.is_away(error):
            logs.event(log, "the database is away or busy", logging.WARNING, said=db.first_line(error))
            if db.has_moved(error):
                return problem(Unavailable("The database was moved away: nothing was stored. Try again later.", 30))
            return problem(Unavailable("The database is busy. Try again in a second."))
        if db.is_full(error):
            return problem(NoRoom("The disk is full: nothing was stored. Make room, then try again."))
        return unexpected(error)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        reference = request.environ[logs.REQUEST_ID]
        log.error("request failed", exc_info=error, extra={"lines": ({"request_id": reference},)})
        return render(500, f"Something went wrong here. It was logged under {reference}.")
