"""A look at a task that is being processed: milliseconds of CPU, ten images having changed since the look before.

Images have a face each. Nobody works on them: what a worker would change is written straight into the database. `since`
and `images=false` are what the page and programs use, and earlier code has not. The limit is as many bytes from an
empty view.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks import stage
from benchmarks.row import PAIRS, Bar, Row, in_turns
from benchmarks.show_task import IMAGES
from tests.support import Client, Service

CHANGED, LOOKS = 10, 5
VIEWS: tuple[tuple[str, str, str, list[Bar]], ...] = (
    ("compressed", "", "gzip", [Bar(32)]),
    ("`since`", "?since={version}", "identity", []),
    ("`images=false`", "?images=false", "identity", []),
)


def connect(service: Service) -> sqlite3.Connection:
    """Return a connection to a service's database."""
    return sqlite3.connect(str(service.settings["DATABASE_URL"]).removeprefix("sqlite:///"), isolation_level=None)


def add_faces(database: sqlite3.Connection, task: str, each: int) -> None:
    """Give each image of a task so many faces, with the columns that both versions of the code have."""
    number = "number" if "number" in _columns(database, "face") else "position"
    columns = f"image_id, {number}, x, y, width, height, gender, age, score"
    images = [image for (image,) in database.execute("SELECT id FROM image WHERE task_id = ?", (task,))]
    rows = [(image, face, 1, 2, 100, 120, "male", 26.0, 0.99) for image in images for face in range(1, each + 1)]
    database.execute("BEGIN")
    database.executemany(f"INSERT INTO face ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.execute("UPDATE image SET status = 'done' WHERE task_id = ?", (task,))
    database.execute("COMMIT")


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}


class Watched:
    """A task of so many images that is being processed."""

    def __init__(self, service: Service, images: int) -> None:
        self._service = service
        self.client: Client = service.client()
        self._task = self.client.task(*(IMAGES[number % len(IMAGES)] for number in range(images)))
        with closing(connect(service)) as database:
            add_faces(database, self._task, 1)
            database.execute("UPDATE task SET status = 'processing', done = total - 1 WHERE id = ?", (self._task,))
        for _ in range(8):
            self.look()  # each process reads all of them once

    def look(self, query: str = "", coding: str = "identity") -> bytes:
        """Change images and look; return the answer."""
        with closing(connect(self._service)) as database:
            (version,) = database.execute("SELECT version FROM task WHERE id = ?", (self._task,)).fetchone()
            database.execute("BEGIN")
            database.execute("UPDATE task SET version = version + 1 WHERE id = ?", (self._task,))
            if "version" in _columns(database, "image"):
                chosen = f"SELECT id FROM image WHERE task_id = ? ORDER BY random() LIMIT {CHANGED}"
                change = f"UPDATE image SET version = {version + 1} WHERE id IN ({chosen})"
                database.execute(change, (self._task,))
            database.execute("COMMIT")
        path = f"/api/v1/tasks/{self._task}{query.format(version=version)}"
        answer = self.client.get(path, headers={"Accept-Encoding": coding})
        assert answer.status_code == 200, answer.text
        return answer.content

    def cost(self, query: str = "", coding: str = "identity") -> float:
        """Return the milliseconds of CPU of a look."""
        before = stage.cpu(self._service)
        for _ in range(LOOKS):
            self.look(query, coding)
        return (stage.cpu(self._service) - before) / LOOKS * 1000


def empty_cost(service: Service, size: int) -> float:
    """Return what a look at an empty view costs."""
    client, before = service.client(), stage.cpu(service)
    for _ in range(LOOKS):
        client.get(f"/?bytes={size}")
    return (stage.cpu(service) - before) / LOOKS * 1000


def rows(peer: Path) -> Iterator[Row]:
    """Yield looks at the whole of two tasks, and at the smaller one in other ways."""
    with stage.both(peer, WEB_WORKS="false") as (ours, theirs, _), stage.empty_view() as empty:
        for images, bar in ((10_000, 25), (4_000, 10)):
            here, there = (Watched(service, images) for service in (ours, theirs))
            found = in_turns(
                PAIRS,
                {
                    "ours": here.cost,
                    "peer": there.cost,
                    "limit": partial(empty_cost, empty, len(here.look())),
                },
            )
            yield Row(f"look at a task of {images:,} being processed", "ms of CPU", found, bars=[Bar(bar)])
        for what, query, coding, bars in VIEWS:
            found = in_turns(PAIRS, {"ours": partial(here.cost, query, coding)})
            yield Row(f"the same of 4,000, {what}", "ms of CPU", found, bars=bars)
