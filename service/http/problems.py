"""Problems as answers (RFC 9457): the one place that renders them."""

import logging
from http import HTTPStatus
from typing import Any

import orjson
import werkzeug.exceptions
from flask import Flask, Response, current_app, has_request_context, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestedRangeNotSatisfiable

from service.db import database as db
from service.errors import NoRoom, Problem, ServiceFault, Unavailable
from service.http.responses import absolute
from service.http.services import provided
from service.shortage import is_shortage
from service.storage.storage import is_full
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

_CODES = {kind.status: kind.code for kind in Problem.__subclasses__()} | {
    404: "address_not_found",
    416: "range_not_satisfiable",
}
"""The codes of what is raised below this service, by status."""


_AWAY = "database_unavailable"


def render(
    status: int, detail: str, code: str, *, title: str | None = None, headers: Any = None, **members: Any
) -> Response:
    """Return an answer of type application/problem+json; `code` is one of CODES, where its entry is."""
    body = {
        "type": type_of(code),
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    response = Response(orjson.dumps(body | members), status, content_type="application/problem+json")
    for name, value in dict(headers or {}).items():
        response.headers[name] = value
    return response


def type_of(code: str) -> str:
    """Return the address of the code's entry; without a request that could be read, relative to its address."""
    path = f"/docs/errors#{code}"
    return absolute(path) if has_request_context() and request.host else path


def _sentence(error: HTTPException, status: int) -> str:
    """Return what a person is told of an error that was raised below this service."""
    if isinstance(error, MethodNotAllowed):
        return f"This address does not take {request.method}; it takes {', '.join(sorted(error.valid_methods or ()))}."
    if isinstance(error, RequestedRangeNotSatisfiable) and error.length is not None:
        return f"There is no such range: the file has {error.length} bytes."
    if isinstance(error, werkzeug.exceptions.NotFound):
        return "There is no such address. /docs shows those that there are."
    return error.description or HTTPStatus(status).phrase


def render_http_error(error: HTTPException) -> Response:
    """Return an error that was raised below this service as a problem; a redirect as it is."""
    kept = {name: value for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")}
    status = error.code or 500
    if status < 400:
        if "Location" in kept:
            kept["Location"] = kept["Location"].removeprefix(request.host_url.rstrip("/"))
        return Response(status=status, headers=kept)
    return render(status, _sentence(error, status), _CODES.get(status, Problem.code), headers=kept)


def install(app: Flask) -> None:
    """Make every answer that is not 2xx or 3xx a problem document."""
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, render_http_error)
    app.register_error_handler(SQLAlchemyError, _database)
    app.register_error_handler(Exception, _unexpected)


def _problem(error: Problem) -> Response:
    detail = error.detail
    if isinstance(error, ServiceFault):
        detail = f"{detail} It was logged under {_log(error)}."
    return render(error.status, detail, error.code, title=error.title, headers=error.headers, **error.members)


def _database(error: SQLAlchemyError) -> Response:
    if db.is_away(error):
        logs.event(log, "the database is away or busy", logging.WARNING, said=db.first_line(error))
        if db.has_moved(error):
            return _problem(
                Unavailable("The database was moved away: nothing was stored. Try again later.", 30, code=_AWAY)
            )
        return _problem(Unavailable("The database is busy. Try again in a second.", code=_AWAY))
    if db.is_full(error):
        if request.method == "DELETE" and provided(db.Database).release_reserve():
            return _again()
        return _problem(NoRoom("The disk is full: nothing was stored. Make room, then try again."))
    return _unexpected(error)


def _again() -> Response:
    """Answer the request once more: there is room now that was kept for it."""
    logs.event(log, "the disk is full: a deletion takes what was kept free for it", logging.WARNING)
    try:
        answer = current_app.dispatch_request()
    except Exception as error:  # noqa: BLE001 - it is answered as in any request
        answer = current_app.handle_user_exception(error)
    return current_app.make_response(answer)


def _unexpected(error: Exception) -> Response:
    if is_shortage(error):
        fault = ServiceFault("This machine lacks memory or open files now. Try again.")
        fault.__cause__ = error
        return _problem(fault)
    if isinstance(error, OSError) and is_full(error):
        return _problem(NoRoom("The disk is full: nothing was stored. Make room, then try again."))
    reference = _log(error)
    return render(500, f"Something went wrong here. It was logged under {reference}.", Problem.code)


def _log(error: Exception) -> str:
    """Log an error with the request's id, and return that."""
    reference: str = request.environ[logs.REQUEST_ID]
    log.error("request failed", exc_info=error, extra={"lines": ({"request_id": reference},)})
    return reference
