"""The page for people: one template, plain modules, two languages; no build step, no file from elsewhere."""

from functools import cache
from pathlib import Path

import orjson
from flask import Blueprint, Response, make_response, redirect, render_template, request, send_from_directory
from werkzeug.exceptions import HTTPException

from service.http.basic_auth import require_basic
from service.http.openapi_views import describe
from service.http.problems import render_http_error

page = Blueprint("page", __name__, template_folder="templates")

STATIC = Path(__file__).parent / "static"
LANGUAGES = ("en", "ru")


@page.get("/tasks")
@page.get("/tasks/<id:task_id>")
@page.get("/tasks/<id:task_id>/photos/<id:image_id>")
@page.get("/tasks/<id:task_id>/photos/<id:image_id>/correct")
@page.get("/tasks/<id:task_id>/faces")
@page.get("/tasks/<id:task_id>/review/<id:review_id>")
@page.get("/tools")
@describe({200: "text/html"}, for_people=True)
def tasks(task_id: str = "", image_id: str = "", review_id: str = "") -> Response:
    """Return the page; its modules show what the address names: tasks, one of them, a photo, faces, the tools."""
    refusal = require_basic()
    if refusal is None:
        return _html(
            "page.html", modules=_modules(), user=request.authorization.username if request.authorization else ""
        )
    return _refused_in_html(refusal) if _is_for_a_person() else refusal


@page.before_app_request
def redirect_trailing_slash() -> Response | None:
    """Redirect a person who typed a trailing slash, so that the page has one address."""
    if request.path == "/tasks/" and request.method in ("GET", "HEAD") and _is_for_a_person():
        return make_response(redirect("/tasks", 308))
    return None


@page.get("/static/<path:name>")
@describe({200: "*/*"}, conditional=True, open=True, for_people=True)
def static_file(name: str) -> Response:
    """Return one of the page's files. A browser asks each time whether its copy is current, so none is ever stale."""
    response = send_from_directory(STATIC, name)
    response.headers["Cache-Control"] = "no-cache"
    return response


@page.app_errorhandler(404)
def unknown_address(error: HTTPException) -> Response:
    """Return a page with a way back to a person, a problem to a program."""
    if not _is_for_a_person():
        return render_http_error(error)
    response = _html("not_found.html")
    response.status_code = 404
    return response


def _is_for_a_person() -> bool:
    return request.accept_mimetypes.best_match(("application/problem+json", "text/html")) == "text/html"


def _html(template: str, **values: object) -> Response:
    language = _language()
    response = make_response(render_template(template, language=language, text=_texts(language), **values))
    response.headers["Content-Language"] = language
    response.headers["Cache-Control"] = "private, no-cache"
    response.vary.update(("Accept-Language", "Cookie"))
    return response


def _refused_in_html(refusal: Response) -> Response:
    """Return what a person sees who cancelled the browser's login dialog."""
    response = _html("refused.html", host=request.host)
    response.status_code = refusal.status_code
    response.headers["WWW-Authenticate"] = refusal.headers["WWW-Authenticate"]
    return response


def _language() -> str:
    """Return the language that the person chose on the page, else the best that the browser asks for."""
    chosen = request.cookies.get("language")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES, LANGUAGES[0])


@cache
def _texts(language: str) -> dict[str, str]:
    texts: dict[str, str] = orjson.loads((STATIC / f"{language}.json").read_bytes())
    return texts


@cache
def _modules() -> list[str]:
    """Return the names of the modules, so that the browser loads them in parallel."""
    return sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js") if ".worklet" not in path.name)
