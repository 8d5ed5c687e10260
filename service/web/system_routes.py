"""Routes of no feature: health, metrics, signed links, the OpenAPI document and the page at /docs."""

import logging
import time
from io import SEEK_END
from pathlib import Path
from typing import Any, Literal

from flask import Blueprint, Response, current_app, redirect, render_template, send_from_directory
from pydantic import ConfigDict, RootModel
from sqlalchemy.exc import SQLAlchemyError

from service.db.database import Database, first_line
from service.errors import NotFound
from service.http import problem_codes
from service.http.basic_auth import basic
from service.http.bodies import StrictModel
from service.http.openapi_document import document
from service.http.openapi_views import describe
from service.http.problems import render
from service.http.responses import answer, file_answer, shown_anywhere
from service.http.services import provided
from service.jobs import models
from service.maintenance.checks import Inventory
from service.storage.signed_urls import SignedUrls
from service.storage.storage import Storage
from service.storage.stored_file import StoredFile
from service.telemetry.logging import StateLog
from service.telemetry.metrics import CONTENT_TYPE, Metrics, Waiting
from service.web.readiness import ReadinessMonitor

_queue = StateLog(logging.getLogger(__name__), "the queue cannot be read", "the queue can be read again")

web = Blueprint("web", __name__, template_folder="templates")

SWAGGER_UI = Path(__file__).parent / "swagger_ui"
"""The files of swagger-ui-dist 5.31.0 (Apache-2.0, with its notices), as published, and the script that starts them."""


class Health(StrictModel):
    """The process lives."""

    status: Literal["ok"]

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})


class Readiness(StrictModel):
    """The service can work."""

    status: Literal["ready"]

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready"}]})


class OpenAPI(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"openapi": "3.1.0", "info": {"title": "…", "version": "1"}, "paths": {}}]}
    )


@web.get("/")
@describe({302: ""}, open=True, for_people=True)
def home() -> Response:
    """Redirect to the page for people."""
    return redirect("/tasks")  # type: ignore[return-value]


@web.get("/healthz")
@describe({200: Health}, open=True)
def healthz() -> Response:
    """Return whether the process lives; it asks nothing else."""
    return answer({"status": "ok"})


@web.get("/readyz")
@describe({200: Readiness}, 503, open=True)
def readyz() -> Response:
    """Return whether the service can work, or what is missing."""
    if missing := provided(ReadinessMonitor).missing():
        detail, headers = f"Not ready: {', '.join(missing)}.", {"Retry-After": "5"}
        return render(503, detail, "not_ready", headers=headers, missing=missing)
    return answer({"status": "ready"})


@web.get("/metrics")
@describe({200: "text/plain"})
@basic.login_required  # type: ignore[untyped-decorator]
def show_metrics() -> Response:
    """Return the metrics of all processes and the length of the queue, as Prometheus text."""
    metrics: Metrics = provided(Metrics)
    return Response(metrics.text(_waiting()), content_type=CONTENT_TYPE)


def _waiting() -> list[Waiting] | None:
    """Read the queue, once for all processes; None where the database is not reachable, which is worth showing too."""
    try:
        with provided(Database).read() as session:
            kinds = list(provided(Inventory).operations)
            waiting = [Waiting(*row) for row in models.waiting(session, kinds, now=time.time())]
    except SQLAlchemyError as error:
        _queue.see("queue", first_line(error))
        return None
    _queue.see("queue", "")
    return waiting


@web.get("/files/<token>/<name>")
@describe({200: "*/*"}, 403, 404, 503, conditional=True, open=True)
def get_file(token: str, name: str) -> Response:
    """Get a stored file by a signed link, whole or by `Range`, until the link ends. No credentials."""
    signed_urls = provided(SignedUrls)
    storage: Storage = provided(Storage)
    key, left, download = signed_urls.read(token)
    try:
        stream = storage.open(key)
    except FileNotFoundError as error:
        raise NotFound("There is no such file any more.", code="file_not_found") from error
    size = stream.seek(0, SEEK_END)
    stream.seek(0)
    response = file_answer(StoredFile(stream, size, token.rpartition(".")[2], download))
    response.headers["Cache-Control"] = f"private, max-age={int(left)}"
    return shown_anywhere(response)


@web.get("/openapi.json")
@describe({200: OpenAPI}, open=True)
def openapi() -> Response:
    """Return the OpenAPI 3.1 document."""
    return answer(document(current_app))


@web.get("/docs")
@describe({200: "text/html"}, open=True, for_people=True)
def docs() -> str:
    """Return the page of the API documentation, where calls can be tried."""
    return render_template("docs.html")


@web.get("/docs/errors")
@describe({200: "text/html"}, open=True, for_people=True)
def error_codes() -> str:
    """Return the page of the codes that problems have, to which their `type` leads."""
    return render_template("errors.html", about=problem_codes.ABOUT, codes=problem_codes.CODES)


@web.get("/docs/<path:name>")
@describe({200: "*/*"}, open=True, conditional=True, for_people=True)
def docs_file(name: str) -> Response:
    """Return a file of Swagger UI. None comes from elsewhere, so the page works without the internet."""
    return send_from_directory(SWAGGER_UI, name, max_age=86400)
