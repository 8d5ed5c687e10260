"""WebP renditions, and copies, against sharp and Pillow on the same photos in one run: the bar is 0.9 of sharp's speed.

Photos of 12 megapixels and of half a one, as JPEG and PNG, each into WebP of its full size and 75, 50 and 25 % of it
(quality 80, effort 4), and into three copies of its own type. Each way has both cores: here two processes of one
thread, as the service has; sharp's own pool of threads; two processes with Pillow. They take turns, and the ratio is
the median of the rounds. Without Node and sharp (`npm install --no-save sharp`, here or in SHARP_FOLDER) its part is
skipped.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from service.imaging import transform as pictures
from service.imaging.pixel_budget import PixelBudget
from tests.support import ROOT

FACTORS = (1.0, 0.75, 0.5, 0.25)
ROUNDS, CORES = 3, 2
PILLOW_TYPES = {".jpg": "JPEG", ".png": "PNG"}

SHARP = """
const sharp = require('sharp'), fs = require('fs'), path = require('path');
const [from, to, what] = process.argv.slice(1);
sharp.cache(false);
const files = fs.readdirSync(from).sort().map(name => path.join(from, name));
async function renditions(file) {
  const data = fs.readFileSync(file);
  const {autoOrient: {width, height}} = await sharp(data).metadata();
  await Promise.all([1, 0.75, 0.5, 0.25].map(factor => sharp(data).autoOrient()
    .resize(Math.round(width * factor), Math.round(height * factor), {fit: 'fill'})
    .webp({quality: 80, effort: 4}).toFile(path.join(to, `${path.basename(file)}.${factor}.webp`))));
}
async function copies(file) {
  const data = fs.readFileSync(file), type = path.extname(file);
  const {autoOrient: {width, height}} = await sharp(data).metadata();
  const edits = [one => one.autoOrient().rotate(90), one => one.autoOrient().grayscale(),
    one => one.autoOrient().resize(width * 2, height * 2, {fit: 'fill'})];
  const saved = type === '.png' ? one => one.png({compressionLevel: 4, adaptiveFiltering: true})
    : one => one.jpeg({quality: 92, chromaSubsampling: '4:4:4'});
  await Promise.all(edits.map((edit, number) => saved(edit(sharp(data)))
    .toFile(path.join(to, `${path.basename(file)}.${number}${type}`))));
}
const work = {renditions, copies}[what];
const lane = async () => { while (files.length) await work(files.shift()); };
(async () => {
  const begin = process.hrtime.bigint();
  await Promise.all([lane(), lane()]);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  console.log(JSON.stringify([seconds, process.resourceUsage().maxRSS / 1024]));
})();
"""


def draw(folder: Path) -> None:
    """Write the photos: a sample enlarged and with a sensor's noise, so that encoders have work."""
    sample = Image.open(ROOT / "samples" / "astronaut.png").convert("RGB")
    random_numbers = np.random.default_rng(1)
    for number, (width, height, kind) in enumerate(
        [(4000, 3000, "jpg")] * 4 + [(800, 600, "jpg")] * 12 + [(1600, 1200, "png")] * 4
    ):
        left, top = random.Random(number).choices(range(100), k=2)
        large = sample.crop((left, top, left + 400, top + 300)).resize((width, height), Image.Resampling.BICUBIC)
        noise = random_numbers.normal(0, 4, (height, width, 1))
        photo = Image.fromarray((np.asarray(large) + noise).clip(0, 255).astype(np.uint8))
        photo.save(folder / f"{number:02}.{kind}", quality=90)


def here(file: Path, folder: Path, what: str) -> float:
    """Make the copies as the service does; return the process's greatest memory in MB."""
    data = file.read_bytes()
    if what == "renditions":
        made, suffixes = pictures.renditions(data, FACTORS, PixelBudget()), [f"{factor:g}.webp" for factor in FACTORS]
    else:
        made = pictures.copies(data, [pictures.rotate(), pictures.gray(), pictures.scale(2)], PixelBudget())
        suffixes = [f"{number}{file.suffix}" for number in range(3)]
    for copy, suffix in zip(made, suffixes, strict=True):
        with (folder / f"{file.name}.{suffix}").open("wb") as target:
            shutil.copyfileobj(copy.stream, target)
    return peak()


