"""Temporary access to a part of the store for a client of its own: the seam."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, NoReturn, Protocol

from service.errors import Conflict

Action = Literal["read", "write"]


@dataclass(frozen=True)
class Grant:
    """Temporary credentials. `prefix` is what all keys begin with that they are good for, as it is in the bucket."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: str
    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str


class Grants(Protocol):
    """Gives access to what lies below a prefix."""

    def grant(self, prefix: str, actions: Collection[Action], lifetime: int | None, name: str) -> Grant:
        """Make credentials that live so many seconds, or as many as the store finds usual; its log tells the `name`.

        Raises Conflict where this store has none, Invalid where it does not allow that lifetime, Unavailable.
        """


class NoGrants:
    """There are none, for a reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def grant(self, prefix: str, actions: Collection[Action], lifetime: int | None, name: str) -> NoReturn:
        """Say why."""
        raise Conflict(self._reason)
