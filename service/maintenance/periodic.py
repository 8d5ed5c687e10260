"""Work that is due once in a while, beside what a process serves."""

import logging
import random
import threading
from collections.abc import Callable
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from service.db.database import first_line, is_away
from service.errors import Unavailable
from service.telemetry import logging as logs

log = logging.getLogger(__name__)


class Periodic(Protocol):
    """Work that is due once in a while, in every process."""

    def start(self) -> None:
        """Begin; call it after the fork."""

    def stop(self) -> None:
        """Begin nothing more, and wait a moment for the end of what is under way."""


class Schedule(tuple[Periodic, ...]):
    """All periodic work of an application."""

    __slots__ = ()


class Rounds:
    """A thread that does some work every so many seconds, more or less; a round that fails is not the last."""

    def __init__(self, name: str, work: Callable[[], object], every: float) -> None:
        self.stopping = threading.Event()
        self._name = name
        self._work = work
        self._every = every
        self._thread: threading.Thread | None = None

    def start(self, *, first: float) -> None:
        """Begin to wait for the first round, so many seconds, more or less; call it after the fork."""
        self._thread = threading.Thread(target=self._run, args=(first,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Begin no further round, and wait so long for the end of the one under way."""
        self.stopping.set()
        if self._thread:
            self._thread.join(seconds)

    def _run(self, pause: float) -> None:
        # Not all processes at the same moment.
        while not self.stopping.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311 - it keeps no secret
            pause = self._every
            try:
                self._work()
            except Unavailable as error:
                self._away(error.detail)
            except Exception as error:
                if isinstance(error, SQLAlchemyError) and is_away(error):
                    self._away(first_line(error))
                else:
                    log.exception("the round broke off; the next one goes on", extra={"lines": ({"of": self._name},)})

    def _away(self, said: str) -> None:
        message = "the store or the database is away; the next round tries again"
        logs.event(log, message, logging.WARNING, of=self._name, said=said)
