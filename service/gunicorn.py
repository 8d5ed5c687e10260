"""The server's settings, and what its processes do when they begin and end."""

import logging
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import sqlalchemy as sa
from flask import Flask

from service.config import THREADS, Settings
from service.db import Database
from service.errors import Unavailable
from service.inspection import ORPHAN_AGE, KnownKeys, orphans
from service.jobs import models
from service.jobs.executors import Executor, owner_name
from service.storage import Storage, Unusable

GRACE = 20
"""Seconds that what runs may take to end after SIGTERM."""

log = logging.getLogger(__name__)


def server_settings(app: Flask, settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings and hooks for this application."""
    hooks = Hooks(app, settings)
    return {
        "wsgi_app": "wsgi:app",
        "bind": f"{settings.host}:{settings.port}",
        "workers": settings.web_concurrency,
        "worker_class": "gthread",
        "threads": THREADS,
        "keepalive": 30,
        # gunicorn kills what is left after this; the dispatcher has ended by then.
        "graceful_timeout": GRACE + 2,
        # A worker's main thread beats also while its other threads are busy, so this finds only hung processes.
        "timeout": 60,
        "loglevel": settings.log_level.lower(),
        "control_socket_disable": True,
        "logconfig_dict": _logging(settings.log_level),
        "on_starting": hooks.on_starting,
        "post_worker_init": hooks.post_worker_init,
        "worker_exit": hooks.worker_exit,
        "child_exit": hooks.child_exit,
    }


class Hooks:
    """What the server's processes do beside serving."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.settings = settings
        self.executor: Executor = app.extensions["executor"]
        self.storage: Storage = app.extensions["storage"]
        self.known_keys: KnownKeys = app.extensions["known_keys"]
        self.stopping_since: float | None = None

    def on_starting(self, server: Any) -> None:
        """Clean up after a crash, before the first process works."""
        database = Database(self.settings.database_url)
        try:
            with database.read() as session:
                models.dead(session, now=time.time())  # asks whether there are tables
            if self.storage.shared:
                self.storage.check()
                return
            with self.storage.alone() as alone:
                if alone:
                    with database.write() as session:
                        models.bury(session, None)
                sweep(database, self.storage, self.known_keys, 0 if alone else ORPHAN_AGE)
        except Unusable as error:
            sys.exit(f"The service cannot start:\n{error}")
        except Unavailable as error:
            log.warning("%s The service starts all the same, and is ready when the store is.", error.detail)
        except sa.exc.OperationalError as error:
            if "no such table" not in str(error):
                raise
            sys.exit("The database has no tables yet. Run `make migrate`, then start again.")
        finally:
            database.close()

    def post_worker_init(self, worker: Any) -> None:
        """Begin to work: this is after the fork."""
        # The dispatcher must not wait 5 ms, the default, whenever a request or a worker computes.
        sys.setswitchinterval(0.001)
        worker.held_folder = self.storage.hold()
        self.executor.start()
        # A listing of what many machines store takes long: the first process does it beside its work.
        if self.storage.shared and worker.age == 1:
            threading.Thread(target=self.sweep_shared, name="sweep", daemon=True).start()
        serve = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopping_since = time.monotonic()
            self.executor.begin_stop()
            if callable(serve):
                serve(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def sweep_shared(self) -> None:
        """Clean up where others are at work too: only what is too old to be somebody's upload."""
        database = Database(self.settings.database_url)
        try:
            sweep(database, self.storage, self.known_keys, ORPHAN_AGE)
        except Exception:
            log.exception("the sweep of the storage broke off; the next start makes another one")
        finally:
            database.close()

    def worker_exit(self, server: Any, worker: Any) -> None:
        """End the work; the time since SIGTERM counts."""
        gone = time.monotonic() - (self.stopping_since or time.monotonic())
        self.executor.stop(max(0.0, GRACE - gone))

    def child_exit(self, server: Any, worker: Any) -> None:
        """In the parent: the jobs of a process that died may run again at once."""
        database = Database(self.settings.database_url)
        try:
            with database.write() as session:
                models.bury(session, owner_name(worker.pid))
        except sa.exc.OperationalError:
            log.warning("pid=%d died; its jobs run again when their leases run out", worker.pid)
        finally:
            database.close()


def sweep(database: Database, storage: Storage, known_keys: KnownKeys, older_than: float) -> None:
    """Remove files that no row knows, and what was never finished, if older than so many seconds."""
    unfinished, removed = storage.drop_unfinished(older_than), 0
    for keys in orphans(database, storage, known_keys, older_than=older_than):
        storage.delete(*keys)
        removed += len(keys)
    if removed or unfinished:
        log.warning("removed files=%d that no row knew, and unfinished=%d", removed, unfinished)


def _logging(level: str) -> dict[str, Any]:
    plain = {"format": "%(asctime)s %(levelname)s pid=%(process)d %(name)s %(message)s"}
    handler = {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": plain},
        "handlers": {"console": handler},
        "root": {"level": level, "handlers": ["console"]},
        "loggers": {"gunicorn.error": {"level": level, "handlers": [], "propagate": True}},
    }
