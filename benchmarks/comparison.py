"""Speed of the code here against an earlier commit, and against what cannot be left out, in one run: `make bench`.

The earlier code is exported from the repository and served beside; both take turns in pairs, and the order
within a pair changes. A ratio above 1 means faster here. The run fails where the 95 % interval of the ratios
lies wholly below 0.90. Photos have 50 KB and are real.
"""

import argparse
import io
import math
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pipeline, small_tasks, stage, stages, upload
from benchmarks.show_task import finished, times
from tests.support import ROOT, Service

BASELINE = "b01a11f"
"""The commit to compare with until there is a tag."""
PAIRS = 10
FLOOR = 0.90
PHOTOS = 200
RESAMPLES = 4_000


@dataclass(frozen=True)
class Line:
    """A figure of which more is better. `latency` is the emulator's; `limit` is the most that is possible here."""

    name: str
    unit: str
    measure: Callable[[Service], float]
    latency: float = 0.0
    limit: Callable[[], float] | None = None


def _uploaded(batch: int) -> Callable[[Service], float]:
    return lambda service: PHOTOS / upload.upload(service.client(), PHOTOS, batch)


def _processed(count: int) -> Callable[[Service], float]:
    return lambda service: count / pipeline.wall(service.client(), count)


def _read(service: Service) -> float:
    client = service.client()
    path = f"/api/v1/tasks/{finished(client, 500)}"
    times(client, path, 20)
    return 1000 / statistics.median(times(client, path, 100))


def _bare_upload() -> float:
    return PHOTOS / upload.bare(PHOTOS)


_WORKERS = pipeline.WORKERS * pipeline.PROCESSES
LINES = (
    Line(
        "tasks of one photo, four calls",
        "tasks/s",
        lambda service: small_tasks.rate(service, small_tasks.in_four_calls),
    ),
    Line("tasks of one photo, one form", "tasks/s", lambda service: small_tasks.rate(service, small_tasks.in_one_form)),
    Line("upload, 50 photos a request", "photos/s", _uploaded(50), limit=_bare_upload),
    Line("upload, one photo a request", "photos/s", _uploaded(1), limit=_bare_upload),
    Line("500 images at 0 ms", "images/s", _processed(500)),
    Line("320 images at 50 ms", "images/s", _processed(320), 0.05, lambda: 320 / (math.ceil(320 / _WORKERS) * 0.05)),
    Line("reads of a finished task of 500 images", "reads/s", _read),
)


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the geometric mean of the ratios, by resampling."""
    chance = random.Random(1)
    logs = [math.log(ratio) for ratio in ratios]
    means = sorted(statistics.fmean(chance.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    return math.exp(means[RESAMPLES // 40]), math.exp(means[-RESAMPLES // 40])


def export(commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def compare(line: Line, services: Sequence[Service]) -> tuple[str, float]:
    """Return the row of a line in the table, and the upper end of its interval."""
    for service in services:
        line.measure(service)  # the first time is slower
    ours, theirs, limits = [], [], []
    for pair in range(PAIRS):
        order = services if pair % 2 else services[::-1]
        found = {service: line.measure(service) for service in order}
        ours.append(found[services[0]])
        theirs.append(found[services[1]])
        if line.limit:
            limits.append(line.limit())
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    low, high = interval(ratios)
    mean, limit = math.exp(statistics.fmean(map(math.log, ratios))), ""
    if limits:
        most = statistics.median(limits)
        limit = f"{most:.0f} ({statistics.median(ours) / most:.2f})"
    return (
        f"| {line.name} | {statistics.median(ours):.0f} {line.unit} | {statistics.median(theirs):.0f} "
        f"| {mean:.2f} ({low:.2f} to {high:.2f}) | {limit} |"
    ), high


def main() -> None:
    """Print the table; end with 1 where the code here is slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default=BASELINE, help="a commit or tag")
    parser.add_argument("--only", default="", help="lines whose name has this")
    given = parser.parse_args()
    slower = []
    print(f"| what | here | {given.against} | ratio (95 %) | limit (part of it) |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as earlier:
        export(given.against, Path(earlier))
        for latency in sorted({line.latency for line in LINES}):
            with ExitStack() as stack:
                url = stack.enter_context(stage.emulator(latency))
                settings = stage.facecloud(url, WORKERS=pipeline.WORKERS, WEB_CONCURRENCY=pipeline.PROCESSES)
                both = [stack.enter_context(stage.service(root=root, **settings)) for root in (ROOT, Path(earlier))]
                for line in (line for line in LINES if line.latency == latency and given.only in line.name):
                    row, high = compare(line, both)
                    print(row, flush=True)
                    if high < FLOOR:
                        slower.append(line.name)
        print(f"\n| CPU of a photo, ms | here | {given.against} | ratio |\n|---|---|---|---|", flush=True)
        with stage.emulator(0.0) as url:
            print("\n".join(stages.table((ROOT, Path(earlier)), url)), flush=True)
            print(stages.of_work(url))
    if slower:
        sys.exit(f"Slower than {given.against} by a tenth or more: {', '.join(slower)}.")


if __name__ == "__main__":
    main()
