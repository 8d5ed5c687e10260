"""How an operation reports its result inside its own transaction; without Flask."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Protocol

from sqlalchemy.orm import Session


class Listener(Protocol):
    """Records what was settled, in the transaction that has the effect."""

    def settle(self, session: Session, value: Any) -> None:
        """Record it."""


_current: ContextVar[Listener | None] = ContextVar("settlement", default=None)


def begin(listener: Listener) -> Token[Listener | None]:
    """Call this listener for what is settled from now on, in this request."""
    return _current.set(listener)


def end(token: Token[Listener | None]) -> None:
    """Stop calling it."""
    _current.reset(token)


def current() -> Listener | None:
    """Return the listener, if there is one."""
    return _current.get()


def settle(session: Session, value: Callable[[], Any]) -> None:
    """Report what the client will be told: call it last in the transaction that has the effect.

    Without a listener it costs nothing: `value` is not called.
    """
    if listener := _current.get():
        listener.settle(session, value())
