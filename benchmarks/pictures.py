"""Renditions, resizing and copies against sharp and Pillow on the same photos in one run: the bar is 0.97 of sharp.

Photos of 12 megapixels and of half a one, as JPEG and PNG, each into WebP of its full size and 75, 50 and 25 % of it
(quality 80, effort 4), and, each by itself, into copies of its own type: 640 × 480, turned, gray, twice as large. It
goes from bytes in memory to bytes in memory; that they are the same pictures is seen after it.

Each way has both cores: here two processes of one thread, as the service has; sharp's own pool of threads; two
processes with Pillow. They take turns, and the ratio is the median of the rounds. `make bench` installs sharp where npm
is; without it its part is left out.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.row import Bar, Row, in_turns
from service.imaging import transform as pictures
from service.imaging.pixel_budget import PixelBudget
from service.storage.spools import SpoolFolder
from tests.support import ROOT

FACTORS = (1.0, 0.75, 0.5, 0.25)
SMALL = (640, 480)
COPIES = {
    "resize": pictures.resize(*SMALL),
    "rotate": pictures.rotate(),
    "gray": pictures.gray(),
    "scale": pictures.scale(2),
}
OPERATIONS = ("renditions", *COPIES)
CORES, BAR = 2, 0.97
FEW_ROUNDS = {"renditions": 2, "scale": 2}
"""Of those that take long; the others have six."""
SHARP_MODULES = ROOT / ".cache" / "sharp" / "node_modules"
TYPES = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
Work = Callable[[str, bytes, str], dict[str, bytes]]
"""Return the files made of a photo of this name and these bytes by an operation, by their names."""

SHARP = """
const sharp = require('sharp'), fs = require('fs'), path = require('path');
const [from, to, what] = process.argv.slice(1);
sharp.cache(false);
const files = fs.readdirSync(from).sort().map(name => [name, fs.readFileSync(path.join(from, name))]);
async function renditions(name, data) {
  const {autoOrient: {width, height}} = await sharp(data).metadata();
  const factors = [1, 0.75, 0.5, 0.25];
  const made = await Promise.all(factors.map(factor => sharp(data).autoOrient()
    .resize(Math.round(width * factor), Math.round(height * factor), {fit: 'fill'})
    .webp({quality: 80, effort: 4}).toBuffer()));
  return made.map((one, number) => [`${name}.${number}.webp`, one]);
}
const edits = {
  resize: one => one.resize(640, 480, {fit: 'fill'}),
  rotate: one => one.rotate(90),
  gray: one => one.grayscale(),
  scale: (one, {width, height}) => one.resize(width * 2, height * 2, {fit: 'fill'}),
};
async function copy(name, data) {
  const type = path.extname(name), {autoOrient} = await sharp(data).metadata();
  const edited = edits[what](sharp(data).autoOrient(), autoOrient);
  const saved = type === '.png' ? edited.png({compressionLevel: 4, adaptiveFiltering: true})
    : edited.jpeg({quality: 92, chromaSubsampling: '4:4:4'});
  return [[`${name}.0${type}`, await saved.toBuffer()]];
}
const work = what === 'renditions' ? renditions : copy, results = [];
const lane = async () => { while (files.length) results.push(...await work(...files.shift())); };
(async () => {
  const begin = process.hrtime.bigint(), cpu = process.cpuUsage();
  await Promise.all([lane(), lane()]);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9, {user, system} = process.cpuUsage(cpu);
  const memory = process.resourceUsage().maxRSS / 1024;
  for (const [name, bytes] of results) fs.writeFileSync(path.join(to, name), bytes);
  console.log(JSON.stringify({seconds, cpu: (user + system) / 1e6, memory}));
})();
"""


class Cost(NamedTuple):
    """What one way took for all photos."""

    seconds: float
    cpu: float  # seconds, of both cores
    memory: float  # MB at most


def draw(folder: Path, large: int = 4) -> None:
    """Write so many large photos, and smaller ones: a sample with a sensor's noise, so that encoders have work."""
    sample = Image.open(ROOT / "samples" / "astronaut.png").convert("RGB")
    random_numbers = np.random.default_rng(1)
    for number, (width, height, kind) in enumerate(
        [(4000, 3000, "jpg")] * large + [(800, 600, "jpg")] * 3 * large + [(1600, 1200, "png")] * large
    ):
        left, top = random.Random(number).choices(range(100), k=2)
        enlarged = sample.crop((left, top, left + 400, top + 300)).resize((width, height), Image.Resampling.BICUBIC)
        noise = random_numbers.normal(0, 4, (height, width, 1))
        photo = Image.fromarray((np.asarray(enlarged) + noise).clip(0, 255).astype(np.uint8))
        photo.save(folder / f"{number:02}.{kind}", quality=90)


