"""Codings of request bodies: what is not read is refused (RFC 9110, section 15.5.16)."""

from flask import request

from service.errors import UnsupportedType


def refuse_content_coding() -> None:
    """Raise UnsupportedType for a body in another coding; for `before_request`."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedType(
            "The body has a Content-Encoding, which is not read here. Send it as it is, without that header.",
            code="content_coding_not_read",
            headers={"Accept-Encoding": "identity"},
        )
