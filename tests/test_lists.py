"""Every list of the API finds its page by an index, whatever lies around it.

`ROWS=100000` makes so many rows of each kind, and measures the first byte of each list and what it takes of memory.
"""

import datetime
import os
import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.db.database import Database, Model
from service.features.renditions.keys import KINDS
from service.http.services import provided
from tests.support import application

ROWS = int(os.environ.get("ROWS", "300"))
FULL = 100_000
FIRST_BYTE = 0.05
MEMORY = 8_000_000
"""Bytes that an answer may take at its most, of however many rows."""
PASSWORD = "long enough"

OWN: dict[str, dict[str, object]] = {
    "task": {"status": "completed", "webhook_url": None},
    "image": {"status": "done", "error_code": None, "error_detail": None, "rotation": 0},
    "face": {
        "image_id": lambda n: str(ROWS // 2 + n // 2),  # the first half of the photos has none
        "number": lambda n: n % 2 + 1,
        "gender": "male",
        "detected": None,
    },
    "review": {"left_out": []},
    "review_photo": {"review_id": "0"},
    "webhook_event": {"body": '{"type": "task.completed"}', "status": "delivered", "detail": None, "answer": 200},
    "job": {"kind": "webhook", "status": "queued", "error": None, "owner": None, "unserved_since": None},
    "augmentation_image": {"status": "finished", "media_type": "image/png"},
    "ImageTask": {"suffix": "original"},
    "owned_image": {"owner_type": "user", "owner_id": "0"},
    "image_version": {"status": "done", "url": None},
    "rendition": {"version_id": lambda n: str(n // 4), "kind": lambda n: KINDS[n % 4], "url": None},
    "augmentation_task": {"status": "finished"},
    "processing_file": {"media_type": "image/png"},
    "question": {"source": "builtin"},
    "processing_task": {"algorithm": "flip", "params": {"orientation": "vertical"}, "status": "finished"},
}
"""The tables that lists are made of, and what their rows have beside numbers."""
FIRSTS = {("image", "task_id"), ("review", "task_id"), ("webhook_event", "task_id"), ("removed_image", "task_id")}
"""What belongs to the first of its parents; of all else the n-th belongs to the n-th."""


def value_of(column: sa.Column[Any], number: int, user: str) -> object:
    table, name = column.table.name, column.name
    if name in OWN.get(table, {}):
        own = OWN[table][name]
        return own(number) if callable(own) else own
    if name == "user_id":
        return user
    if (table, name) in FIRSTS or (column.foreign_keys and table.startswith(("augmentation", "ImageTask"))):
        return "0"
    kinds = {int: number, float: 1.5, bool: True, datetime.datetime: datetime.datetime.now(datetime.UTC), dict: {}}
    text = f"{number:0{getattr(column.type, 'length', None) or 8}}" if name.endswith("_at") else str(number)
    return kinds.get(column.type.python_type, text)


def fill(connection: sa.Connection, user: str) -> None:
    """Put ROWS rows into each table; all belong to the first task of each feature."""
    for table in (table for table in Model.metadata.sorted_tables if table.name in OWN):
        count = {"augmentation_task": 1, "rendition": len(KINDS) * ROWS}.get(table.name, ROWS)
        for begin in range(0, count, 10_000):
            numbers = range(begin, min(count, begin + 10_000))
            rows = [{column.name: value_of(column, number, user) for column in table.columns} for number in numbers]
            connection.execute(sa.insert(table), rows)


class Stage(NamedTuple):
    """An application with many rows, and a user of augmentation that has many of them."""

    http: FlaskClient
    user: str
    token: str

    def get(self, path: str) -> TestResponse:
        """Ask for a path, as the user where the paths of users are."""
        path = path.format(user=self.user)
        login: dict[str, Any] = {"auth": ("admin", "unused")}
        if path.startswith(("/history", "/status")):
            login = {"headers": {"Authorization": f"Bearer {self.token}"}}
        return self.http.get(path, buffered=False, **login)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("lists")
    shutil.copy(migrated, folder / "service.db")
    with application(folder) as app:
        http = app.test_client()
        account = {"email": "ada@example.com", "password": PASSWORD}
        added = http.post("/registration", json=account).json
        user = added["user_id"]
        engine = provided(Database, app).writing
        with engine.begin() as connection:
            fill(connection, user)
        yield Stage(http, user, added["access_token"])


LISTS = [
    "/api/v1/tasks",
    "/api/v1/tasks?status=completed",
    "/api/v1/tasks?status=error",
    "/api/v1/tasks/0/images",
    "/api/v1/tasks/0/reviews",
    "/api/v1/tasks/0/deliveries",
    "/history/{user}",
    "/images",
    "/images?owner_type=user&owner_id=0",
    "/api/image-processing/?limit=20",
    "/questions",
]
STREAMS = [
    "/api/image-processing/",
    "/api/v1/tasks/0/faces.csv",
    "/api/v1/tasks/0/photos.csv",
    "/api/v1/tasks/0/faces.jsonl",
    "/api/v1/tasks/0/annotations.json?format=coco",
    "/api/v1/tasks/0/annotations.json?format=labelstudio",
    "/api/v1/tasks/0/annotations.json?format=fiftyone",
]


def plans(stage: Stage, ask: Callable[[], object]) -> list[str]:
    """Return how SQLite finds the rows of all that is read meanwhile."""
    database = provided(Database, stage.http.application)
    asked: list[str] = []

    def trace(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_trace_callback(asked.append)

    sa.event.listen(database.reading, "checkout", trace)
    try:
        ask()
    finally:
        sa.event.remove(database.reading, "checkout", trace)
    with database.reading.connect() as connection:
        cursor: Any = connection.connection.cursor()
        cursor.connection.set_trace_callback(None)
        return [
            f"{row[3]}: {statement[:2000]}"
            for statement in asked
            if statement.startswith("SELECT")
            for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        ]


OF_PAGE = ("ORDER BY face.number", "ORDER BY image_version.number")
"""The ends of statements that sort what belongs to the page's own images."""


def is_slow(step: str, statement: str) -> bool:
    """Return whether a step of a plan grows with the table: a sort, or a walk that no limit ends after the page.

    A sort of the right part of an order sorts the faces of one photo after the other.
    """
    if "TEMP B-TREE" in step:
        return "RIGHT PART" not in step and not statement.endswith(OF_PAGE)
    return step.startswith("SCAN") and ("LIMIT" not in statement or "WHERE" in statement) and "outage" not in step


@pytest.mark.parametrize("path", [*LISTS, *STREAMS])
def test_a_list_is_read_by_an_index_without_a_walk_over_the_table_or_a_sort(stage: Stage, path: str) -> None:
    first = stage.get(path)
    assert first.status_code == 200, first.text
    paths = [path]
    if path in LISTS and (end := (first.json.get("next") if isinstance(first.json, dict) else None)):
        paths.append(f"{path}{'&' if '?' in path else '?'}cursor={end}")
    found = [plan for one in paths for plan in plans(stage, lambda one=one: stage.get(one).get_data())]
    assert found
    assert [plan for plan in found if is_slow(*plan.split(": ", 1))] == []


def seconds_to_first_byte(stage: Stage, path: str) -> tuple[float, float]:
    """Return the seconds by the clock, and those of the processor."""
    begun, of_thread = time.perf_counter(), time.thread_time()
    answer = stage.get(path)
    next(iter(answer.iter_encoded()))
    seconds, of_cpu = time.perf_counter() - begun, time.thread_time() - of_thread
    answer.close()
    return seconds, of_cpu


@pytest.mark.parametrize("path", [*LISTS, *STREAMS])
def test_the_first_byte_of_a_list_comes_at_once_and_memory_stays_flat(stage: Stage, path: str) -> None:
    seconds, of_cpu = min(seconds_to_first_byte(stage, path) for _ in range(5))
    tracemalloc.start()
    size = sum(map(len, stage.get(path).iter_encoded()))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    times = f"{seconds * 1000:.1f} ms, {of_cpu * 1000:.1f} of CPU,"
    print(f"{path}: {times} to the first of {size:,} bytes, {most / 1e6:.1f} MB")
    assert seconds < FIRST_BYTE or ROWS < FULL
    assert most < MEMORY
