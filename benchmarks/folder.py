"""A folder of many photos: `python -m benchmarks.folder [PHOTOS]`, by default 200,000; `… --ratio` for the bare loop.

PHOTOS hard links to 1,000 small photos, an engine that answers at once, and 20 times `kill -9` at a random moment; then
the run that ends, one that finds all done, and one with 1 % new photos. Bars: 1,150 photos a second on two cores
without the kills, 250 MB for all processes together, no photo lost or twice, 60 s a million for the second run.

`--ratio` lets the embedded engine look at the samples, by a bare loop over decoder and engine and by what a process of
the command does, in turns, and adds what a photo costs the command's leader. CPU is counted, since the machine may be
busy with other work. The bar is 0.95.
"""

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.stage import resident
from service.config import Settings
from service.features.faces.analyze.copies import Copies
from service.features.faces.analyze.result_folder import ResultFolder
from service.features.faces.analyze.sources import Sources
from service.features.faces.analyze.workers import Looker, Work
from service.features.faces.engines.local import LocalEngine
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits, check
from tests.support import ROOT, photo

KILLS = 20
PHOTOS = 1_000
RATIO_ROUNDS, LEADER_PHOTOS = 20, 5_000
INSTANT = "tests.custom_engine:Full"
LIMITS = Limits(20_000_000, 50_000_000)


@contextmanager
def folder() -> Iterator[Path]:
    """Give a temporary folder."""
    made = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def link(originals: list[Path], target: Path, numbers: range) -> None:
    """Make links to the originals in turn, ten thousand a folder."""
    for number in numbers:
        place = target / f"{number // 10_000:03}"
        if number % 10_000 == 0 or number == numbers.start:
            place.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % len(originals)], place / f"{number:07}{originals[number % len(originals)].suffix}")


def command(source: Path, result: Path, engine: str) -> "subprocess.Popen[str]":
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "service", "analyze", str(source), "--out", str(result)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "API_PASSWORD": "", "FACE_ENGINE": engine},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group_memory(group: int) -> tuple[float, float]:
    """Return the resident MB of a group's leader, and of all its processes, a page that they share counted once."""
    together = 0.0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(place.name)) == group:
                told = dict(line.split(":", 1) for line in (place / "smaps_rollup").read_text().splitlines()[1:])
                together += int(told["Pss"].split()[0]) / 1024
        except (OSError, ValueError, KeyError):
            continue
    return resident(group), together


def parts(result: Path) -> int:
    """Return how many parts there are."""
    return len(list((result / "photos").glob("part-*")))


def killed(source: Path, result: Path, wanted: int) -> None:
    """Run until there are so many parts, and a moment longer; then kill the leader alone."""
    process = command(source, result, INSTANT)
    while parts(result) < wanted and process.poll() is None:
        time.sleep(0.05)
    time.sleep(random.random())
    process.send_signal(signal.SIGKILL)
    process.communicate()


