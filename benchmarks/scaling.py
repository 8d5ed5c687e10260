"""A task through 1, 2 and 4 of Celery's workers: wall time against the ideal.

PostgreSQL, Redis, one server process, FaceCloud at 50 ms; each worker is a process that works on 8 images at a time, so
W workers cannot be faster than ⌈N / 8 W⌉ × 50 ms. The time runs as in `benchmarks.pipeline`.
"""

import argparse
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.pipeline import rate, wall
from benchmarks.row import Bar, Row, in_turns
from benchmarks.stage import emulator, facecloud, service
from tests.postgresql import PostgreSQLServer
from tests.redis import RedisServer
from tests.support import Service

LATENCY, FILES = 0.05, 8


@contextmanager
def servers() -> Iterator[tuple[PostgreSQLServer, RedisServer]]:
    """Run PostgreSQL and Redis."""
    postgresql, redis = PostgreSQLServer(), RedisServer()
    postgresql.start()
    redis.start()
    try:
        yield postgresql, redis
    finally:
        redis.kill()
        postgresql.remove()


@contextmanager
def celery(postgresql: PostgreSQLServer, redis: RedisServer) -> Iterator[Service]:
    """Run a service whose work is Celery's, without workers."""
    settings = {"EXECUTOR": "celery", "BROKER_URL": redis.new_url(), "DATABASE_URL": postgresql.new_database()}
    with emulator(LATENCY) as url, service(**facecloud(url, WORKERS=FILES, WEB_CONCURRENCY=1, **settings)) as stage:
        yield stage


def ideal(images: int, workers: int) -> float:
    """Return the seconds that so many workers need at least."""
    return math.ceil(images / (FILES * workers)) * LATENCY


def rows(_: Path) -> Iterator[Row]:
    """Yield a task through four workers; the limit is the ideal."""
    with ExitStack() as stack:
        stage = stack.enter_context(celery(*stack.enter_context(servers())))
        stage.begin_work(4)
        found = in_turns(3, {"ours": partial(rate, stage, 1_000)}) | {"limit": [1_000 / ideal(1_000, 4)]}
        yield Row("1,000 images at 50 ms, 4 Celery workers", "images/s", found, bars=[Bar(0.87, "limit")])


def main() -> None:
    """Print a line for each number of workers, the best of three rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--pool", choices=["threads", "prefork"], default="threads")
    given = parser.parse_args()
    with servers() as both:
        alone = 0.0
        for workers in given.workers:
            with celery(*both) as stage:
                if given.pool == "threads":
                    stage.begin_work(workers)
                else:
                    stage.start_work("--pool", "prefork", "--concurrency", workers)
                client = stage.client()
                wall(client, 64 * workers)  # log in, open the connections
                seconds = min(wall(client, given.images) for _ in range(3))
                alone = alone or seconds * workers
                images_a_second = given.images / seconds
                ratio = seconds / ideal(given.images, workers)
                print(
                    f"{workers} workers, {given.images} images: {seconds:.2f} s, {images_a_second:.0f} images/s, "
                    f"{ratio:.2f} of the ideal, {alone / seconds:.2f} times one worker"
                )


if __name__ == "__main__":
    main()
