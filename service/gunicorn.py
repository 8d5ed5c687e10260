"""The server's settings, and what its processes do when they begin and end."""

import itertools
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import FrameType
from typing import Any

import orjson
import sqlalchemy as sa
from flask import Flask
from gunicorn.glogging import Logger
from gunicorn.http import errors as unreadable
from gunicorn.workers.gthread import ThreadWorker
from sqlalchemy.orm import Session

from service import logs
from service.config import Settings
from service.db import Database
from service.jobs import models
from service.jobs.executors import Executor, owner_name
from service.metrics import Metrics
from service.storage import DiskStorage

GRACE = 20
"""Seconds that what runs may take to end after SIGTERM."""
ORPHAN_AGE = 3600
"""Seconds after which a file without a row is nobody's upload any more, while other processes are at work."""

UNREADABLE = {
    unreadable.LimitRequestLine: 414,
    unreadable.ExpectationFailed: 417,
    unreadable.LimitRequestHeaders: 431,
    unreadable.UnsupportedTransferCoding: 501,
}
"""What is answered to a request that cannot be read, where it is not 400."""

KnownKeys = Sequence[Callable[[Session], set[str]]]
"""One function a slice: the storage keys that its rows know."""

log = logging.getLogger(__name__)


def server_settings(app: Flask, settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings and hooks for this application."""
    if not settings.api_password:
        sys.exit("API_PASSWORD is not set: without it nobody could be let in.")
    hooks = Hooks(app, settings)
    return {
        "wsgi_app": "wsgi:app",
        "bind": f"{settings.host}:{settings.port}",
        "workers": settings.web_concurrency,
        "worker_class": Worker,
        "threads": 16,
        "keepalive": 30,
        # gunicorn kills what is left after this; the dispatcher has ended by then.
        "graceful_timeout": GRACE + 2,
        # A worker's main thread beats also while its other threads are busy, so this finds only hung processes.
        "timeout": 60,
        "loglevel": settings.log_level.lower(),
        "control_socket_disable": True,
        "logconfig_dict": logs.configuration(settings.log_level, settings.log_format),
        "logger_class": NoAccessLog,
        "on_starting": hooks.on_starting,
        "on_exit": hooks.on_exit,
        "pre_fork": hooks.pre_fork,
        "post_worker_init": hooks.post_worker_init,
        "worker_exit": hooks.worker_exit,
        "child_exit": hooks.child_exit,
    }


class Hooks:
    """What the server's processes do beside serving."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.settings = settings
        self.executor: Executor = app.extensions["executor"]
        self.storage: DiskStorage = app.extensions["storage"]
        self.known_keys: KnownKeys = app.extensions["known_keys"]
        self.metrics: Metrics = app.extensions["metrics"]
        self.stopping_since: float | None = None

    def on_starting(self, server: Any) -> None:
        """Clean up after a crash, before the first process works."""
        self.metrics.join()
        database = Database(self.settings.database_url)
        try:
            with self.storage.alone() as alone:
                swept = clean_up(database, self.storage, self.known_keys, alone=alone)
            self.metrics.swept.labels("orphan").inc(swept)
        except sa.exc.OperationalError as error:
            if "no such table" not in str(error):
                raise
            sys.exit("The database has no tables yet. Run `make migrate`, then start again.")
        finally:
            database.close()

    def on_exit(self, server: Any) -> None:
        """Leave nothing behind."""
        self.metrics.leave()

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Give a new process the place of one that is gone, or the next one."""
        taken = {other.place for other in server.WORKERS.values()}
        worker.place = next(place for place in itertools.count() if place not in taken)

    def post_worker_init(self, worker: Any) -> None:
        """Begin to work: this is after the fork."""
        self.metrics.take_place(worker.ppid, worker.place)
        # The dispatcher must not wait 5 ms, the default, whenever a request or a worker computes.
        sys.setswitchinterval(0.001)
        worker.held_folder = self.storage.hold()
        self.executor.start()
        serve = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopping_since = time.monotonic()
            self.executor.begin_stop()
            if callable(serve):
                serve(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def worker_exit(self, server: Any, worker: Any) -> None:
        """End the work; the time since SIGTERM counts."""
        gone = time.monotonic() - (self.stopping_since or time.monotonic())
        self.executor.stop(max(0.0, GRACE - gone))

    def child_exit(self, server: Any, worker: Any) -> None:
        """In the parent: the jobs of a process that died may run again at once."""
        self.metrics.free_place(server.pid, worker.place)
        database = Database(self.settings.database_url)
        try:
            with database.write() as session:
                models.bury(session, owner_name(worker.pid))
        except sa.exc.OperationalError:
            message = "process died; its jobs run again when their leases run out"
            logs.event(log, message, logging.WARNING, died=worker.pid)
        finally:
            database.close()


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads; what it cannot read as HTTP it refuses without repeating any of it.

    gunicorn itself puts the faulty line into its answer and into the log, and a broken header may hold a password.
    """

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer with a problem document, and log the kind of fault and where it came from."""
        if not isinstance(exc, unreadable.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status = next((status for kind, status in UNREADABLE.items() if isinstance(exc, kind)), 400)
        address = addr[0] if addr else None
        logs.event(log, "request could not be read", fault=type(exc).__name__, status=status, address=address)
        phrase = HTTPStatus(status).phrase
        body = orjson.dumps(
            {"type": "about:blank", "title": phrase, "status": status, "detail": "This is no request that can be read."}
        )
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
        with suppress(OSError):
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


class NoAccessLog(Logger):  # type: ignore[misc]
    """gunicorn's log without its line for every request: the service writes its own."""

    def access(self, *_: Any) -> None:
        """Write nothing."""


def clean_up(database: Database, storage: DiskStorage, known_keys: KnownKeys, *, alone: bool) -> int:
    """Remove files that no row knows, and return how many. Where nobody else is at work, free every claimed job too."""
    candidates = set(storage.keys(0 if alone else ORPHAN_AGE))
    with database.write() as session:
        if alone:
            models.bury(session, None)
        orphans = candidates.difference(*(known(session) for known in known_keys))
    for key in orphans:
        storage.delete(key)
    if orphans:
        logs.event(log, "removed files that no row knew", logging.WARNING, files=len(orphans))
    return len(orphans)
