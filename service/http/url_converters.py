"""Numbers and UUIDs in paths, and what no path may have."""

from flask import Flask, request
from werkzeug.routing import BaseConverter

from service.errors import NotFound


class Number(BaseConverter):
    """A number in a path. Anything else is 0, which no row has: so credentials are checked before it is 404."""

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


class Identifier(BaseConverter):
    """A UUID in a path, in capitals or not (RFC 9562, section 4). Anything else is taken as it is: no row has it."""

    def to_python(self, value: str) -> str:
        """Return it as the rows have it."""
        return value.lower()


def install(app: Flask) -> None:
    """Add the converters `id` and `number` to the application, and refuse paths with a NUL.

    A path is the same with a slash at its end and without; one that is an alias is answered as it is, not redirected.
    """
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters |= {"id": Identifier, "number": Number}
    app.before_request(_refuse_nul)


def _refuse_nul() -> None:
    """Raise NotFound for a path with a NUL: no stored text has one, and PostgreSQL refuses to look for it."""
    if "\0" in request.path:
        raise NotFound("There is no such address.", code="address_not_found")
