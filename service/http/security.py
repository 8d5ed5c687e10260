"""Cross-site requests are refused, and every answer has the security headers."""

import functools
from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from service.config import Settings
from service.errors import Forbidden, Malformed
from service.http.services import provided

SAFE = {"GET", "HEAD", "OPTIONS"}

PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""For pages: their own files and calls, nothing inline, nothing from elsewhere."""
CONTENT = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""For all else, stored files among it: opened in a browser, it can do nothing, whatever it turns out to be."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: under it browsers send `Origin: null` with a form, which is refused here.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
EXPOSED = ("Content-Disposition", "ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "X-Request-Id")
"""What scripts of pages of the origins in `CORS_ORIGINS` may read beside what browsers always let them."""


def install(app: Flask, settings: Settings) -> None:
    """Check every request, and give every answer the headers."""
    if not settings.public_url:
        app.before_request(refuse_bad_hosts)
    app.before_request(refuse_cross_site)
    app.after_request(functools.partial(harden, page_policy(settings)))
    if settings.allowed_origins:
        CORS(app, origins=settings.allowed_origins, supports_credentials=True, expose_headers=EXPOSED, max_age=600)
    if number := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=number, x_host=number)  # type: ignore[method-assign]


def refuse_bad_hosts() -> None:
    """Refuse a `Host` that is empty or malformed, before anything is done: no link could be made of it."""
    if not request.host:
        detail = "The header `Host` is not the name or address of a server, such as example.com or [::1]:8000."
        raise Malformed(detail, code="host_malformed")


def refuse_cross_site() -> None:
    """Refuse what another site makes a browser send, which would come with the user's credentials.

    Browsers say where a request comes from, and no page can change that: in `Sec-Fetch-Site`, or where the connection
    is not secure in `Origin` alone. Programs send neither.
    """
    if request.method in SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        origin = request.headers.get("Origin")
        allowed = origin is None or origin in _own_origins()
    if not (allowed or request.headers.get("Origin") in provided(Settings).allowed_origins):
        raise Forbidden(
            "This request came from a page of another site, which may not act here. Send it from a page of this "
            "service or from a program. Where pages of that site shall call the API, name its origin in CORS_ORIGINS; "
            "where a proxy stands before the service, set PUBLIC_URL.",
            code="cross_site_request",
        )


def page_policy(settings: Settings) -> str:
    """Return the Content-Security-Policy of pages, which show and play files from where they are redirected to."""
    if settings.content_delivery != "redirect":
        return PAGE
    store = urlsplit(settings.cdn_url or settings.s3_public_endpoint_url or settings.s3_endpoint_url)
    origin = f"{store.scheme}://{store.netloc}" if store.netloc else "https:"
    return PAGE.replace("img-src 'self'", f"img-src 'self' {origin}").replace(
        "media-src 'self'", f"media-src 'self' {origin}"
    )


def harden(page: str, response: Response) -> Response:
    """Set the security headers of an answer: no type is guessed, nothing embeds it, a page loads only what it may."""
    if response.status_code in (204, 304):
        response.headers.pop("Content-Type", None)  # of nothing; Flask would say text/html
    policy = page if response.mimetype == "text/html" else CONTENT
    given = {name.lower() for name, _ in response.headers}
    for name, value in (*HEADERS.items(), ("Content-Security-Policy", policy)):
        if name.lower() not in given:
            response.headers.add(name, value)
    return response


def _own_origins() -> set[str]:
    public = urlsplit(provided(Settings).public_url)
    return {request.host_url.rstrip("/"), f"{public.scheme}://{public.netloc}"}
