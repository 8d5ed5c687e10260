"""The lifecycle of the server's processes: what they do when they begin and end."""

import ctypes
import itertools
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import sqlalchemy as sa
from flask import Flask

from service.config import Settings
from service.db.database import Database, first_line, has_no_tables, open_database
from service.errors import Unavailable
from service.http import idempotency_store
from service.http.services import provided
from service.http.waiting_requests import WaitingRequests
from service.jobs import models
from service.jobs.executors import Executor, owner_name
from service.maintenance import store_ownership
from service.maintenance.checks import ORPHAN_AGE, Inventory
from service.maintenance.orphan_files import OrphanFileRemoval, remove_orphans
from service.maintenance.periodic import PeriodicThread, Schedule
from service.storage.storage import Storage, StorageMisconfigured
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics

WAIT_SECONDS = 60
"""How long to wait at the start for a database server that is just starting too."""

RETRY_SECONDS = 1.0
"""The pause before a process tries again to free what dead ones held."""

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""

log = logging.getLogger(__name__)


class Hooks:
    """gunicorn's hooks: what the server's processes do beside serving."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.settings = settings
        self.executor = provided(Executor, app)
        self.waiting = provided(WaitingRequests, app)
        self.storage = provided(Storage, app)
        self.known_keys = provided(Inventory, app).known_keys
        self.metrics = provided(Metrics, app)
        self.periodic = provided(Schedule, app)
        self.orphan_files = provided(OrphanFileRemoval, app)
        self.database = provided(Database, app)
        self.died_at: dict[str, float] = {}
        self.release = PeriodicThread("dead processes", self._release_dead, RETRY_SECONDS)

    def on_starting(self, server: Any) -> None:
        """Clean up after a crash, before the first process works."""
        try:
            self.metrics.join()
        except OSError as error:
            sys.exit(f"The service cannot start:\n{error}")
        database = open_database(self.settings.database_url)
        try:
            database.wait(WAIT_SECONDS)
            with database.read() as session:
                models.expired_leases(session, (), time.time())  # asks whether there are tables
            database.keep_reserve()
            with self.storage.exclusive_lock() as alone_here, database.alone() as alone_there:
                if alone_there and (alone_here or database.is_shared):
                    with database.write() as session:
                        models.expire(session, None)
                        idempotency_store.release_dead(session, None)
                self._look_after_files(database, is_quiet=alone_here and alone_there)
        except StorageMisconfigured as error:
            sys.exit(f"The service cannot start:\n{error}")
        except Unavailable as error:
            message = "the store is away; the service starts all the same, and is ready when the store is"
            logs.event(log, message, logging.WARNING, detail=error.detail)
        except sa.exc.DBAPIError as error:
            if has_no_tables(error):
                sys.exit("The database has no tables yet. Run `make migrate`, then start again.")
            sys.exit(f"The database cannot be used: {first_line(error)}")
        finally:
            database.close()

    def _look_after_files(self, database: Database, *, is_quiet: bool) -> None:
        """Have what a crash left removed beside the work: a walk over millions of files takes a minute."""
        if self.storage.is_shared:
            self.storage.check()
        elif store_ownership.is_decided(database):
            if is_quiet:
                self.orphan_files.note_quiet()
        else:  # whose the files are must be decided before there is a row
            removed = remove_orphans(database, self.storage, self.known_keys, 0 if is_quiet else ORPHAN_AGE)
            self.metrics.swept.labels("orphan").inc(removed)

    def on_exit(self, server: Any) -> None:
        """Remove this server's metrics."""
        self.metrics.leave()

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Give a new process the place of one that is gone, or the next one."""
        taken = {other.place for other in server.WORKERS.values()}
        worker.place = next(place for place in itertools.count() if place not in taken)

    def post_fork(self, server: Any, worker: Any) -> None:
        """Make the kernel end a server process with its parent, or it would keep the port from the next server."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != worker.ppid:  # it died before
                os.kill(os.getpid(), signal.SIGKILL)

    def post_worker_init(self, worker: Any) -> None:
        """Begin to work: this is after the fork."""
        self.metrics.take_place(worker.ppid, worker.place)
        worker.held_folder = self.storage.shared_lock()
        if self.settings.server_works:
            self.executor.start()
        for work in self.periodic:
            work.start()
        if self.died_at:
            self.release.start(first=0.0)
        # A listing of many files takes long: the first process does it beside its work.
        self.orphan_files.start(at_once=worker.age == 1)
        serve = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            # A second signal, such as that of a supervisor who tells all processes, would come in between and wait for
            # the locks that this one holds.
            signal.signal(signal.SIGTERM, serve)
            self.executor.begin_stop()
            self.waiting.stop()
            if callable(serve):
                serve(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def worker_exit(self, server: Any, worker: Any) -> None:
        """End the work; the time since SIGTERM counts."""
        self.orphan_files.stop()
        self.release.stop(0)
        for work in self.periodic:
            work.stop()
        self.executor.stop()

    def child_exit(self, server: Any, worker: Any) -> None:
        """In the parent: note that a process died, for those that take its place.

        The parent asks no database, which may be slow just then or fail: it forks nobody meanwhile, and whatever is
        raised here ends the server. What was held for longer than a lease is free by itself.
        """
        with suppress(OSError):
            self.metrics.free_place(server.pid, worker.place)
        now, longest = time.monotonic(), max(idempotency_store.LEASE, self.settings.lease_seconds)
        self.died_at = {name: at for name, at in self.died_at.items() if now - at < longest}
        self.died_at[owner_name(worker.pid)] = now

    def _release_dead(self) -> None:
        """Let jobs of those that died before this process run again, and free the keys of their requests."""
        with self.database.write() as session:
            self.database.lock(session, ["dead processes"])
            for owner in self.died_at:
                models.expire(session, owner)
                idempotency_store.release_dead(session, owner)
        self.release.stopping.set()
