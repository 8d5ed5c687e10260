"""A task of N images through FaceCloud: wall time against the ideal, and images a second.

At 50 ms of latency W workers cannot be faster than ⌈N/W⌉ × 50 ms; the bar is 1.05 of that. At 0 ms
the bar is 1,700 images a second on two cores, the emulator of FaceCloud among them. The time runs
from the sending of start to `finished_at`, as a client that waits for the end would see it.
Memory is that of the largest server process after each size.

`--database postgresql` starts a server of its own; at 0 ms the bar is 0.8 of SQLite's images a second.
"""

import argparse
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from benchmarks.photos import NUMBER, photos
from benchmarks.stage import emulator, facecloud, resident, service
from tests.postgresql import PostgreSQLServer
from tests.support import Client

WORKERS, PROCESSES = 8, 2


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
            service(**facecloud(url, WORKERS=WORKERS, WEB_CONCURRENCY=PROCESSES, **settings)) as stage,
        ):
            client = stage.client()
            wall(client, 64)  # log in, open the connections
            for size in given.sizes:
                seconds = min(wall(client, size) for _ in range(3 if size <= 1_000 else 1))
                ideal = math.ceil(size / (WORKERS * PROCESSES)) * latency
                ratio = f", {seconds / ideal:.3f} of the ideal (bar 1.05)" if ideal else ""
                memory = max(resident(pid) for pid in stage.workers())
                print(
                    f"latency {latency * 1000:.0f} ms, {size} images: {seconds:.3f} s, "
                    f"{size / seconds:.0f} images/s{ratio}; {memory:.0f} MB a process"
                )


if __name__ == "__main__":
    main()
