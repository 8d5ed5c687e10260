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
from benchmarks.row import PAIRS, Bar, Row, in_turns
from benchmarks.stage import emulator, facecloud, service
from tests.support import Client, photo

IMAGES = [photo(number) for number in range(100)]
"""Tiny ones, of which there are a hundred thousand."""


def times(client: Client, path: str, count: int) -> list[float]:
    """Return the milliseconds of so many GETs, sorted; answers are uncompressed, as earlier code knows no other."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        assert client.get(path, headers={"Accept-Encoding": "identity"}).status_code == 200
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

    def median(client: Client, path: str) -> float:
        return statistics.median(times(client, path, 100))

    with stage.both(peer) as (ours, theirs, _), stage.empty_view() as empty:
        clients = {"ours": ours.client(), "peer": theirs.client()}
        paths = {name: f"/api/v1/tasks/{finished(client, 1_000)}" for name, client in clients.items()}
        size = len(clients["ours"].get(paths["ours"]).content)
        clients, paths = clients | {"limit": empty.client()}, paths | {"limit": f"/?bytes={size}"}
        for name, client in clients.items():
            times(client, paths[name], 20)  # each process has answered
        found = in_turns(PAIRS, {name: partial(median, client, paths[name]) for name, client in clients.items()})
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
        (first,) = times(client, path, 1)
        print(f"1,000 images: first {first:.2f} ms")
        for _ in range(given.images // 10_000 - 1):
            client.task(*(IMAGES[number % len(IMAGES)] for number in range(10_000)))
        served.stop()
        served.settings.update(facecloud(url))
        client = served.start()
        busy = client.task(*(IMAGES[number % len(IMAGES)] for number in range(10_000)))
        client.start(busy)
        under_work = times(client, path, 200)
        assert client.show(busy)["status"] == "processing"
        print(f"with {given.images} images and the workers busy: 95 of 100 within {under_work[190]:.2f} ms (bar 30)")
        client.delete(f"/api/v1/tasks/{busy}")


if __name__ == "__main__":
    main()
