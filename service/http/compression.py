"""Answers compressed by gzip for clients that take it (RFC 9110, section 8.4)."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.wsgi import ClosingIterator

TYPES = frozenset(("application/json", "application/problem+json", "application/jsonl", "text/csv"))
LEVEL = 1
"""A tenth of the size for 10 ms a megabyte; the next levels save a few percent more and take twice as long."""
LEAST = 1_000
"""Bytes below which an answer fits one packet anyway."""
SUFFIX = "-gzip"
"""What the compressed form of an answer has at the end of its tag: it is another sequence of bytes."""


def install(app: Flask) -> None:
    """Compress the answers of an application, and take their tags back in either form."""
    app.before_request(accept_either_tag)
    app.after_request(compress)


def accept_either_tag() -> None:
    """Read the tags of compressed answers as those of the answers themselves."""
    for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
        tags = request.environ.get(name, "")
        if f'{SUFFIX}"' in tags:
            request.environ[name] = tags.replace(f'{SUFFIX}"', '"')
            g.knows_compressed = True


def compress(response: Response) -> Response:
    """Compress an answer of a type that gains by it; a 304 names the form that the client has."""
    if response.status_code == 304 and g.get("knows_compressed"):
        _mark(response)
    if response.mimetype not in TYPES or response.direct_passthrough or "Content-Encoding" in response.headers:
        return response
    response.headers.add("Vary", "Accept-Encoding")
    is_short = not response.is_streamed and (response.content_length or 0) < LEAST
    if is_short or not request.accept_encodings.quality("gzip"):
        return response
    if response.is_streamed:
        pieces = response.response
        response.response = ClosingIterator(_compressed(pieces), getattr(pieces, "close", None))
    else:
        response.set_data(b"".join(_compressed([response.get_data()])))
    response.headers["Content-Encoding"] = "gzip"
    _mark(response)
    return response


def _mark(response: Response) -> None:
    tag, is_weak = response.get_etag()
    if tag:
        response.set_etag(f"{tag}{SUFFIX}", is_weak or False)


def _compressed(pieces: Iterable[Any]) -> Iterator[bytes]:
    compressor = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        if data := compressor.compress(piece):
            yield data
    yield compressor.flush()
