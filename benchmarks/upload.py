"""Upload of 1,000 photos of 50 KB in one connection, 50 a request: the bar is 1.2 s.

Beside it, in the same run, the bare cost of what cannot be left out: decoding each photo in full at
reduced scale, and writing and syncing it, in one thread.
"""

import io
import os
import tempfile
import time
from pathlib import Path

import requests
from PIL import Image

from benchmarks.photos import NUMBER, photos
from benchmarks.stage import resident, service
from tests.support import Client

COUNT, BATCH = 1_000, 50


def upload(client: Client, count: int = COUNT, batch: int = BATCH) -> float:
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


def bare(count: int = COUNT) -> float:
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


def main() -> None:
    """Print the times and their ratio."""
    with service() as stage:
        client = stage.client()
        upload(client)
        rounds = [(upload(client), upload(client, COUNT // 5, 1) * 5, bare()) for _ in range(3)]
        memory = max(resident(pid) for pid in stage.workers())
    batches, single, floor = (min(times) for times in zip(*rounds, strict=True))
    print(
        f"{COUNT} photos of {len(photos()[0]) / 1000:.0f} KB, {BATCH} a request: {batches:.2f} s (bar 1.2), "
        f"{batches / floor:.2f} of decoding and syncing alone ({floor:.2f} s; bar 1.0); one a request: {single:.2f} s, "
        f"{single / floor:.2f} of that (bar 1.8); {memory:.0f} MB a process"
    )


if __name__ == "__main__":
    main()
