"""The embedded engine against a bare loop over its networks: `python -m benchmarks.local_engine`.

Two loops take turns in one run over the sample photos, each with one thread and with as many as there are cores:

* **engine**: `LocalEngine.detect`, from the file's bytes to the list of detections.
* **bare**: what nobody can leave out, in a few lines of Pillow and numpy: decode the bytes at the same reduced scale,
  lay out the detector's inputs (the same scales and tiles), cut the faces out and make the same `session.run` calls.
  Where the faces are, it is told beforehand: it reads no answers, and checks, sorts and returns nothing.

Read the column `ratio`: engine over bare, the median of the rounds' ratios. The bar is 0.95. Both loops of a round run
within seconds of each other, so a noisy machine moves them together; images/s compare only within one run. The last
column is the part of the engine's time, on one thread, that is spent inside `session.run`: no loop can save on that.
"""

import io
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from service.features.faces.engines.local import MODELS, LocalEngine
from service.features.faces.engines.local.search import EFFORTS, OVERVIEW, finest_scale, levels, tiles, worthwhile_scale

ROOT = Path(__file__).parents[1]
ROUNDS = 9
SECONDS = 1.5
CORES = os.cpu_count() or 1


def photos() -> dict[str, tuple[bytes, int]]:
    """Return the inputs and how many faces are in each: a portrait, a group, and the group as a 12 MP photo."""
    group = Image.open(ROOT / "samples" / "group.jpg")
    large = io.BytesIO()
    group.resize((4800, round(4800 * group.height / group.width))).save(large, "JPEG", quality=90)
    return {
        "portrait": ((ROOT / "samples" / "grace_hopper.jpg").read_bytes(), 1),
        "group of 4": ((ROOT / "samples" / "group.jpg").read_bytes(), 4),
        "large group": (large.getvalue(), 4),
    }


class Bare:
    """The networks, fed by hand, for one photo and the boxes of its faces."""

    def __init__(self, data: bytes, boxes: list[tuple[int, int, int, int]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        names = ("yunet", "faceres-deep", "gender-v1", "agegender-fa")
        self.detector, self.deep, self.gender, self.second = (
            onnxruntime.InferenceSession(MODELS / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in names
        )
        self.data = data
        self.boxes = boxes
        self.networks = 0.0  # seconds inside them, of the last run

    def run(self) -> None:
        """Decode, lay out, cut, run."""
        image = Image.open(io.BytesIO(self.data))
        original = max(image.size)
        finest = finest_scale(image.size, EFFORTS["balanced"])
        least = max(1600, round(original * finest))
        shrink = next(by for by in (8, 4, 2, 1) if by == 1 or original >= least * by)
        image.draft("RGB", (image.width // shrink, image.height // shrink))
        image.load()
        scale = worthwhile_scale(finest * original / max(image.size))
        overview = min(1.0, OVERVIEW / max(image.size))
        inputs = [
            canvas for level in (overview, *levels(max(image.size), scale)) for canvas in self.canvases(image, level)
        ]
        wide, tight, tiny = (self.cut(image, max(image.size) / original, side) for side in (224, 112, 32))
        tight, tiny = (np.concatenate([faces, faces[:, :, ::-1]]) for faces in (tight, tiny))

        begin = time.perf_counter()
        for canvas in inputs:
            self.detector.run(None, {"input": canvas})
        self.deep.run(["age_pred/Softmax", "gender_pred/Sigmoid"], {"input_1": wide[..., ::-1] - 110})
        self.gender.run(None, {"images": (tiny / 256).transpose(0, 3, 1, 2)})
        self.second.run(None, {"image": tight})
        self.networks = time.perf_counter() - begin

    def canvases(self, image: Image.Image, scale: float) -> list[np.ndarray]:
        """Return the detector's inputs for one scale: BGR planes, padded to multiples of 32."""
        size = (round(image.width * scale), round(image.height * scale))
        small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
        made = []
        for box in tiles(small.size):
            tile = small.crop(box)
            canvas = np.zeros((1, 3, -(-tile.height // 32) * 32, -(-tile.width // 32) * 32), np.float32)
            for plane, colour in enumerate(reversed(tile.split())):
                canvas[0, plane, : tile.height, : tile.width] = np.asarray(colour)
            made.append(canvas)
        return made

    def cut(self, image: Image.Image, scale: float, side: int) -> np.ndarray:
        """Return the faces as squares of so many pixels, reduced first where they are far larger."""
        faces = []
        for x, y, width, height in self.boxes:
            left, top, right, bottom = (round(edge * scale) for edge in (x, y, x + width, y + height))
            face = image.crop((left, top, right, bottom)).reduce(max(1, (bottom - top) // side))
            step = face.height / side
            affine = (step, 0.01, 0.0, -0.01, step, 0.0)  # a slight turn, as most faces need
            faces.append(face.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))
        return np.stack([np.asarray(face) for face in faces]).astype(np.float32)


def rate(work: Callable[[], object], threads: int) -> float:
    """Return how many a second so many threads do."""
    end = time.perf_counter() + SECONDS

    def until_the_end(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            work()
            done += 1
        return done

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(until_the_end, range(threads)))
    return done / (time.perf_counter() - begin)


def resident_megabytes() -> float:
    """Return this process's resident memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print a line for each photo and number of threads, then the memory."""
    engine = LocalEngine()
    before = resident_megabytes()
    begin = time.perf_counter()
    engine.detect((ROOT / "samples" / "landscape.png").read_bytes())
    print(f"first call: {(time.perf_counter() - begin) * 1e3:.0f} ms")
    inputs = photos()
    for data, faces in inputs.values():
        assert len(engine.detect(data).faces) == faces
    print(f"resident: {before:.0f} MB before, {resident_megabytes():.0f} MB with the engine at work\n")

    print(f"{'photo':<12} threads  engine/s    bare/s    ratio    networks")
    for name, (data, _) in inputs.items():
        bare = Bare(data, [(face.x, face.y, face.width, face.height) for face in engine.detect(data).faces])
        works = (lambda data=data: engine.detect(data), bare.run)
        for threads in sorted({1, CORES}):
            pairs = []
            shares = []
            for turn in range(ROUNDS):
                rates = {index: rate(works[index], threads) for index in ((0, 1) if turn % 2 else (1, 0))}
                pairs.append((rates[0], rates[1]))
                bare.run()
                shares.append(bare.networks)
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            share = f"{statistics.median(shares) * ours:>9.0%}" if threads == 1 else ""
            print(f"{name:<12} {threads:>7}  {ours:>8.1f}  {theirs:>8.1f}  {ratio:>7.3f}   {share}")


if __name__ == "__main__":
    main()
