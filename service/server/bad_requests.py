"""Requests that cannot be read as HTTP: what is answered, without repeating any of them."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

from gunicorn.http import errors

from service.errors import Malformed, TooSlow
from service.http import security
from service.http.problems import render


class TooManyConnections(Exception):
    """An address has as many connections as it may have."""


STATUSES = {
    errors.LimitRequestLine: 414,
    errors.ExpectationFailed: 417,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
    TooSlow: 408,
    TooManyConnections: 503,
}
"""The status of each fault that is not 400."""

CODES = {
    408: TooSlow.code,
    414: "request_line_too_long",
    417: "expectation_not_met",
    431: "headers_too_large",
    501: "transfer_coding_not_read",
    503: "too_many_connections",
}
"""The code of each status that is not 400."""


class HostMissing(errors.ParseException):  # type: ignore[misc]
    """HTTP/1.1 without `Host`, or with two of them."""


REASONS = {
    (TooManyConnections,): ("Your address has too many connections here. Close some, or use one for several requests."),
    (HostMissing,): "The header `Host` is missing, or comes twice: HTTP/1.1 needs it once.",
    (errors.InvalidRequestLine, errors.InvalidRequestMethod, errors.InvalidHTTPVersion): (
        "The request line cannot be read: it must be a method, an address and HTTP/1.1, with one space between them."
    ),
    (errors.InvalidHeader, errors.InvalidHeaderName, errors.ObsoleteFolding): (
        "A header cannot be read: each is one line, a name, a colon and a value, and of `Content-Length` and "
        "`Transfer-Encoding` only one may come, once. Let your client set these itself."
    ),
    (errors.ExpectationFailed,): "The only expectation that can be met is `100-continue`. Send no other `Expect`.",
    (errors.UnsupportedTransferCoding,): (
        "The only transfer coding that can be read is `chunked`. Send the body so, or with `Content-Length`."
    ),
    (errors.ParseException,): "This is no HTTP request that can be read. Send HTTP/1.1.",
}
"""What a client is told of a fault: the first that fits."""


def status_of(fault: Exception) -> int:
    """Return the status that a fault is answered with."""
    return next((status for kind, status in STATUSES.items() if isinstance(fault, kind)), 400)


def refuse_transfer_coding(headers: Sequence[tuple[str, str]]) -> None:
    """Raise UnsupportedTransferCoding where the body has a coding beside `chunked` (RFC 9112, section 6.1)."""
    codings = ",".join(value for name, value in headers if name == "TRANSFER-ENCODING")
    if codings and codings.strip(" \t").lower() != "chunked":
        raise errors.UnsupportedTransferCoding(codings)


def refuse_missing_host(version: tuple[int, int], headers: Sequence[tuple[str, str]]) -> None:
    """Raise HostMissing where HTTP/1.1 comes without exactly one `Host` (RFC 9112, section 3.2)."""
    if version >= (1, 1) and sum(name == "HOST" for name, _ in headers) != 1:
        raise HostMissing


def found_fault(fault: Exception) -> Exception:
    """Return what is wrong with the request: gunicorn calls a coding without `chunked` a wrong header."""
    if isinstance(fault, errors.InvalidHeader) and fault.req and fault.hdr == "TRANSFER-ENCODING":
        try:
            refuse_transfer_coding(fault.req.headers)
        except errors.UnsupportedTransferCoding as coding:
            return cast(Exception, coding)
    return fault


def response(fault: Exception, limits: Any, request_id: str) -> bytes:
    """Return the whole HTTP response, a problem document; `limits` are gunicorn's settings."""
    status = status_of(fault)
    detail, limit = _explain(fault, limits)
    members: dict[str, Any] = {} if limit is None else {"limit": limit}
    answer = render(
        status,
        detail,
        CODES.get(status, Malformed.code),
        headers={"Connection": "close", "X-Request-Id": request_id},
        **members,
    )
    lines = [f"{name}: {value}\r\n" for name, value in security.harden(security.CONTENT, answer).headers]
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{''.join(lines)}\r\n"
    return head.encode() + answer.get_data()


def _explain(fault: Exception, limits: Any) -> tuple[str, int | None]:
    """Return what is wrong with the request, and the limit that it passed, if it is one."""
    if isinstance(fault, TooSlow):
        return fault.detail, None
    if isinstance(fault, errors.LimitRequestLine):
        most = limits.limit_request_line
        return f"The request line is too long: it may have {most} bytes. Send what is long in the body.", most
    if isinstance(fault, errors.LimitRequestHeaders):
        number, size = limits.limit_request_fields, limits.limit_request_field_size
        if fault.msg.endswith("fields"):
            return f"There are too many headers: a request may have {number}. Send fewer.", number
        if fault.msg.endswith("size"):
            return f"A header is too long: each may have {size} bytes. Send a shorter one.", size
        return f"The headers are too long: a request may have {number}, each of {size} bytes. Send fewer.", None
    return next(text for kinds, text in REASONS.items() if isinstance(fault, kinds)), None
