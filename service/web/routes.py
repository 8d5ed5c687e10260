"""Health, the OpenAPI document and the page at /docs, open to everybody."""

from collections.abc import Callable, Mapping
from pathlib import Path

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, redirect, render_template, send_from_directory

from service.api import answer, describe
from service.errors import render
from service.web.document import document

web = Blueprint("web", __name__, template_folder="templates")

SWAGGER = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"


@web.get("/")
def home() -> Response:
    """Lead to the page for people."""
    return redirect("/tasks")  # type: ignore[return-value]


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
