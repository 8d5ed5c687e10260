"""While a service runs, files that no row knows go too: once an hour, by one process of all."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from service.db.database import Database
from service.http.services import provided
from service.jobs.models import Share
from service.maintenance.checks import Inventory
from service.maintenance.orphan_files import OrphanFileRemoval
from service.storage.storage import Storage
from service.telemetry.metrics import Metrics
from tests.conftest import on_both_databases
from tests.support import application, wait_for

pytestmark = on_both_databases


@pytest.fixture
def apps(new_database: Callable[[Path], str], tmp_path: Path) -> Iterator[list[Flask]]:
    """Give what three processes have, on one database and one folder."""
    url = new_database(tmp_path)
    with ExitStack() as ends:
        yield [ends.enter_context(application(tmp_path, url)) for _ in range(3)]


def sweeps_of(apps: list[Flask], every: float = 3600.0) -> list[OrphanFileRemoval]:
    parts = [
        (provided(Database, app), provided(Storage, app), provided(Inventory, app).known_keys, provided(Metrics, app))
        for app in apps
    ]
    return [OrphanFileRemoval(*part, every=every, owner=f"host:{number}") for number, part in enumerate(parts)]


def leave(folder: Path, name: str, seconds_ago: float) -> Path:
    """Leave a file that no row knows."""
    path = folder / "files" / "tasks" / "gone" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - seconds_ago,) * 2)
    return path


def test_of_many_processes_one_sweeps_and_none_again_within_the_hour(
    apps: list[Flask], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweeps, database = sweeps_of(apps), provided(Database, apps[0])
    old, half, young = leave(tmp_path, "old", 4000), leave(tmp_path, ".new-half", 4000), leave(tmp_path, "young", 100)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(OrphanFileRemoval.remove_if_due, sweeps))
    assert (old.exists(), half.exists(), young.exists()) == (False, False, True)
    assert [record.lines for record in caplog.records] == [({"files": 1, "unfinished": 1},)]
    late = leave(tmp_path, "late", 4000)
    for sweep in sweeps:
        sweep.remove_if_due()
    assert late.exists()
    with database.write() as session:
        (expires_at,) = session.scalars(sa.select(Share.expires_at)).all()
        assert 3500 < expires_at - time.time() <= 3600
        session.execute(sa.update(Share).values(expires_at=time.time() - 1))
    for sweep in sweeps:
        sweep.remove_if_due()
    assert not late.exists()
    assert young.exists()


def test_a_process_sweeps_by_itself_again_and_again_until_it_stops(apps: list[Flask], tmp_path: Path) -> None:
    (sweep,) = sweeps_of(apps[:1], every=0.3)
    files = [leave(tmp_path, "first", 4000)]
    sweep.start(at_once=False)
    wait_for(lambda: not files[-1].exists(), what="the first sweep")
    files.append(leave(tmp_path, "second", 4000))
    wait_for(lambda: not files[-1].exists(), what="the next one")
    sweep.stop()
    sweep.thread.stop(5)
    files.append(leave(tmp_path, "third", 4000))
    assert not sweep.thread.is_alive()
    assert files[-1].exists()
