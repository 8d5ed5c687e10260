"""Answers: JSON, stored files, streams, redirects."""

import errno
import logging
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from flask import Response, request
from werkzeug.wsgi import FileWrapper

from service.config import Settings
from service.errors import Problem
from service.http.services import provided
from service.storage.signed_urls import Download
from service.storage.stored_file import StoredFile
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

PIECE = 32 * 1024
"""Bytes of a stream that are sent at a time, about."""
LINK_SECONDS = 300
"""How long the address lives that a request for a file is redirected to."""


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Return JSON. Keyword names are header names with `_` for `-`."""
    response = Response(orjson.dumps(value), status, content_type="application/json")
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


def file_answer(file: StoredFile) -> Response:
    """Return stored bytes that never change, whole, by `Range`, or as 304; the stream is closed with the answer."""
    response = Response(
        FileWrapper(file.stream, 64 * 1024), content_type=file.download.media_type, direct_passthrough=True
    )
    response.content_length = file.size
    response.set_etag(file.etag)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    if disposition := file.download.disposition():
        response.headers["Content-Disposition"] = disposition
    response.make_conditional(_with_one_range(file.size), accept_ranges=True, complete_length=file.size)
    return response


def file_or_redirect(url: Callable[[float], str], open_file: Callable[[], StoredFile]) -> Response:
    """Return a stored file, or lead to its address where the settings say so.

    `url` makes an address that lives for so many seconds. The browser may keep the answer half as long. The address is
    signed for GET, so HEAD is answered here.
    """
    if request.method != "GET" or provided(Settings).content_delivery != "redirect":
        return file_answer(open_file())
    response = Response(status=302, headers={"Location": url(LINK_SECONDS)})
    response.headers["Cache-Control"] = f"private, max-age={LINK_SECONDS // 2}"
    return response


def _with_one_range(size: int) -> dict[str, Any]:
    """Return the request's environment; a `Range` that is not one part in bytes is ignored (RFC 9110, section 14.2)."""
    environ = dict(request.environ)
    wanted = request.range
    if not wanted or wanted.units != "bytes" or len(wanted.ranges) > 1:
        environ.pop("HTTP_RANGE", None)
    elif wanted.ranges[0][0] < -size:
        environ["HTTP_RANGE"] = "bytes=0-"  # the last bytes, more than there are: all of them
    return environ


def stream_answer(pieces: Iterator[bytes], media_type: str, file_name: str) -> Response:
    """Return what is made while it is sent, as an attachment of this name; it is closed when the client goes away.

    The first piece is made here: a problem met by then is the answer. One that is met later breaks the answer off.
    """
    first = next(pieces, b"")
    response = Response(_sent(first, pieces, request.environ[logs.REQUEST_ID]), content_type=media_type)
    response.headers["Content-Disposition"] = Download(file_name).disposition() or "attachment"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def stream_array(items: Iterator[Any]) -> Response:
    """Return a JSON array that is made while it is sent."""
    pieces = _array(items)
    first = next(pieces)
    return Response(_sent(first, pieces, request.environ[logs.REQUEST_ID]), content_type="application/json")


def _array(items: Iterator[Any]) -> Iterator[bytes]:
    piece = bytearray(b"[")
    for number, item in enumerate(items):
        piece += (b"," if number else b"") + orjson.dumps(item)
        if len(piece) > PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]")


def _sent(first: bytes, rest: Iterator[bytes], request_id: str) -> Iterator[bytes]:
    yield first
    try:
        yield from rest
    except Problem as problem:
        logs.event(log, "answer broke off", why=problem.detail, request_id=request_id)
        # The server takes it for a client that has gone: it ends the connection without the end of the body.
        raise BrokenPipeError(errno.EPIPE, "the answer breaks off") from problem


def shown_anywhere(response: Response) -> Response:
    """Let pages of any origin show the answer to a link that was given out to be shown (Fetch, section 3.8)."""
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def absolute(url: str) -> str:
    """Return the url itself, or a path of this service with `PUBLIC_URL`, or else the request's host, before it."""
    if not url.startswith("/"):
        return url
    base: str = provided(Settings).public_url or request.host_url
    return base.rstrip("/") + url
