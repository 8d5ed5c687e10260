"""What an installation of a given size does and needs, for docs/operations.md: images a second, memory, disk.

FaceCloud is its emulator with 50 ms an answer, in a process of its own on the same cores. Memory is the proportional
set size (PSS), in which what processes share counts once, of the parent and of one server process, after the work. Disk
is what a task adds to the database, its log written back; photos lie beside it as they came. Takes some two minutes.
"""

import os
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from benchmarks.stage import emulator, facecloud, service
from tests.support import ROOT, Service, photo

LATENCY = 0.05
SIZES = ((1, 1, 200), (1, 4, 600), (1, 16, 1_600), (2, 8, 1_600))
"""Server processes, files at a time in each, images of the task."""
SAMPLES = ("astronaut.png", "grace_hopper.jpg", "group.jpg")


def pss(pid: int) -> float:
    """Return a process's proportional set size in MB."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def processor(pids: Iterable[int]) -> float:
    """Return the seconds of CPU that processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def rows(stage: Service) -> int:
    """Return the size of the database in bytes, the log written back."""
    path = str(stage.settings["DATABASE_URL"]).removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        pages, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        free = database.execute("PRAGMA freelist_count").fetchone()[0]
    return int((pages - free) * size)


def run(stage: Service, images: Sequence[bytes], count: int) -> str:
    """Upload and process one task; return what it took."""
    client = stage.client()
    client.run(*images[:3])  # log in or load the networks, open the connections
    empty, begun, used = rows(stage), time.perf_counter(), processor(stage.workers())
    task = client.task(*(images[number % len(images)] for number in range(count)))
    uploading, upload_cpu = time.perf_counter() - begun, processor(stage.workers()) - used
    used, sent = processor(stage.workers()), time.time()
    client.start(task)
    while client.get("/api/v1/tasks", params={"limit": 1}).json()["items"][0]["status"] == "processing":
        time.sleep(0.5)
    shown = client.get("/api/v1/tasks", params={"limit": 1}).json()["items"][0]
    assert shown["progress"]["done"] == count, shown
    seconds = datetime.fromisoformat(shown["finished_at"]).timestamp() - sent
    cpu = processor(stage.workers()) - used
    assert stage.process
    parent, children = pss(stage.process.pid), [pss(pid) for pid in stage.workers()]
    return (
        f"upload {count / uploading:.0f}/s ({1000 * upload_cpu / count:.1f} ms CPU an image), "
        f"work {count / seconds:.1f}/s ({1000 * cpu / count:.1f} ms CPU an image), "
        f"PSS {parent:.0f} + {' + '.join(f'{size:.0f}' for size in children)} MB, "
        f"rows {(rows(stage) - empty) / count:.0f} bytes an image with {shown['statistics']['faces'] / count:.2f} faces"
    )


def main() -> None:
    """Print a line for each size."""
    pictures = [photo(number, (1280, 960)) for number in range(50)]
    print(f"photos of {sum(map(len, pictures)) / len(pictures) / 1000:.0f} KB, 1.2 megapixels")
    with emulator(LATENCY) as url:
        for processes, workers, count in SIZES:
            with service(**facecloud(url, WORKERS=workers, WEB_CONCURRENCY=processes)) as stage:
                print(f"FaceCloud at 50 ms, {processes} × {workers}: {run(stage, pictures, count)}", flush=True)
    samples = [(ROOT / "samples" / name).read_bytes() for name in SAMPLES]
    cores = sorted(os.sched_getaffinity(0))
    for number in (1, 2):
        os.sched_setaffinity(0, set(cores[:number]))  # inherited by the service
        with service(FACE_ENGINE="local", WEB_CONCURRENCY=number) as stage:
            print(f"embedded engine, {number} cores: {run(stage, samples, 150)}", flush=True)


if __name__ == "__main__":
    main()
