"""A task through 1, 2 and 4 of Celery's workers: wall time against the ideal.

PostgreSQL, Redis, one server process, FaceCloud at 50 ms; each worker is a process that works on 8 images at a time, so
W workers cannot be faster than ⌈N / 8 W⌉ × 50 ms. The time runs as in `benchmarks.pipeline`.
"""

import argparse
import math

from benchmarks.pipeline import wall
from benchmarks.stage import emulator, facecloud, service
from tests.postgresql import PostgreSQLServer
from tests.redis import RedisServer

LATENCY, FILES = 0.05, 8


def main() -> None:
    """Print a line for each number of workers, the best of three rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--pool", choices=["threads", "prefork"], default="threads")
    given = parser.parse_args()
    postgresql, redis = PostgreSQLServer(), RedisServer()
    postgresql.start()
    redis.start()
    try:
        alone = 0.0
        for workers in given.workers:
            celery = {"EXECUTOR": "celery", "BROKER_URL": redis.new_url(), "DATABASE_URL": postgresql.new_database()}
            with (
                emulator(LATENCY) as url,
                service(**facecloud(url, WORKERS=FILES, WEB_CONCURRENCY=1, **celery)) as stage,
            ):
                if given.pool == "threads":
                    stage.begin_work(workers)
                else:
                    stage.start_work("--pool", "prefork", "--concurrency", workers)
                client = stage.client()
                wall(client, 64 * workers)  # log in, open the connections
                seconds = min(wall(client, given.images) for _ in range(3))
                alone = alone or seconds * workers
                ratio = seconds / (math.ceil(given.images / (FILES * workers)) * LATENCY)
                rate = given.images / seconds
                print(
                    f"{workers} workers, {given.images} images: {seconds:.2f} s, {rate:.0f} images/s, "
                    f"{ratio:.2f} of the ideal, {alone / seconds:.2f} times one worker"
                )
    finally:
        redis.kill()
        postgresql.remove()


if __name__ == "__main__":
    main()
