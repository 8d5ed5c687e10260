"""A power cut at any commit: no row is committed whose file the disk could still lose."""

import io
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from service.http.services import provided
from service.jobs.executors import Executor
from service.maintenance.checks import Inventory
from service.storage.disk import DiskStorage
from service.storage.storage import Storage
from tests.power_cuts import PowerCuts
from tests.support import application, photo, silence

ADMIN = ("admin", "unused")
COMMITS = 200


class Commits:
    """Looks at each commit whether what it writes would outlive a power cut right after it."""

    def __init__(self, app: Flask, cuts: PowerCuts) -> None:
        self._files = [stored for one in provided(Inventory, app).inspections for stored in one.files]
        self._cuts = cuts
        self.seen = 0
        self.kinds: set[str] = set()
        self.lost: list[str] = []

    def look(self, connection: sa.Connection) -> None:
        self.seen += 1
        for stored in self._files:
            for row in connection.execute(stored.rows):
                key = stored.name(row)
                self.kinds.add(stored.sentence)
                if self._cuts.left(key) is None:
                    self.lost.append(key)


@contextmanager
def watched(app: Flask, cuts: PowerCuts) -> Iterator[Commits]:
    commits = Commits(app, cuts)
    sa.event.listen(sa.Engine, "commit", commits.look)
    try:
        yield commits
    finally:
        sa.event.remove(sa.Engine, "commit", commits.look)


def files(name: str, contents: list[bytes]) -> dict[str, Any]:
    return {name: [(io.BytesIO(content), f"{number}.jpg") for number, content in enumerate(contents)]}


def faces(http: FlaskClient, some: random.Random) -> None:
    """Upload to a task, now and then to a new one, and delete an image or a task."""
    tasks = http.get("/api/v1/tasks", auth=ADMIN).json["items"]
    task = some.choice(tasks)["id"] if len(tasks) > 3 else http.post("/api/v1/tasks", auth=ADMIN).json["id"]
    parts = files("image", [photo(some.randrange(99)) for _ in range(some.randrange(1, 4))])
    done(http.post(f"/api/v1/tasks/{task}/images", data=parts, auth=ADMIN))
    if some.random() < 0.3:
        done(http.delete(f"/api/v1/tasks/{task}", auth=ADMIN))


def processing(http: FlaskClient, some: random.Random) -> None:
    """Upload a file and have a turned one made of it."""
    parts = files("file", [photo(some.randrange(99))])
    ids = done(http.post("/api/files/", data=parts, auth=ADMIN)).json["file_ids"]
    order = {"file_ids": ids, "algorithm": "rotate", "params": {"direction": "clockwise"}}
    done(http.post("/api/image-processing/", json=order, auth=ADMIN))


def renditions(http: FlaskClient, some: random.Random) -> None:
    """Add an owner's image or take the place of all that the owner has."""
    parts = files("image", [photo(some.randrange(99))]) | {"user_id": str(some.randrange(1, 4))}
    call = http.put if some.random() < 0.3 else http.post
    done(call("/images", data=parts, auth=ADMIN))


def augmentation(http: FlaskClient, some: random.Random) -> None:
    """Register somebody and upload."""
    person = {"email": f"{some.randbytes(8).hex()}@example.com", "password": some.randbytes(8).hex()}
    token = done(http.post("/registration", json=person)).json["access_token"]
    parts = files("files", [photo(some.randrange(99)) for _ in range(2)])
    done(http.post("/upload", data=parts, headers={"Authorization": f"Bearer {token}"}))


def recordings(http: FlaskClient, some: random.Random) -> None:
    """Add somebody and a recording."""
    user = done(http.post("/users", json={"name": str(some.random())}, auth=ADMIN)).json
    form = {"user": user["id"], "token": user["token"], "audio": (io.BytesIO(silence(0.1)), "a.wav")}
    done(http.post("/records", data=form))


def done(answer: Any) -> Any:
    assert answer.status_code < 300, answer.text
    return answer


def test_no_row_is_committed_whose_file_a_power_cut_could_take(tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    some = random.Random(21)
    with application(tmp_path) as app:
        storage = cast(DiskStorage, provided(Storage, app))
        cuts = PowerCuts(storage.root)
        storage.sync = cuts.sync
        executor = provided(Executor, app)
        with watched(app, cuts) as commits:
            executor.start()
            try:
                acts: list[Callable[[FlaskClient, random.Random], None]]
                acts = [faces, faces, processing, renditions, augmentation, recordings]
                give_up_at = time.monotonic() + 120
                while commits.seen < COMMITS:
                    assert time.monotonic() < give_up_at, commits.seen
                    some.choice(acts)(app.test_client(), some)
            finally:
                executor.stop()
        assert commits.lost == []
        assert len(commits.kinds) >= len(acts)
