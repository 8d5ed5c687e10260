"""Looks for what must not be in rows and files, and sets right what can be."""

import re
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from service.config import Settings
from service.db.database import Database, first_line, has_no_tables
from service.errors import Unavailable
from service.http.services import provided
from service.jobs import queue
from service.jobs.models import Job
from service.maintenance import store_ownership
from service.maintenance.checks import (
    ORPHAN_AGE,
    Check,
    Inventory,
    Tally,
    mend_rows,
    missing_files,
    orphans,
    tally,
    wrong_rows,
)
from service.storage.storage import Storage

LONG = 60
"""Seconds after which a lease that ran out would have been noticed by any server at work."""


def examine(app: Flask, newest: str | None, *, orphan_age: float | None = None) -> Iterator[str]:
    """Give a sentence for each inconsistency.

    `newest` is the revision that the tables should have. Files without a row count from `orphan_age` seconds on:
    by default an hour, and at once where no server is at work.
    """
    database, storage, inventory = _looked_at(app)
    trouble = _tables(database, newest)
    if trouble:
        yield trouble
        return
    yield from (f"SQLite finds its file damaged: {line}." for line in database.damage())
    for table, row in database.rows_without_parent():
        yield f"Row {row} of table {table} belongs to a row that is not there."
    for check in _checks(inventory):
        yield from wrong_rows(database, check)
    try:
        storage.check()
    except (OSError, Unavailable) as error:
        # A client is not told what the file system said; who runs this is.
        said = getattr(error.__cause__, "strerror", None) or str(error).rstrip(".")
        yield f"The store cannot be written to: {said}."
        return
    for stored in (stored for inspection in inventory.inspections for stored in inspection.files):
        yield from missing_files(database, storage, stored)
    with storage.exclusive_lock() as alone_here, database.alone() as alone_there:
        age = orphan_age if orphan_age is not None else 0 if alone_here and alone_there else ORPHAN_AGE
        for found in tally(database, storage, inventory.known_keys, older_than=age):
            if found.is_doubtful:
                yield f"{_most(found)}: is this the right database? The server keeps them, `doctor --repair` does not."
            for keys in orphans(database, storage, inventory.known_keys, found.prefix, older_than=age):
                yield from (f"File {key} belongs to no row." for key in keys)


def repair(app: Flask, newest: str | None) -> Iterator[str]:
    """Set right what can be without losing anything, and give a sentence for each thing done.

    Files go that no row knows, jobs that nobody waits for, and rows whose owner is gone; counts are made anew; what
    waits without a job gets one; what has ended is ended. A row whose file is missing stays: only a person can tell
    whether the file is lost or the store is not the right one.
    """
    database, storage, inventory = _looked_at(app)
    if _tables(database, newest):
        return
    for table, row in database.rows_without_parent():
        database.remove_row(table, row)
        yield f"Removed row {row} of table {table}: what it belonged to was gone."
    again, failed = queue.recover(database, inventory.operations, everything=False)
    if again or failed:
        yield f"Gave {again} jobs of dead runs back; {failed} more failed, since their runs had died too often."
    for check in _checks(inventory):
        yield from mend_rows(database, check)
    with storage.exclusive_lock() as alone_here, database.alone() as alone_there:
        age = 0 if alone_here and alone_there else ORPHAN_AGE
        unfinished = storage.drop_unfinished(age)
        if unfinished:
            yield f"Removed {unfinished} files that were never finished."
        for found in tally(database, storage, inventory.known_keys, older_than=age):
            if found.is_doubtful:
                yield f"{_most(found)}: they are removed now."
            for keys in orphans(database, storage, inventory.known_keys, found.prefix, older_than=age):
                storage.delete(*keys)
                yield from (f"Removed file {key}, which belonged to no row." for key in keys)
        store_ownership.record(database, True, anew=True)


def _most(found: Tally) -> str:
    return f"Below {found.prefix} {found.orphans:,} of {found.files:,} files belong to no row, more than a crash leaves"


def settings_without_secrets(settings: Settings) -> Iterator[str]:
    """Give a line for each setting; of a secret only whether it is set."""
    for name, item in Settings.model_fields.items():
        value: Any = getattr(settings, name)
        if not item.repr:
            value = "(set)" if value else ""
        elif isinstance(value, str):
            value = re.sub(r"(://[^/@]*?):[^/@]*@", r"\1:(set)@", value)
        yield f"{name.upper()}={value}"


def _tables(database: Database, newest: str | None) -> str | None:
    """Return what keeps the tables from being looked at."""
    try:
        revision = database.revision()
    except SQLAlchemyError as error:
        if has_no_tables(error):
            return "The database has no tables yet: run `flask database upgrade`."
        return f"The database cannot be read: {first_line(error)}."
    if revision != newest:
        return f"The tables are at revision {revision}, and the newest is {newest}: run `flask database upgrade`."
    return None


def _looked_at(app: Flask) -> tuple[Database, Storage, Inventory]:
    return provided(Database, app), provided(Storage, app), provided(Inventory, app)


def _checks(inventory: Inventory) -> list[Check]:
    silent = sa.select(Job.id, Job.owner, Job.subject, Job.task)
    return [
        Check(
            key=Job.id,
            wrong=silent.where(Job.status == "running", Job.lease_expires_at < time.time() - LONG),
            sentence="Job {id} is held by {owner}, which died long ago: start the server, or `flask jobs recover`.",
        ),
        Check(
            key=Job.id,
            wrong=sa.select(Job.id, Job.kind).where(Job.kind.not_in(list(inventory.operations))),
            sentence="Job {id} is of kind {kind}, which nobody here can do.",
        ),
        *(check for inspection in inventory.inspections for check in inspection.checks),
    ]
