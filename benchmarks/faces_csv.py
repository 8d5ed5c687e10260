"""`faces.csv` of 100,000 faces, from request to last byte; the limit is bare SQLite and csv over the same rows."""

import csv
import io
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks import stage
from benchmarks.row import PAIRS, Bar, Row, in_turns
from benchmarks.show_task import IMAGES
from benchmarks.watch_task import add_faces, connect
from service.features.faces.face_members import FACE_MEMBERS
from tests.support import Client, Service

PHOTOS, FACES = 1_000, 100  # of each photo
SELECT = (
    f"SELECT image.id, image.name, {', '.join(f'face.{name}' for name in (*FACE_MEMBERS, 'corrected'))} FROM image "
    "JOIN face ON face.image_id = image.id WHERE image.task_id = ? ORDER BY image.position, face.number"
)


def finished(service: Service) -> str:
    """Return the id of a finished task with the faces."""
    task = service.client().task(*(IMAGES[number % len(IMAGES)] for number in range(PHOTOS)))
    with closing(connect(service)) as database:
        add_faces(database, task, FACES)
        counters = f"status = 'completed', done = total, faces = {PHOTOS * FACES}"
        database.execute(f"UPDATE task SET {counters} WHERE id = ?", (task,))
    return task


def seconds(client: Client, task: str) -> float:
    """Return how long the answer takes."""
    begin = time.perf_counter()
    answer = client.get(f"/api/v1/tasks/{task}/faces.csv", headers={"Accept-Encoding": "identity"})
    taken = time.perf_counter() - begin
    assert answer.content.count(b"\n") == PHOTOS * FACES + 1
    return taken


def bare_seconds(service: Service, task: str) -> float:
    """Return how long the same rows take in one thread, without HTTP."""
    begin = time.perf_counter()
    with closing(connect(service)) as database, io.StringIO(newline="") as text:
        csv.writer(text).writerows(database.execute(SELECT, (task,)))
        text.getvalue().encode()
    return time.perf_counter() - begin


def rows(peer: Path) -> Iterator[Row]:
    """Yield the row."""
    with stage.both(peer, WEB_WORKS="false") as (ours, theirs, _):
        task, their_task = finished(ours), finished(theirs)
        found = in_turns(
            PAIRS,
            {
                "ours": partial(seconds, ours.client(), task),
                "peer": partial(seconds, theirs.client(), their_task),
                "limit": partial(bare_seconds, ours, task),
            },
        )
        yield Row("`faces.csv` of 100,000 faces", "s", found, bars=[Bar(0.67, "limit")])
