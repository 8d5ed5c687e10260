"""A task of N images through FaceCloud: wall time against the ideal, and images a second.

At 50 ms of latency W workers cannot be faster than ⌈N/W⌉ × 50 ms; the bar is 1.05 of that. At 0 ms
the bar is 1,700 images a second on two cores, the emulator of FaceCloud among them. The time runs
from the sending of start to `finished_at`, as a client that waits for the end would see it.
Memory is that of the largest server process after each size.

`--database postgresql` starts a server of its own; at 0 ms the bar is 0.8 of SQLite's images a second.
"""

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks import bare_calls, stage
from benchmarks.bare_calls import PROCESSES, THREADS
from benchmarks.photos import NUMBER, photos
from benchmarks.row import PAIRS, Bar, Row, in_turns
from benchmarks.stage import emulator, facecloud, resident, service
from tests.postgresql import PostgreSQLServer
from tests.support import Client, Service


def wall(client: Client, count: int) -> float:
    """Return the seconds from the request to start to the end of a task of `count` images."""
    task = client.task(*(photos()[number % NUMBER] for number in range(count)))
    begin = time.time()
    client.start(task)
    # The end is read off `finished_at`, so asking does not take part; it may be as rare as the size allows.
    while True:
        time.sleep(min(1.0, 0.05 + count / 20_000))
        shown = client.get("/api/v1/tasks", params={"limit": 1}).json()["items"][0]
        if shown["status"] in ("completed", "error"):
            break
    assert shown["progress"]["done"] == count, shown
    client.delete(f"/api/v1/tasks/{task}")
    return datetime.fromisoformat(shown["finished_at"]).timestamp() - begin


@contextmanager
def database(kind: str) -> Iterator[dict[str, object]]:
    """Give the settings of an empty database of this kind."""
    if kind == "sqlite":
        yield {}
        return
    server = PostgreSQLServer()
    server.start(durable=True)
    try:
        yield {"DATABASE_URL": server.new_database()}
    finally:
        server.remove()


def most_memory(service: Service) -> float:
    """Return the MB of the largest server process."""
    return max(resident(pid) for pid in service.workers())


def rows(peer: Path) -> Iterator[Row]:
    """Yield tasks of several sizes at both latencies, the memory that they took, and PostgreSQL beside SQLite."""
    with stage.both(peer) as services:
        ours, theirs, url = services
        yield Row("500 images at 0 ms", "images/s", _compared(services, 500, PAIRS))
        thousand = Row("1,000 images at 0 ms", "images/s", _compared(services, 1_000, 4), bars=[Bar(2_000)])
        yield thousand
        # Ten times the images may take eleven times as long.
        bar = Bar(round(statistics.median(thousand.ours) / 1.1))
        yield Row("10,000 images at 0 ms, once", "images/s", _compared(services, 10_000, 1, warm_up=False), bars=[bar])
        memory = {"ours": [most_memory(ours)], "peer": [most_memory(theirs)]}
        yield Row("memory of a server process after these", "MB", memory, bars=[Bar(150)])
        with database("postgresql") as settings, service(**facecloud(url, WORKERS=THREADS, **settings)) as other:
            found = in_turns(4, {"ours": partial(rate, other, 1_000), "peer": partial(rate, ours, 1_000)})
        what, bar = "1,000 images at 0 ms, PostgreSQL", Bar(0.8, "peer")
        yield Row(what, "images/s", found, peer_name="SQLite", bars=[bar])
    with stage.both(peer, 0.05) as services:
        yield Row("100 images at 50 ms", "images/s", _compared(services, 100, PAIRS), bars=[Bar(0.91, "limit")])
        yield Row("320 images at 50 ms", "images/s", _compared(services, 320, 4))
        found = _compared(services, 1_000, 2, warm_up=False)
        yield Row("1,000 images at 50 ms", "images/s", found, bars=[Bar(0.97, "limit")])


def rate(service: Service, count: int) -> float:
    """Return the images a second of a task."""
    return count / wall(service.client(), count)


def _compared(
    services: tuple[Service, Service, str], count: int, rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    ours, theirs, url = services
    ways = {
        "ours": partial(rate, ours, count),
        "peer": partial(rate, theirs, count),
        "limit": lambda: count / bare_calls.run(url, count).wall,
    }
    return in_turns(rounds, ways, warm_up=warm_up)


def main() -> None:
    """Print a line for each latency and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--latencies", type=float, nargs="+", default=[0.05, 0.0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    for latency in given.latencies:
        with (
            emulator(latency) as url,
            database(given.database) as settings,
            service(**facecloud(url, WORKERS=THREADS, WEB_CONCURRENCY=PROCESSES, **settings)) as served,
        ):
            client = served.client()
            wall(client, 64)  # log in, open the connections
            for size in given.sizes:
                seconds = min(wall(client, size) for _ in range(3 if size <= 1_000 else 1))
                ideal = math.ceil(size / (THREADS * PROCESSES)) * latency
                ratio = f", {seconds / ideal:.3f} of the ideal (bar 1.05)" if ideal else ""
                memory = most_memory(served)
                print(
                    f"latency {latency * 1000:.0f} ms, {size} images: {seconds:.3f} s, "
                    f"{size / seconds:.0f} images/s{ratio}; {memory:.0f} MB a process"
                )


if __name__ == "__main__":
    main()