def with_pillow(file: Path, folder: Path, what: str) -> float:
    """Make the same copies with Pillow alone; return the process's greatest memory in MB."""
    with Image.open(file) as image:
        image.load()
        if what == "renditions":
            for factor in FACTORS:
                size = (round(image.width * factor), round(image.height * factor))
                smaller = image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)
                smaller.save(folder / f"{file.name}.{factor:g}.webp", quality=80, method=4)
            return peak()
        edits: list[Callable[[], Image.Image]] = [
            lambda: image.transpose(Image.Transpose.ROTATE_270),
            lambda: image.convert("L"),
            lambda: image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS),
        ]
        for number, edit in enumerate(edits):
            options = {"quality": 92, "subsampling": 0} if file.suffix == ".jpg" else {"compress_level": 4}
            edit().save(folder / f"{file.name}.{number}{file.suffix}", **options)
    return peak()


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def in_processes(work: Callable[[Path, Path, str], float], photos: Path, to: Path, what: str) -> tuple[float, float]:
    """Return the seconds, and the memory of both processes in MB."""
    files = sorted(photos.iterdir())
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(abs, range(100)))  # start the processes
        begin = time.perf_counter()
        peaks = list(pool.map(work, files, [to] * len(files), [what] * len(files)))
        return time.perf_counter() - begin, CORES * max(peaks)


def in_sharp(photos: Path, to: Path, what: str) -> tuple[float, float]:
    """Return the seconds and the memory of sharp's process in MB."""
    command = ["node", "-e", SHARP, str(photos), str(to), what]
    modules = os.environ.get("SHARP_FOLDER", str(ROOT)) + "/node_modules"
    output = subprocess.run(command, env={**os.environ, "NODE_PATH": modules}, check=True, capture_output=True).stdout
    seconds, memory = json.loads(output)
    return float(seconds), float(memory)


def has_sharp() -> bool:
    """Tell whether node finds sharp."""
    modules = Path(os.environ.get("SHARP_FOLDER", str(ROOT))) / "node_modules" / "sharp"
    return bool(shutil.which("node")) and modules.exists()


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


def compare(photos: Path, outputs: Path, what: str) -> None:
    """Print speed, memory, size and likeness of each way, and the ratio of sharp's time."""
    ways: dict[str, Callable[[Path], tuple[float, float]]] = {
        "here": lambda to: in_processes(here, photos, to, what),
        "Pillow": lambda to: in_processes(with_pillow, photos, to, what),
    }
    if has_sharp():
        ways["sharp"] = lambda to: in_sharp(photos, to, what)
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for name in ways:
        (outputs / name).mkdir(parents=True)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            results[name].append(way(outputs / name))
    reference = "sharp" if "sharp" in ways else "Pillow"
    for name, rounds in results.items():
        ratio = statistics.median(other[0] / own[0] for own, other in zip(rounds, results[reference], strict=True))
        seconds, memory = (statistics.median(column) for column in zip(*rounds, strict=True))
        alike = "" if name == reference else f", {likeness(outputs / name, outputs / reference):.1f} dB to {reference}"
        print(
            f"{what:>10} {name:>6}: {ratio:.2f} of {reference}{' (bar 0.9)' if name == 'here' else ''}, "
            f"{seconds:.2f} s, {memory:.0f} MB, files of {size(outputs / name):.2f} MB{alike}"
        )


def main() -> None:
    """Print the ratios for renditions and copies."""
    if not has_sharp():
        print("skipped: sharp to compare with is not installed", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        photos.mkdir()
        draw(photos)
        for what in ("renditions", "copies"):
            compare(photos, Path(name, what), what)


if __name__ == "__main__":
    main()
