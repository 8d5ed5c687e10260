"""Numbers and UUIDs in paths."""

from werkzeug.routing import BaseConverter


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
