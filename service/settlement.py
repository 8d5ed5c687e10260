"""How an operation says what it has settled, whoever wants to know; without Flask."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Protocol

from sqlalchemy.orm import Session


class Listener(Protocol):
    """Writes down what was settled, in the transaction that has the effect."""

    def settle(self, session: Session, value: Any) -> None:
        """Write it down."""


_current: ContextVar[Listener | None] = ContextVar("settlement", default=None)


def begin(listener: Listener) -> Token[Listener | None]:
    """Let a listener hear of what is settled from now on, in this request."""
    return _current.set(listener)


def end(token: Token[Listener | None]) -> None:
    """Let it hear no more."""
    _current.reset(token)


def current() -> Listener | None:
    """Return who listens."""
    return _current.get()


def settle(session: Session, value: Callable[[], Any]) -> None:
    """Say what the client will be told: call it last in the transaction that has the effect.

    Where nobody listens it costs nothing: `value` is not called.
    """
    if listener := _current.get():
        listener.settle(session, value())
