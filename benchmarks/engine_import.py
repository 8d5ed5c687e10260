"""What importing the embedded engine costs beyond numpy, onnxruntime and Pillow: `python -m benchmarks.engine_import`.

Each figure is from a process of its own; the first, in which Python may still compile modules, does not count. The bar
is 0.15 s. On a machine that is busy with other work, only the CPU time says something.
"""

import statistics
import subprocess
import sys

from tests.support import ROOT

RUNS = 11
PROGRAM = """
import time

import numpy
import onnxruntime
import PIL.Image

wall, cpu = time.perf_counter(), time.process_time()
from service.features.faces.engines.local import LocalEngine
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def seconds() -> tuple[float, ...]:
    """Return the seconds, by the clock and of CPU, that the import takes in a new process."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(map(float, run.stdout.split()))


def main() -> None:
    """Print the medians."""
    seconds()
    wall, cpu = zip(*(seconds() for _ in range(RUNS)), strict=True)
    print(f"import of the engine: {statistics.median(wall):.3f} s, {statistics.median(cpu):.3f} s of CPU; {RUNS} runs")


if __name__ == "__main__":
    main()
