"""Files that no row knows, removed: what a crash leaves between a file and its row."""

import logging

from service import logs
from service.db import Database
from service.inspection import KnownKeys, orphans, tally
from service.storage import Storage

KEPT = (
    "most files belong to no row, more than a crash leaves, so all are kept: is this the right database? "
    "`flask doctor` tells which they are, `flask doctor --repair` removes them"
)

log = logging.getLogger(__name__)


def sweep(database: Database, storage: Storage, known_keys: KnownKeys, older_than: float) -> int:
    """Remove files that no row knows, and what was never finished, if older than so many seconds; return how many.

    Where they are more than a crash leaves, they stay, since they may be all that is left of somebody's work.
    """
    unfinished, removed = storage.drop_unfinished(older_than), 0
    for found in tally(database, storage, known_keys, older_than=older_than):
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
