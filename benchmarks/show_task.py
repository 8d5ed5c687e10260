"""GET of a finished task of 1,000 images: the bar is 1.8 ms, and 30 ms for 95 of 100 while the workers are busy.

As a program it prints the figure of 95 of 100, taken with 100,000 images in the database and a large task being
processed, and the first read in a process, which makes the JSON that is kept. The answers are not compressed.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import stage
from benchmarks.plain_client import PlainClient
from benchmarks.row import PAIRS, Bar, Row, in_turns
from benchmarks.stage import emulator, facecloud, service
from tests.support import Client, Service, photo

IMAGES = [photo(number) for number in range(100)]
"""Tiny ones, of which there are a hundred thousand."""


def times(service: Service, path: str, count: int) -> list[float]:
    """Return the milliseconds of so many GETs, sorted; answers are uncompressed, as earlier code knows no other."""
    taken = []
    with PlainClient(service) as client:
        for _ in range(count):
            begin = time.perf_counter()
            client.call("GET", path)
            taken.append((time.perf_counter() - begin) * 1000)
    return sorted(taken)


def finished(client: Client, size: int) -> str:
    """Return the id of a finished task of so many images."""
    task = client.task(*(IMAGES[number % len(IMAGES)] for number in range(size)))
    client.start(task)
    client.ended(task, 120)
    return task


def rows(peer: Path) -> Iterator[Row]:
    """Yield the read of a finished task; the limit is as many bytes from an empty view."""

    def median(service: Service, path: str) -> float:
        return statistics.median(times(service, path, 100))

    with stage.both(peer) as (ours, theirs, _), stage.empty_view() as empty:
        paths = [f"/api/v1/tasks/{finished(service.client(), 1_000)}" for service in (ours, theirs)]
        size = len(ours.client().get(paths[0]).content)
        asked = {"ours": (ours, paths[0]), "peer": (theirs, paths[1]), "limit": (empty, f"/?bytes={size}")}
        for place in asked.values():
            for _ in range(4):
                times(*place, 5)  # each process has answered
        found = in_turns(PAIRS, {name: partial(median, *place) for name, place in asked.items()})
        yield Row("look at a finished task of 1,000 images", "ms", found, bars=[Bar(1.8)])


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="images in the database")
    given = parser.parse_args()
    with emulator(0.05) as url, emulator(0.0) as fast, service(**facecloud(fast)) as served:
        client = served.client()
        path = f"/api/v1/tasks/{finished(client, 1_000)}"
        served.stop()
        client = served.start()  # so that no process has kept the answer
        (first,) = times(served, path, 1)
        print(f"1,000 images: first {first:.2f} ms")
        for _ in range(given.images // 10_000 - 1):
            client.task(*(IMAGES[number % len(IMAGES)] for number in range(10_000)))
        served.stop()
        served.settings.update(facecloud(url))
        client = served.start()
        busy = client.task(*(IMAGES[number % len(IMAGES)] for number in range(10_000)))
        client.start(busy)
        under_work = times(served, path, 200)
        assert client.show(busy)["status"] == "processing"
        print(f"with {given.images} images and the workers busy: 95 of 100 within {under_work[190]:.2f} ms (bar 30)")
        client.delete(f"/api/v1/tasks/{busy}")


if __name__ == "__main__":
    main()
