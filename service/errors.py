"""The kinds of problem that a client can be told of. http/problems.py renders them."""

from collections.abc import Sequence
from typing import Any


class Problem(Exception):
    """Something the client is told: one subclass a kind, `detail` a sentence that helps, `code` stable for programs.

    Problem
     ├── Malformed 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · NotAllowed 405 · TooSlow 408
     ├── Conflict 409 · PreconditionFailed 412 · TooLarge 413 · UnsupportedType 415 · Invalid 422 · TooManyRequests 429
     └── Unavailable 503 · ServiceFault 503 · NoRoom 507
    """

    status = 500
    title: str | None = None
    code = "internal_error"

    def __init__(
        self, detail: str, *, code: str | None = None, headers: dict[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.headers = headers or {}
        self.members = members


class Malformed(Problem):
    """The request cannot be read at all."""

    status = 400
    code = "malformed_request"


class Unauthorized(Problem):
    """No credentials, or wrong ones."""

    status = 401
    code = "credentials_wrong"


class Forbidden(Problem):
    """Not from there, or not any more."""

    status = 403
    code = "forbidden"


class NotFound(Problem):
    """There is no such thing, or not for this client."""

    status = 404
    code = "not_found"


class NotAllowed(Problem):
    """Not with this method now; the header `Allow` names those that the path knows."""

    status = 405
    code = "method_not_allowed"


class TooSlow(Problem):
    """The request did not come in time; the connection ends."""

    status = 408
    code = "request_too_slow"


class Conflict(Problem):
    """Not in this state."""

    status = 409
    code = "conflict"


class PreconditionFailed(Problem):
    """`If-Match` names another version than there is."""

    status = 412
    code = "image_changed"


class TooLarge(Problem):
    """Over a limit, which the detail names; where it is one number, the member `limit` has it, in the same unit."""

    status = 413
    code = "too_large"
    title = "Content Too Large"

    def __init__(self, detail: str, *, code: str | None = None, limit: float | None = None) -> None:
        super().__init__(detail, code=code)
        self.limit = limit
        if limit is not None:
            self.members["limit"] = limit


class UnsupportedType(Problem):
    """Not one of the accepted types, which the detail names."""

    status = 415
    code = "unsupported_type"


class Invalid(Problem):
    """Well-formed but wrong.

    `errors` names each fault: by a pointer into the body, `#` being all of it, or by a parameter of the query.
    """

    status = 422
    code = "invalid"
    title = "Unprocessable Content"

    def __init__(
        self,
        detail: str,
        errors: Sequence[dict[str, str]] = (),
        *,
        code: str | None = None,
        pointer: str = "#",
        parameter: str | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail, code=code, **members)
        place = {"parameter": parameter} if parameter else {"pointer": pointer}
        self.members["errors"] = list(errors) or [{"detail": detail, **place}]


class TooManyRequests(Problem):
    """Too many wrong credentials, or more than a user may have; `Retry-After` says when the next may come."""

    status = 429
    code = "too_many_failed_logins"

    def __init__(self, detail: str, retry_after: int, *, code: str | None = None) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})


class Unavailable(Problem):
    """Not now; `Retry-After` says when."""

    status = 503
    code = "unavailable"

    def __init__(self, detail: str, retry_after: int = 1, *, code: str | None = None, **members: Any) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)}, **members)


class ServiceFault(Unavailable):
    """A lack or a fault of this machine, not of what was sent; it is logged, with its cause, under the request's id."""

    code = "service_fault"

    def __init__(self, detail: str = "This machine could not do it now. Try again.") -> None:
        super().__init__(detail, retry_after=5)


class NoRoom(Problem):
    """The store is full."""

    status = 507
    code = "no_room"
