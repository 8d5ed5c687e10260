"""Upload of photos of 50 KB in one connection, and how much memory it takes.

The limit is the bare cost of what cannot be left out: decoding each photo in full at reduced scale, and writing and
syncing it, in one thread.
"""

import io
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks import stage
from benchmarks.photos import NUMBER, photos
from benchmarks.plain_client import PlainClient, form
from benchmarks.row import PAIRS, Bar, Row, in_turns
from tests.support import Service

COUNT = 200


def upload(service: Service, count: int, batch: int) -> float:
    """Return the seconds that the upload takes, `batch` photos a request, the building of the requests not counted."""
    numbers = range(count)
    bodies = [
        form([photos()[number % NUMBER] for number in numbers[first : first + batch]]) for first in numbers[::batch]
    ]
    path = f"/api/v1/tasks/{service.client().task()}/images"
    with PlainClient(service) as client:
        begin = time.perf_counter()
        for body in bodies:
            client.call("POST", path, *body)
        return time.perf_counter() - begin


def bare(count: int) -> float:
    """Return the seconds for decoding, writing and syncing alone."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        for number in range(count):
            photo = photos()[number % NUMBER]
            picture = Image.open(io.BytesIO(photo))
            picture.draft("RGB", (1, 1))
            picture.load()
            with Path(folder, str(number)).open("wb") as file:
                file.write(photo)
                os.fsync(file.fileno())
        return time.perf_counter() - begin


def rows(peer: Path) -> Iterator[Row]:
    """Yield the uploads in portions and one by one."""

    def rate(service: Service, batch: int) -> float:
        return COUNT / upload(service, COUNT, batch)

    with stage.both(peer) as (ours, theirs, _):
        for what, batch, bar in (("50 photos a request", 50, 1.0), ("one photo a request", 1, 1 / 1.8)):
            found = in_turns(
                PAIRS,
                {
                    "ours": partial(rate, ours, batch),
                    "peer": partial(rate, theirs, batch),
                    "limit": lambda: COUNT / bare(COUNT),
                },
            )
            yield Row(f"upload, {what}", "photos/s", found, bars=[Bar(round(bar, 2), "limit")])
