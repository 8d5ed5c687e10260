"""Work that is due once in a while, beside what a process serves."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.db.database import Database, first_line, is_away
from service.errors import Unavailable
from service.jobs import models
from service.jobs.executors import owner_name
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


class PeriodicThread:
    """A thread that does some work every so many seconds, more or less; work that fails is tried again then."""

    def __init__(self, name: str, work: Callable[[], object], every: float) -> None:
        self.stopping = threading.Event()
        self._name = name
        self._work = work
        self._every = every
        self._thread: threading.Thread | None = None

    def start(self, *, first: float) -> None:
        """Begin, and work for the first time after so many seconds, more or less; call it after the fork."""
        self._thread = threading.Thread(target=self._run, args=(first,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Do not work again, and wait so long for the end of what is under way."""
        self.stopping.set()
        if self._thread:
            self._thread.join(seconds)

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

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


class ExclusiveTurn:
    """The right to do some work, which one process of all has at a time: a row of the table of shares.

    It runs out by itself, so a process that dies keeps nobody waiting for long.
    """

    def __init__(self, database: Database, name: str, owner: str | None = None) -> None:
        """The owner is this process, if no other is named."""
        self._database = database
        self._name = name
        self._owner = owner

    def take(
        self, session: Session, seconds: float, *, renew: bool = False, force: bool = False, locks: Iterable[str] = ()
    ) -> bool:
        """Take the turn for so long and return whether this process has it; `locks` are taken along with its own.

        With `renew` a process may take the turn again that it has, with `force` also another's.
        """
        self._database.lock(session, [self._name, *locks])
        ours = self._owner_name() if renew else ""
        now = time.time()
        if not force and models.calls_of_others(
            session, self._name, ours, now=now, latest=now + seconds + models.SLACK
        ):
            return False
        self.keep(session, seconds)
        return True

    def keep(self, session: Session, seconds: float) -> None:
        """Keep the turn for so many seconds from now on, or with none give it up."""
        until = time.time() + seconds
        models.take_share(session, self._name, self._owner_name(), calls=1 if seconds else 0, until=until)

    def _owner_name(self) -> str:
        return self._owner or owner_name(os.getpid())
