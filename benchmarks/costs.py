"""What one image costs the parts of a large installation, for docs/scale.md: rows, log, transactions, object calls.

PostgreSQL syncs and writes full pages, as one in use does. The object store is SeaweedFS on this machine, so its times
are those of a local network at best. Takes some two minutes.
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from benchmarks.stage import emulator, facecloud, service
from tests.object_store import ObjectStore
from tests.postgresql import PostgreSQLServer
from tests.support import Service, photo

IMAGES, TASK = 2_000, 100
OBJECT = 300_000
COUNTERS = ("xact_commit", "tup_inserted", "tup_updated", "tup_deleted")


def counters(server: PostgreSQLServer, url: str) -> dict[str, int]:
    """Return what the server has counted for a database; it publishes with a delay of its own."""
    name = url.rpartition("/")[2]
    time.sleep(1.5)
    (row,) = server.execute(f"SELECT {', '.join(COUNTERS)} FROM pg_stat_database WHERE datname = %s", name)
    ((log,),) = server.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    ((size,),) = server.execute("SELECT pg_database_size(%s)", name)
    return dict(zip(COUNTERS, row, strict=True)) | {"WAL bytes": log, "bytes": size}


def per_image(step: str, before: dict[str, int], after: dict[str, int]) -> None:
    """Print what a step has cost an image."""
    print(f"{step}:", ", ".join(f"{(after[name] - before[name]) / IMAGES:.3f} {name}" for name in after), "an image")


def work(server: PostgreSQLServer, stage: Service) -> None:
    """Upload, process and delete tasks."""
    url, client = str(stage.settings["DATABASE_URL"]), stage.client()
    client.run(photo(1))
    pictures = [photo(number, (640, 480)) for number in range(TASK)]
    states = [counters(server, url)]
    tasks = [client.task(*pictures) for _ in range(IMAGES // TASK)]
    states.append(counters(server, url))
    for task in tasks:
        client.start(task)
    faces = sum(client.ended(task, 120)["statistics"]["faces"] for task in tasks)
    states.append(counters(server, url))
    for task in tasks:
        client.delete(f"/api/v1/tasks/{task}")
    states.append(counters(server, url))
    for number, step in enumerate(("upload", f"work ({faces / IMAGES:.2f} faces an image)", "deletion")):
        per_image(step, states[number], states[number + 1])


def commits(server: PostgreSQLServer, threads: int, seconds: float = 4.0) -> float:
    """Return how many transactions of one small row a second so many connections commit."""
    server.execute("CREATE TABLE IF NOT EXISTS small (id text)")
    end = time.monotonic() + seconds

    def insert(_: int) -> int:
        number = 0
        with psycopg.connect(f"host=127.0.0.1 port={server.port} user=app dbname=postgres", autocommit=True) as one:
            while time.monotonic() < end:
                one.execute("INSERT INTO small VALUES ('x')")
                number += 1
        return number

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(insert, range(threads))) / seconds


def milliseconds(call: Callable[[str], Any], number: int = 200) -> str:
    """Return median and 99th percentile of a call, made one after the other."""
    taken = []
    for one in range(number):
        begin = time.perf_counter()
        call(f"key-{one}")
        taken.append(1000 * (time.perf_counter() - begin))
    return f"{statistics.median(taken):.1f} ms, 99 of 100 within {statistics.quantiles(taken, n=100)[98]:.1f} ms"


def main() -> None:
    """Print the costs."""
    server = PostgreSQLServer()
    server.start(durable=True)
    try:
        for threads in (1, 8, 32):
            print(f"PostgreSQL, {threads} connections: {commits(server, threads):.0f} commits/s", flush=True)
        with ObjectStore() as store, emulator(0.05) as url:
            bucket = store.bucket()
            settings = facecloud(url, WORKERS=8, WEB_CONCURRENCY=2, **store.settings(bucket))
            with service(**(settings | {"DATABASE_URL": server.new_database()})) as stage:
                work(server, stage)
            client, body = store.client("app"), os.urandom(OBJECT)
            put = milliseconds(lambda key: client.put_object(Bucket=bucket, Key=key, Body=body))
            got = milliseconds(lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read())
            print(f"an object of {OBJECT // 1000} KB: PUT {put}; GET {got}")
    finally:
        server.remove()


if __name__ == "__main__":
    main()