def here(name: str, data: bytes, what: str) -> dict[str, bytes]:
    """Return the files as the service makes them, by their names."""
    spools = SpoolFolder(Path(tempfile.gettempdir()), 2**40)
    if what == "renditions":
        made, suffix = pictures.renditions(data, FACTORS, PixelBudget(), spools), ".webp"
    else:
        made, suffix = pictures.copies(data, [COPIES[what]], PixelBudget(), spools), Path(name).suffix
    return {f"{name}.{number}{suffix}": copy.stream.read() for number, copy in enumerate(made)}


def with_pillow(name: str, data: bytes, what: str) -> dict[str, bytes]:
    """Return the same files, made with Pillow alone."""
    image = Image.open(io.BytesIO(data))
    if what == "resize":
        image.draft("RGB", (SMALL[0] * 2, SMALL[1] * 2))
    image.load()
    suffix, options = Path(name).suffix, dict[str, Any]()
    if what == "renditions":
        sizes = [(round(image.width * factor), round(image.height * factor)) for factor in FACTORS]
        made = [image if size == image.size else image.resize(size, Image.Resampling.LANCZOS) for size in sizes]
        suffix, options = ".webp", {"quality": 80, "method": 4}
    else:
        edits: dict[str, Callable[[], Image.Image]] = {
            "resize": lambda: image.resize(SMALL, Image.Resampling.LANCZOS),
            "rotate": lambda: image.transpose(Image.Transpose.ROTATE_270),
            "gray": lambda: image.convert("L"),
            "scale": lambda: image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS),
        }
        made = [edits[what]()]
        options = {"quality": 92, "subsampling": 0} if suffix == ".jpg" else {"compress_level": 4}
    files = {}
    for number, picture in enumerate(made):
        target = io.BytesIO()
        picture.save(target, TYPES[suffix], **options)
        files[f"{name}.{number}{suffix}"] = target.getvalue()
    return files


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def in_processes(work: Work, photos: Path, to: Path, what: str) -> Cost:
    """Return the cost of two processes that take photo after photo."""
    context = multiprocessing.get_context("fork")
    taken, ready = context.Value("i", 0), context.Barrier(CORES + 1)
    files = [(file.name, file.read_bytes()) for file in sorted(photos.iterdir())]

    def lane(told: Connection) -> None:
        work(*files[-1], what)  # libraries are loaded
        made, before = dict[str, bytes](), time.process_time()
        ready.wait()
        while True:
            with taken:
                number, taken.value = taken.value, taken.value + 1
            if number >= len(files):
                break
            made |= work(*files[number], what)
        told.send((time.perf_counter(), time.process_time() - before, peak()))
        for name, data in made.items():
            (to / name).write_bytes(data)

    pipes = [context.Pipe() for _ in range(CORES)]
    lanes = [context.Process(target=lane, args=(theirs,)) for _, theirs in pipes]
    for process in lanes:
        process.start()
    ready.wait()
    begin = time.perf_counter()
    ended, cpu, peaks = zip(*(own.recv() for own, _ in pipes), strict=True)
    for process in lanes:
        process.join()
    return Cost(max(ended) - begin, sum(cpu), CORES * max(peaks))


