"""The result of an operation, written down in its own transaction by whoever asked for that; without Flask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from sqlalchemy.orm import Session


class Recorder(Protocol):
    """Writes a result down in the transaction that has the effect."""

    def record(self, session: Session, value: Any) -> None:
        """Write it down."""


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Have the results of the block recorded, in this request and no other."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def current_recorder() -> Recorder | None:
    """Return who records now."""
    return _recorder.get()


def record_result(session: Session, value: Callable[[], Any]) -> None:
    """Record what the client will be told: call it last in the transaction that has the effect.

    Where nobody records it costs nothing: `value` is not called.
    """
    if recorder := _recorder.get():
        recorder.record(session, value())