def watched(source: Path, result: Path, photos: int) -> None:
    """Run to the end, and print speed and memory."""
    before, began = parts(result), time.monotonic()
    process = command(source, result, INSTANT)
    first = last = (0.0, 0)
    memory: list[tuple[float, float]] = []
    while process.poll() is None:
        time.sleep(0.5)
        count = parts(result)
        if count > last[1]:
            last = (time.monotonic(), count)
            first = first if first[1] else last
            with suppress(OSError):
                memory.append(group_memory(process.pid))
    said, told = process.communicate()
    print(said.strip(), told.strip().splitlines()[0], sep="\n")
    rate = 1_000 * (last[1] - first[1]) / max(0.001, last[0] - first[0])
    print(
        f"{time.monotonic() - began:.0f} s for {photos - 1_000 * before:,} photos; {rate:,.0f} a second while working"
    )
    for name, samples in zip(("the leader", "all processes together"), zip(*memory, strict=True), strict=False):
        quarter = max(1, len(samples) // 4)
        print(
            f"resident MB of {name}: {statistics.mean(samples[quarter : 2 * quarter] or samples):.0f} in the second "
            f"quarter, {statistics.mean(samples[-quarter:]):.0f} in the last, at most {max(samples):.0f}"
        )


def again(source: Path, result: Path) -> None:
    """Run once more, and print how long it took and what it said."""
    began = time.monotonic()
    process = command(source, result, INSTANT)
    _, _, used = os.wait4(process.pid, 0)
    _, told = process.communicate()
    print(
        f"{time.monotonic() - began:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of the leader's CPU: "
        f"{told.strip().splitlines()[0]}"
    )


def rows(result: Path) -> tuple[int, int, int]:
    """Return how many rows of photos there are, how many paths, and how many rows of faces."""
    opened = ResultFolder.open(result)
    paths: set[int] = set()
    photos = faces = 0
    for part in opened.parts():
        for (path,) in opened.photos(part, "path"):
            photos += 1
            paths.add(hash(path))
        faces += sum(1 for _ in opened.faces(part))
    return photos, len(paths), faces


def many(photos: int) -> None:
    """Print what so many photos cost."""
    with folder() as place:
        (place / "originals").mkdir()
        originals = [place / "originals" / f"{number}.jpg" for number in range(PHOTOS)]
        for number, file in enumerate(originals):
            file.write_bytes(photo(number, (320, 240)))
        source, result = place / "photos", place / "result"
        link(originals, source, range(photos))
        print(f"{photos:,} links to {PHOTOS:,} photos of {originals[0].stat().st_size} bytes, {KILLS} kills")
        for kill in range(KILLS):
            killed(source, result, (kill + 1) * photos // (2_000 * KILLS))
        watched(source, result, photos)
        print("rows of photos, paths, rows of faces:", *rows(result))
        again(source, result)
        link(originals, source, range(photos, photos + photos // 100))
        again(source, result)
        print("rows of photos, paths, rows of faces:", *rows(result))


def bare(engine: LocalEngine, pixels: PixelBudget, file: Path) -> None:
    """Check a photo and find its faces, as plainly as can be."""
    with file.open("rb") as stream:
        check(stream, "", LIMITS, pixels)
        engine.detect(stream.read())


def ratio() -> None:
    """Print what a photo costs of CPU: by a bare loop, by a process of the command, and by its leader."""
    samples = sorted([*(ROOT / "samples").glob("*.jpg"), *(ROOT / "samples").glob("*.png")])
    settings = Settings(api_password="")
    looker = Looker(Work.of(settings, [], digests=False, copies=Copies()))
    engine, pixels = LocalEngine(), PixelBudget()
    photos = list(Sources(settings).find(map(str, samples)))
    spent = {"bare": 0.0, "command": 0.0}
    for turn in range(-1, RATIO_ROUNDS):  # the first turn loads the networks, and does not count
        for file, found in zip(samples, photos, strict=True):
            begin = time.process_time()
            bare(engine, pixels, file)
            between = time.process_time()
            looker.look_at([found])
            if turn >= 0:
                spent["bare"] += between - begin
                spent["command"] += time.process_time() - between
    looked = RATIO_ROUNDS * len(samples)
    plain, ours, leader = spent["bare"] / looked, spent["command"] / looked, leader_seconds()
    print(
        f"CPU of a photo: bare loop {1000 * plain:.2f} ms; the command {1000 * ours:.2f} ms and {1000 * leader:.3f} ms "
        f"of its leader; ratio {plain / (ours + leader):.3f}"
    )


def leader_seconds() -> float:
    """Return what a photo costs of the leader's CPU: that of many photos less that of a few."""
    with folder() as place:
        original = place / "0.jpg"
        original.write_bytes(photo(0, (320, 240)))
        seconds = []
        for number in (10, LEADER_PHOTOS):
            link([original], place / str(number), range(number))
            process = command(place / str(number), place / f"result-{number}", INSTANT)
            _, _, used = os.wait4(process.pid, 0)
            process.communicate()
            seconds.append(used.ru_utime + used.ru_stime)
    return (seconds[1] - seconds[0]) / (LEADER_PHOTOS - 10)


def main() -> None:
    """Run what the arguments say."""
    if "--ratio" in sys.argv:
        ratio()
    else:
        many(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)


if __name__ == "__main__":
    main()
