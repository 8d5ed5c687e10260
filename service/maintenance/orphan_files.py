"""Files that no row knows, removed: what a crash leaves between a file and its row."""

import logging
import time

from service.db.database import Database
from service.maintenance import store_ownership
from service.maintenance.checks import ORPHAN_AGE, KnownKeys, orphans, tally
from service.maintenance.periodic import ExclusiveTurn, PeriodicThread
from service.storage.storage import Storage
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics

KIND = "sweep"
EVERY = 3600.0
"""Seconds from the end of a removal to the next one, at least."""
LOOKS = 6
"""How often in that time a process looks whether the next one is due."""
SHARE = 20
"""So many times as long as a removal took, the next one waits: of a very large store a listing takes long."""
LONGEST = 86_400.0
"""Seconds after which a removal that did not end is over for the others; one whose process died ends with it."""
REST = 3.0
"""For each second of looking so many seconds of leaving the database to others."""

KEPT = (
    "most files belong to no row, more than a crash leaves, so all are kept: is this the right database? "
    "`flask doctor` tells which they are, `flask doctor --repair` removes them"
)

log = logging.getLogger(__name__)


class OrphanFileRemoval:
    """A thread in every server process, of which one at a time removes orphans, some once an hour all together.

    A turn lasts until the next one is due. Others are at work, so only files go that are too old to be somebody's
    upload.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        known_keys: KnownKeys,
        metrics: Metrics,
        every: float = EVERY,
        owner: str | None = None,
    ) -> None:
        self._database = database
        self._storage = storage
        self._known_keys = known_keys
        self._metrics = metrics
        self._every = every
        self._turn = ExclusiveTurn(database, KIND, owner)
        self._is_asked_for = False
        self._quiet_until: float | None = None
        self.thread = PeriodicThread(KIND, self.remove_if_due, every / LOOKS)

    def note_quiet(self) -> None:
        """Note that nobody is at work now: what is older than this moment is nobody's upload, however young it is."""
        self._quiet_until = time.time()

    def start(self, *, at_once: bool) -> None:
        """Begin to look whether a removal is due; the first one may be asked for, whoever removed lately."""
        self._is_asked_for = at_once
        self.thread.start(first=0.0 if at_once else self._every / LOOKS)

    def stop(self) -> None:
        """Begin no removal any more; one that is under way may end at any point."""
        self.thread.stop(0)

    def remove_if_due(self) -> None:
        """Remove orphans, unless another process does, or any has done so lately."""
        self._database.keep_reserve()
        with self._database.write() as session:
            if not self._turn.take(session, LONGEST, force=self._is_asked_for):
                return
        age, self._is_asked_for, self._quiet_until = self._age(), False, None
        begin = time.monotonic()
        try:
            removed = remove_orphans(self._database, self._storage, self._known_keys, age, rest=REST)
            self._metrics.swept.labels("orphan").inc(removed)
        finally:
            with self._database.write() as session:
                self._turn.keep(session, max(self._every, SHARE * (time.monotonic() - begin)))

    def _age(self) -> float:
        if not self._is_asked_for or self._quiet_until is None:
            return ORPHAN_AGE
        return max(0.0, time.time() - self._quiet_until)


def remove_orphans(
    database: Database, storage: Storage, known_keys: KnownKeys, older_than: float, *, rest: float = 0.0
) -> int:
    """Remove files that no row knows, and what was never finished, if older than so many seconds; return how many.

    Where they are more than a crash leaves, they stay, since they may be all that is left of somebody's work.
    """
    unfinished, removed = storage.drop_unfinished(older_than), 0
    tallies = tally(database, storage, known_keys, older_than=older_than, rest=rest)
    store_ownership.record(database, all(found.is_ours or not found.is_doubtful for found in tallies))
    for found in tallies:
        if found.is_doubtful:
            logs.event(log, KEPT, logging.WARNING, below=found.prefix, files=found.files, without_row=found.orphans)
            continue
        for keys in orphans(database, storage, known_keys, found.prefix, older_than=older_than):
            storage.delete(*keys)
            removed += len(keys)
    if removed or unfinished:
        message = "removed files that no row knew"
        logs.event(log, message, logging.WARNING, files=removed, unfinished=unfinished)
    return removed + unfinished
