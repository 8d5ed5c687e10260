"""Twenty thousand images through the whole service; nothing may grow that should not.

Two clients make tasks of 500 photos one after the other: upload, start, wait, delete. Every second the
server processes are looked at: memory (what they have allocated, without files and libraries), file handles, files in
their temporary folder. The bars: memory and file handles in the last quarter on average at most 2 % over the second (a
kept-alive connection more or less is no growth), the temporary folder and the store empty at the end, and nothing for
the doctor to find.
"""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.stage import emulator, facecloud, service
from tests.support import Client, Service, photo, wait_for

IMAGES = int(os.environ.get("SOAK_IMAGES", "20000"))
TASK, CLIENTS, EVERY, LATENCY = 500, 2, 1.0, 0.005
PHOTOS = [photo(number) for number in range(TASK)]
Sample = tuple[int, float, int, int]  # images done so far, MB of all processes, handles of all, temporary files


class Progress:
    """How many images have ended, as all clients together know it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done = self.begun = 0

    def take(self) -> bool:
        """Begin another task, unless there are enough."""
        with self.lock:
            self.begun += TASK
            return self.begun <= IMAGES

    def add(self, number: int) -> None:
        """Count images that have ended."""
        with self.lock:
            self.done += number


def work(client: Client, progress: Progress) -> None:
    """Make one task after the other, as a client would."""
    while progress.take():
        task = client.task(*PHOTOS)
        assert client.start(task).status_code == 202
        # Whole tasks are not asked for: of the finished ones a server process keeps the answers, up to 8 MB, and
        # that would still be filling up after twenty thousand photos.
        wait_for(lambda task=task: listed(client, task)["status"] != "processing", 300, "the end of a task")
        assert listed(client, task)["progress"]["done"] == TASK
        progress.add(TASK)
        assert client.delete(f"/api/v1/tasks/{task}").status_code == 204


def listed(client: Client, task: str) -> dict[str, Any]:
    """Return a task without its images."""
    items = client.get("/api/v1/tasks", params={"limit": 10}).json()["items"]
    return next(item for item in items if item["id"] == task)


def anonymous(pid: int) -> float:
    """Return what a process has allocated, in MB: its share of libraries changes with who else uses them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no memory of {pid}")


def sample(stage: Service, progress: Progress, temporary: Path) -> Sample:
    """Look at the server's processes."""
    workers = stage.workers()
    handles = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in workers)
    return progress.done, sum(map(anonymous, workers)), handles, len(list(temporary.iterdir()))


def quarter(samples: list[Sample], which: int) -> list[Sample]:
    """Return what was seen in one quarter of the images, 0 to 3."""
    low, high = which * IMAGES / 4, (which + 1) * IMAGES / 4
    return [seen for seen in samples if low <= seen[0] <= high]


def mean(samples: list[Sample], place: int) -> float:
    """Return the arithmetic mean of one of the figures."""
    return sum(seen[place] for seen in samples) / len(samples)


def soak(stage: Service, temporary: Path) -> list[Sample]:
    """Send all images and return what was seen meanwhile."""
    progress, samples, begin = Progress(), [], time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(work, stage.client(), progress) for _ in range(CLIENTS)]
        while not all(client.done() for client in clients):
            samples.append(sample(stage, progress, temporary))
            done, memory, handles, files = samples[-1]
            rate = done / (time.monotonic() - begin)
            print(
                f"{done} images, {rate:.0f}/s, {memory:.1f} MB, {handles} handles, {files} temporary files", flush=True
            )
            time.sleep(EVERY)
        for client in clients:
            client.result()
    print(f"{progress.done} images in {time.monotonic() - begin:.0f} s")
    return samples


def main() -> None:
    """Print what is seen every second, and the verdict; the exit status is 1 where a bar is missed."""
    with (
        TemporaryDirectory() as folder,
        emulator(LATENCY) as url,
        service(**facecloud(url, TMPDIR=folder)) as stage,
    ):
        samples = soak(stage, Path(folder))
        second, last = quarter(samples, 1), quarter(samples, 3)
        memory, handles = (mean(last, place) / mean(second, place) for place in (1, 2))
        left = [*(path.name for path in Path(folder).iterdir()), *stage.left_files(), *stage.inconsistencies()]
    print(f"memory: {memory:.4f} of the second quarter in the last (bar 1.02)")
    print(f"file handles: {handles:.4f} of the second quarter in the last (bar 1.02)")
    print(f"left behind: {left or 'nothing'}")
    sys.exit(memory > 1.02 or handles > 1.02 or bool(left))


if __name__ == "__main__":
    main()
