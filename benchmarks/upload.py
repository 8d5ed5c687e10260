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

import requests
from PIL import Image

from benchmarks import stage
from benchmarks.photos import NUMBER, photos
from benchmarks.row import PAIRS, Bar, Row, in_turns
from tests.support import Client, Service

COUNT = 200


def upload(client: Client, count: int, batch: int) -> float:
    """Return the seconds that the upload takes, `batch` photos a request, the building of the requests not counted."""
    task = client.task()
    bodies = []
    for first in range(0, count, batch):
        numbers = range(first, first + batch)
        parts = [("image", (f"{number}.jpg", photos()[number % NUMBER], "image/jpeg")) for number in numbers]
        request = client.prepare_request(_post(f"{client.url}/api/v1/tasks/{task}/images", parts))
        bodies.append(request)
    begin = time.perf_counter()
    for request in bodies:
        assert client.send(request).status_code == 201
    return time.perf_counter() - begin


def _post(url: str, parts: list[tuple[str, tuple[str, bytes, str]]]) -> requests.Request:
    return requests.Request("POST", url, files=parts)


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
        return COUNT / upload(service.client(), COUNT, batch)

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
