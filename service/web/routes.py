"""Health, the OpenAPI document and the page at /docs, open to everybody."""

from collections.abc import Callable, Mapping
from io import SEEK_END
from pathlib import Path

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, redirect, render_template, send_from_directory

from service.api import answer, describe, file_answer
from service.errors import NotFound, render
from service.links import Links
from service.storage import Storage
from service.web.document import document

web = Blueprint("web", __name__, template_folder="templates")

SWAGGER = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"


@web.get("/")
def home() -> Response:
    """Lead to the documentation."""
    return redirect("/docs")  # type: ignore[return-value]


@web.get("/healthz")
@describe({200: "application/json"}, open=True)
def healthz() -> Response:
    """Tell that the process lives; it asks nothing else."""
    return answer({"status": "ok"})


@web.get("/readyz")
@describe({200: "application/json"}, 503, open=True)
def readyz() -> Response:
    """Tell whether the service can work, or what is missing."""
    checks: Mapping[str, Callable[[], None]] = current_app.extensions["readiness"]
    missing = {}
    for name, check in checks.items():
        try:
            check()
        except Exception:
            current_app.logger.exception("not ready: %s", name)
            missing[name] = "missing"
    if missing:
        return render(503, f"Not ready: {', '.join(missing)}.", headers={"Retry-After": "5"}, missing=sorted(missing))
    return answer({"status": "ready"})


@web.get("/files/<token>/<name>")
@describe({200: "application/octet-stream"}, 403, 404, 503, conditional=True, open=True)
def get_file(token: str, name: str) -> Response:
    """Get a stored file by a signed link, whole or by `Range`, until the link ends. No credentials."""
    links: Links = current_app.extensions["links"]
    storage: Storage = current_app.extensions["storage"]
    key, left, download = links.read(token)
    try:
        stream = storage.open(key)
    except FileNotFoundError as error:
        raise NotFound("There is no such file any more.") from error
    size = stream.seek(0, SEEK_END)
    stream.seek(0)
    response = file_answer(stream, size, token.rpartition(".")[2], download.media_type)
    response.headers["Cache-Control"] = f"private, max-age={int(left)}"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    if disposition := download.disposition():
        response.headers["Content-Disposition"] = disposition
    return response


@web.get("/openapi.json")
def openapi() -> Response:
    """Give the OpenAPI 3.1 document."""
    return answer(document(current_app))


@web.get("/docs")
def docs() -> str:
    """Show the page to try the interface."""
    return render_template("docs.html")


@web.get("/docs/<path:name>")
def docs_file(name: str) -> Response:
    """Serve Swagger UI from its package, so that the page works without the internet."""
    return send_from_directory(SWAGGER, name, max_age=86400)
