"""How much of the cores' time the embedded engine spends in its networks: `python benchmarks/local_engine.py`.

Two loops take turns in one run over the sample photos, each with one thread and with as many as there are cores:

* **engine**: `LocalEngine.detect`, from the file's bytes to the list of detections.
* **bare**: what nobody can leave out, written down here without a line of the service: decode the bytes by Pillow (the
  same reduced scale), resize and lay out the detector's input, and the same `session.run` calls on inputs of the same
  shapes; the face crops are made beforehand. No type check, no boxes, no crops, no values made.

Read the last column: engine over bare, the median of the rounds' ratios. The bar is 0.95. Both loops of a round run within
seconds of each other, so a noisy machine moves them together; images/s compare only within one run.
"""

import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from service.faces.local import MODELS, LocalEngine  # noqa: E402  (the script runs from anywhere)

ROUNDS = 9
SECONDS = 2.0
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
    """The networks, fed by hand."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        names = ("yunet", "age-v1", "gender-v1", "agegender-fa")
        self.detector, self.age, self.gender, self.second = (
            onnxruntime.InferenceSession(MODELS / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in names
        )
        noise = np.random.default_rng(1)
        self.crops = {
            faces: (
                noise.random((faces, 3, 64, 64), np.float32),
                noise.random((faces, 3, 32, 32), np.float32),
                noise.random((faces, 112, 112, 3), np.float32) * 255,
            )
            for faces in (1, 4)
        }

    def run(self, data: bytes, faces: int) -> None:
        """Decode, lay out, run."""
        image = Image.open(io.BytesIO(data))
        longest = max(image.size)
        shrink = next(by for by in (8, 4, 2, 1) if by == 1 or longest >= 1600 * by)
        image.draft("RGB", (image.width // shrink, image.height // shrink))
        image.load()
        scale = min(1.0, 640 / max(image.size))
        if scale < 1:
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        canvas = np.zeros((1, 3, 640, 640), np.float32)
        canvas[0, :, : image.height, : image.width] = np.asarray(image).transpose(2, 0, 1)[::-1]
        self.detector.run(None, {"input": canvas})
        age, gender, second = self.crops[faces]
        self.age.run(None, {"images": age})
        self.gender.run(None, {"images": gender})
        self.second.run(None, {"image": second})


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
        assert len(engine.detect(data)) == faces
    print(f"resident: {before:.0f} MB before, {resident_megabytes():.0f} MB with the engine at work\n")

    bare = Bare()
    print(f"{'photo':<12} threads  engine/s    bare/s    ratio")
    for name, (data, faces) in inputs.items():
        for threads in sorted({1, CORES}):
            pairs = []
            for turn in range(ROUNDS):
                works = [lambda data=data: engine.detect(data), lambda data=data, faces=faces: bare.run(data, faces)]
                order = (0, 1) if turn % 2 else (1, 0)
                rates = {index: rate(works[index], threads) for index in order}
                pairs.append((rates[0], rates[1]))
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"{name:<12} {threads:>7}  {ours:>8.1f}  {theirs:>8.1f}  {ratio:>7.3f}")


if __name__ == "__main__":
    main()
