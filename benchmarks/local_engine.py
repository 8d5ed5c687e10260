"""The embedded engine against a bare loop over its networks: `python -m benchmarks.local_engine`.

Two loops take turns over the sample photos, here on as many threads as there are cores, by the clock; on one thread in
`make bench`:

* **engine**: `LocalEngine.detect`, from the file's bytes to the list of detections.
* **bare**: what nobody can leave out, in a few lines of Pillow and numpy: decode the bytes at the same reduced scale,
  lay out the detector's inputs, cut the faces out and make the same `session.run` calls on the same inputs, which is
  checked. The sizes, the tiles and the places of the faces are worked out beforehand: it reads no answers, and checks,
  sorts and returns nothing.

The part of the bare loop's time that is spent inside `session.run` is printed too: no loop can save on that.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.row import HEADER, Bar, Row, in_turns
from service.features.faces.engines.local import MODELS, LocalEngine
from service.features.faces.engines.local.alignment import crops, placement
from service.features.faces.engines.local.attributes import DEEP_RISE, DEEP_ZOOM, with_mirror_images
from service.features.faces.engines.local.engine import DECODED_SIDE
from service.features.faces.engines.local.search import (
    EFFORTS,
    OVERVIEW,
    Search,
    finest_scale,
    levels,
    tiles,
    worthwhile_scale,
)
from service.features.faces.engines.local.sessions import Bytes, load, share_arena
from service.features.faces.engines.local.yunet import YuNet

ROOT = Path(__file__).parents[1]
ROUNDS = 9
SECONDS = 1.5
CORES = os.cpu_count() or 1


def photos() -> dict[str, tuple[bytes, int]]:
    """Return the inputs and how many faces are in each: a portrait, a group, and the group as a photo of 12 MP."""
    group = Image.open(ROOT / "samples" / "group.jpg").convert("RGB")
    camera = Image.open(ROOT / "samples" / "landscape.png").convert("RGB").resize((4000, 3000))
    camera.paste(group.resize((4000, round(4000 * group.height / group.width))), (0, 1000))
    large = io.BytesIO()
    camera.save(large, "JPEG", quality=90)
    return {
        "portrait": ((ROOT / "samples" / "grace_hopper.jpg").read_bytes(), 1),
        "group of 4": ((ROOT / "samples" / "group.jpg").read_bytes(), 4),
        "12 megapixels": (large.getvalue(), 4),
    }


class Bare:
    """The networks, fed by hand, for one photo in which all faces are upright."""

    def __init__(self, data: bytes) -> None:
        share_arena()
        names = ("yunet", "faceres-deep", "gender-v1", "agegender-fa")
        self.detector, self.deep, self.gender, self.second = (load(MODELS / f"{name}.onnx") for name in names)
        self.data = data
        self.networks = 0.0  # seconds of CPU inside them, of the last run
        image = Image.open(io.BytesIO(data))
        original = max(image.size)
        finest = finest_scale(image.size, EFFORTS["balanced"])
        least = max(DECODED_SIDE, round(original * finest))
        shrink = next(by for by in (8, 4, 2, 1) if by == 1 or original >= least * by)
        self.draft = (image.width // shrink, image.height // shrink)
        image = self.decoded()
        scale = worthwhile_scale(finest * original / max(image.size))
        overview = min(1.0, OVERVIEW / max(image.size))
        self.scales = [overview, *levels(max(image.size), scale)]
        found = Search(YuNet(MODELS)).find(image, scale)
        assert found.rotation == 0
        self.tight = [placement(points) for points in found.candidates.landmarks]
        self.wide = [place.widened(DEEP_ZOOM, DEEP_RISE) for place in self.tight]

    def decoded(self) -> Image.Image:
        """Return the picture."""
        image = Image.open(io.BytesIO(self.data))
        image.draft("RGB", self.draft)
        image.load()
        return image

    def run(self) -> None:
        """Decode, lay out, cut, run."""
        image = self.decoded()
        self.networks = 0.0
        for scale in self.scales:
            for canvas in self.canvases(image, scale):
                self.timed(self.detector, ["scores", "places"], {"planes": canvas})
        wide = crops(image, self.wide, 224)[:, None]
        tight, tiny = (with_mirror_images(crops(image, self.tight, side)) for side in (112, 32))
        for face in wide:
            self.timed(self.deep, ["age_pred/Softmax", "gender_pred/Sigmoid"], {"planes": face})
        for pair in tight:
            self.timed(self.second, ["age", "gender"], {"planes": pair})
        for pair in tiny:
            self.timed(self.gender, ["probabilities"], {"planes": pair})

    def timed(self, network: onnxruntime.InferenceSession, outputs: list[str] | None, inputs: dict[str, Bytes]) -> None:
        """Run one network."""
        begin = time.thread_time()
        network.run(outputs, inputs)
        self.networks += time.thread_time() - begin

    def canvases(self, image: Image.Image, scale: float) -> Iterator[Bytes]:
        """Yield the detector's inputs for one scale: planes, padded to multiples of 32."""
        size = (round(image.width * scale), round(image.height * scale))
        small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
        boxes = list(tiles(small.size))
        for box in boxes:
            tile = small.crop(box) if len(boxes) > 1 else small
            canvas = np.zeros((1, 3, -(-tile.height // 32) * 32, -(-tile.width // 32) * 32), np.uint8)
            for plane, colour in enumerate("RGB"):
                values = np.frombuffer(tile.tobytes("raw", colour), np.uint8)
                canvas[0, plane, : tile.height, : tile.width] = values.reshape(tile.height, tile.width)
            yield canvas


def check_inputs(engine: LocalEngine, bare: Bare) -> None:
    """Raise an error unless the engine and the bare loop give the networks the same inputs."""
    run, seen = onnxruntime.InferenceSession.run, list[bytes]()

    def recorded(session: onnxruntime.InferenceSession, outputs: list[str] | None, inputs: dict[str, Bytes]) -> object:
        seen.extend(values.tobytes() for values in inputs.values())
        return run(session, outputs, inputs)

    onnxruntime.InferenceSession.run = recorded
    try:
        engine.detect(bare.data)
        of_engine = seen.copy()
        seen.clear()
        bare.run()
    finally:
        onnxruntime.InferenceSession.run = run
    if sorted(of_engine) != sorted(seen):
        raise SystemExit("The engine and the bare loop do not give the networks the same inputs.")


def rate(work: Callable[[], object], threads: int, seconds: float = SECONDS) -> float:
    """Return how many a second so many threads do: of CPU time for one, by the clock for more."""
    clock = time.process_time if threads == 1 else time.perf_counter
    end = time.perf_counter() + seconds

    def until_the_end(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            work()
            done += 1
        return done

    begin = clock()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(until_the_end, range(threads)))
    return done / (clock() - begin)


def resident_megabytes() -> float:
    """Return this process's resident memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print the memory, then a row for each photo."""
    engine = LocalEngine()
    before = resident_megabytes()
    begin = time.perf_counter()
    engine.detect((ROOT / "samples" / "landscape.png").read_bytes())
    print(f"first call: {(time.perf_counter() - begin) * 1e3:.0f} ms")
    inputs = photos()
    for data, faces in inputs.values():
        assert len(engine.detect(data).faces) == faces
    print(f"resident: {before:.0f} MB before, {resident_megabytes():.0f} MB with the engine at work\n")

    print(HEADER)
    for name, (data, _) in inputs.items():
        bare = Bare(data)
        check_inputs(engine, bare)
        begin = time.thread_time()
        bare.run()
        what = f"{name}, {CORES} threads, {bare.networks / (time.thread_time() - begin):.0%} of one in the networks"
        ways = {"ours": partial(engine.detect, data), "limit": bare.run}
        found = in_turns(ROUNDS, {way: partial(rate, work, CORES) for way, work in ways.items()})
        print(Row(what, "photos/s", found, bars=[Bar(0.95, "limit")]))


if __name__ == "__main__":
    main()
