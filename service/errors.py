"""The kinds of problem that a client can be told of. http/problems.py renders them."""

from collections.abc import Sequence
from typing import Any


class Problem(Exception):
    """Something the client is told: one subclass a kind, `detail` a sentence that helps.

    Problem
     ├── Malformed 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · NotAllowed 405 · TooSlow 408
     ├── Conflict 409 · TooLarge 413 · UnsupportedType 415 · Invalid 422 · TooManyRequests 429
     └── Unavailable 503 · NoRoom 507
    """

    status = 500
    title: str | None = None

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members


class Malformed(Problem):
    """The request cannot be read at all."""

    status = 400


class Unauthorized(Problem):
    """No credentials, or wrong ones."""

    status = 401


class Forbidden(Problem):
    """Not from there, or not any more."""

    status = 403


class NotFound(Problem):
    """There is no such thing, or not for this client."""

    status = 404


class NotAllowed(Problem):
    """Not with this method now; the header `Allow` names those that the path knows."""

    status = 405


class TooSlow(Problem):
    """The request did not come in time; the connection ends."""

    status = 408


class Conflict(Problem):
    """Not in this state."""

    status = 409


class TooLarge(Problem):
    """Over a limit, which the detail names; where it is one number, the member `limit` has it, in the same unit."""

    status = 413
    title = "Content Too Large"

    def __init__(self, detail: str, *, limit: float | None = None) -> None:
        super().__init__(detail)
        self.limit = limit
        if limit is not None:
            self.members["limit"] = limit


class UnsupportedType(Problem):
    """Not one of the accepted types, which the detail names."""

    status = 415


class Invalid(Problem):
    """Well-formed but wrong; `errors` names each fault by a pointer into the body or query, `#` being all of it."""

    status = 422
    title = "Unprocessable Content"

    def __init__(
        self, detail: str, errors: Sequence[dict[str, str]] = (), *, pointer: str = "#", **members: Any
    ) -> None:
        super().__init__(detail, **members)
        self.members["errors"] = list(errors) or [{"detail": detail, "pointer": pointer}]


class TooManyRequests(Problem):
    """Too many wrong credentials; `Retry-After` says when the next may come."""

    status = 429

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(Problem):
    """Not now; `Retry-After` says when."""

    status = 503

    def __init__(self, detail: str, retry_after: int = 1, **members: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class NoRoom(Problem):
    """The store is full."""

    status = 507
