"""One line in the log, and one count, for every request; and an id by which to find it."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from werkzeug.wsgi import ClosingIterator

from service.http.openapi_views import template
from service.telemetry import logging as logs
from service.telemetry.metrics import METHODS, OTHER, Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_ID = "_id"
"""How the parts of a path that may be logged end: others may be secrets, such as a signed link's token."""


def install(app: Flask, metrics: Metrics) -> None:
    """Log and count every request of the application."""
    app.wsgi_app = AccessLog(app.wsgi_app, metrics)  # type: ignore[method-assign]


class AccessLog:
    """WSGI middleware: it sees the last byte of an answer, and whether it was sent to its end or not."""

    def __init__(self, app: "WSGIApplication", metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._counters = cache(self._find_counters)  # to look them up costs more than to count

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request, with its id in the header `X-Request-Id`."""
        begin = time.perf_counter()
        request_id = environ[logs.REQUEST_ID] = logs.request_id(environ.get("HTTP_X_REQUEST_ID"))
        status, size = "", 0
        request: Request | None = None

        def start(line: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            nonlocal status, request
            status, request = line[:3], environ.get("werkzeug.request")  # Flask takes it out again after the answer
            return start_response(line, [*headers, ("X-Request-Id", request_id)], *more)

        def counted() -> Iterator[bytes]:
            nonlocal size
            for part in body:
                size += len(part)
                yield part

        body = self._app(environ, start)
        closed = [lambda: self._record(environ, request, status, size, begin), getattr(body, "close", lambda: None)]
        return ClosingIterator(counted(), closed)

    def _record(
        self, environ: "WSGIEnvironment", request: Request | None, status: str, size: int, begin: float
    ) -> None:
        seconds = time.perf_counter() - begin
        rule = request and request.url_rule
        route, ids = (template(rule.rule), request.view_args or {}) if request and rule else (OTHER, {})
        method = environ["REQUEST_METHOD"]
        counted = method if method in METHODS else OTHER
        count, observe = self._counters(route, counted, status)
        count()
        observe(seconds)
        logs.event(
            log,
            "request",
            method=method,
            route=route,
            **{name.removesuffix(_ID): value for name, value in ids.items() if name.endswith(_ID)},
            status=int(status or 0),
            ms=round(seconds * 1000, 1),
            bytes=size,
            request_id=environ[logs.REQUEST_ID],
            address=environ.get("REMOTE_ADDR"),
        )

    def _find_counters(
        self, route: str, method: str, status: str
    ) -> tuple[Callable[[], None], Callable[[float], None]]:
        requests = self._metrics.requests.labels(route, method, status)
        return requests.inc, self._metrics.request_seconds.labels(route, method).observe