def in_sharp(photos: Path, to: Path, what: str) -> Cost:
    """Return the cost of sharp's process."""
    command = ["node", "-e", SHARP, str(photos), str(to), what]
    environment = {**os.environ, "NODE_PATH": str(SHARP_MODULES)}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return Cost(**json.loads(output))


def has_sharp() -> bool:
    """Tell whether node finds sharp."""
    return bool(shutil.which("node")) and (SHARP_MODULES / "sharp").exists()


def likeness(one: Path, other: Path) -> float:
    """Return the mean peak signal-to-noise ratio of the files of one name, in dB."""
    ratios = []
    for file in sorted(one.iterdir()):
        first, second = (
            np.asarray(Image.open(folder / file.name).convert("RGB"), np.float32) for folder in (one, other)
        )
        ratios.append(10 * np.log10(255**2 / max(1e-4, float(((first - second) ** 2).mean()))))
    return statistics.mean(ratios)


def size(folder: Path) -> float:
    """Return the bytes of all files, in MB."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def compare(photos: Path, outputs: Path, what: str, rounds: int) -> None:
    """Print speed, CPU, memory, size and likeness of each way, and the ratio of sharp's time."""
    ways: dict[str, Callable[[Path], Cost]] = {
        "here": lambda to: in_processes(here, photos, to, what),
        "Pillow": lambda to: in_processes(with_pillow, photos, to, what),
    }
    if has_sharp():
        ways["sharp"] = lambda to: in_sharp(photos, to, what)
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for name in ways:
        (outputs / name).mkdir(parents=True)
    for _ in range(rounds):
        for name, way in ways.items():
            costs[name].append(way(outputs / name))
    reference = "sharp" if "sharp" in ways else "Pillow"
    for name, own in costs.items():
        pairs = list(zip(own, costs[reference], strict=True))
        faster, leaner = (statistics.median(other[part] / one[part] for one, other in pairs) for part in (0, 1))
        seconds, cpu, memory = (statistics.median(column) for column in zip(*own, strict=True))
        bar = f" (bar {BAR})" if name == "here" else ""
        alike = "" if name == reference else f", {likeness(outputs / name, outputs / reference):.1f} dB to {reference}"
        print(
            f"{what:>10} {name:>6}: {faster:.2f} of {reference} by the clock{bar}, {leaner:.2f} by CPU, "
            f"{seconds:.2f} s, {cpu:.2f} s of CPU, {memory:.0f} MB, files of {size(outputs / name):.2f} MB{alike}"
        )


def rows(_: Path) -> Iterator[Row]:
    """Yield each operation beside sharp: all photos, by the clock."""
    with tempfile.TemporaryDirectory() as name:
        photos, made = Path(name, "photos"), Path(name, "made")
        photos.mkdir()
        made.mkdir()
        draw(photos, 2)
        count = len(list(photos.iterdir()))
        for what in OPERATIONS:
            ways: dict[str, Callable[[], Cost]] = {"ours": partial(in_processes, here, photos, made, what)}
            if has_sharp():
                ways["peer"] = partial(in_sharp, photos, made, what)
            costs = in_turns(FEW_ROUNDS.get(what, 6), ways, warm_up=False)
            found = {way: [count / cost.seconds for cost in each] for way, each in costs.items()}
            yield Row(f"`{what}` of {count} pictures", "photos/s", found, peer_name="sharp", bars=[Bar(BAR, "peer")])


def main() -> None:
    """Print the ratios of each operation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="*", default=OPERATIONS)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not has_sharp():
        print("skipped: sharp to compare with is not installed", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        photos.mkdir()
        draw(photos)
        for what in given.operations:
            compare(photos, Path(name, what), what, given.rounds)


if __name__ == "__main__":
    main()
