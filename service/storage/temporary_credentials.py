"""Temporary credentials for a part of the store, for clients of its own: the seam."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, NoReturn, Protocol

from service.errors import Conflict

Action = Literal["read", "write"]


@dataclass(frozen=True)
class TemporaryCredentials:
    """Credentials for the keys that begin with `prefix`, as it is in the bucket, until `expires_at`, in UTC."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: str
    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str


class CredentialsIssuer(Protocol):
    """Issues credentials for what lies below a prefix."""

    def issue(self, prefix: str, actions: Collection[Action], lifetime: int | None, name: str) -> TemporaryCredentials:
        """Return credentials for so many seconds, or for as many as are usual there; the store logs the `name`.

        Raises Conflict where this store has none, Invalid where it does not allow that lifetime, Unavailable.
        """


class NoCredentialsIssuer:
    """Issues none, for a reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def issue(self, prefix: str, actions: Collection[Action], lifetime: int | None, name: str) -> NoReturn:
        """Raise Conflict with the reason."""
        raise Conflict(self._reason, code="no_temporary_credentials")
