"""Whether the service can work: what it needs is looked at beside the requests, so no answer waits for what hangs."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from service.config import Settings
from service.db.database import Database, Model
from service.jobs.executors import Executor
from service.maintenance.store_ownership import Store
from service.storage.storage import Storage
from service.telemetry.logging import StateLog

FRESH_SECONDS = 1.0
"""For so long a verdict is given again, so that strangers who ask often cost nothing."""
ANSWER_SECONDS = 0.3
"""How long an answer waits for a look."""
HANGING_SECONDS = 5.0
"""A look that takes longer has failed; until then the last verdict stands."""

log = logging.getLogger(__name__)


class ReadinessMonitor:
    """What the service needs, by name; each check raises an error where it is missing. For all threads of a process."""

    def __init__(self, checks: Mapping[str, Callable[[], object]]) -> None:
        self._states = StateLog(log, "not ready", "ready again")
        self._looks = {name: _Look(check) for name, check in checks.items()}
        self._lock = threading.Lock()

    def missing(self) -> list[str]:
        """Return the names of what is missing, in order, within a third of a second."""
        with self._lock:
            for look in self._looks.values():
                look.begin()
            faults = {name: look.fault() for name, look in self._looks.items()}
            for name, fault in faults.items():
                self._states.see(name, fault)
        return sorted(name for name, fault in faults.items() if fault)


class _Look:
    """One check, in a thread of its own for each look; one that hangs is not begun again."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self._begun = self._ended = float("-inf")
        self._ending = threading.Event()
        self._ending.set()
        self._fault = ""

    def begin(self) -> None:
        """Look again, unless that was done lately or is under way."""
        now = time.monotonic()
        if self._ending.is_set() and now - self._ended > FRESH_SECONDS:
            self._begun = now
            self._ending.clear()
            threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def _run(self) -> None:
        try:
            self._check()
        except Exception as error:  # noqa: BLE001 - whatever a check raises, what it looks at is missing
            self._fault = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        else:
            self._fault = ""
        self._ended = time.monotonic()
        self._ending.set()

    def fault(self) -> str:
        """Return what is wrong, empty for nothing."""
        is_first = self._ended < 0
        if self._ending.wait(max(0.0, self._begun + ANSWER_SECONDS - time.monotonic())):
            return self._fault
        is_hanging = time.monotonic() - self._begun > HANGING_SECONDS
        return self._fault or ("no answer" if is_hanging or is_first else "")


def readiness(settings: Settings, database: Database, storage: Storage, executor: Executor) -> ReadinessMonitor:
    """Return what must succeed for the service to be ready: with the executor, where this process depends on it."""

    def check_database() -> None:
        with database.read() as session:
            for table in Model.metadata.sorted_tables:
                session.execute(sa.select(table).limit(1))
        with database.write() as session:
            session.execute(sa.update(Store).values(is_ours=Store.is_ours))

    checks = {"database": check_database, "storage": storage.check}
    if settings.executor == "celery":
        checks["broker"] = executor.check
    elif settings.web_works:
        checks["dispatcher"] = executor.check
    return ReadinessMonitor(checks)
