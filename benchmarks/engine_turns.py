"""The embedded engine beside that of earlier code and beside a bare loop, in turns: CPU time of one thread."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.local_engine import Bare, check_inputs, photos, rate
from benchmarks.row import FLOOR, PAIRS, Bar, Row, in_turns
from service.features.faces.engines.local import LocalEngine
from tests.support import ROOT

SECONDS = 0.7
BARS = {"portrait": 1.0, "group of 4": 0.85, "12 megapixels": 0.4}
"""Photos a second over those of the engine of 0.1.0, which searched at 640 pixels: accuracy goes before speed."""

# It imports nothing of this checkout: an older one has the engine elsewhere.
LOOP = """
import importlib, json, sys, time
for module in ("service.features.faces.engines.local", "service.faces.local"):
    try:
        engine = importlib.import_module(module).LocalEngine()
        break
    except ModuleNotFoundError:
        pass
for line in sys.stdin:
    path, seconds = json.loads(line)
    data = open(path, "rb").read()
    end, begin, done = time.perf_counter() + seconds, time.thread_time(), 0
    while not done or time.perf_counter() < end:
        engine.detect(data)
        done += 1
    print(done / (time.thread_time() - begin), flush=True)
"""


class Turns:
    """An engine in a process of its own, with the code of one checkout."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-c", LOOP]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, photo: Path) -> float:
        """Return the photos a second of CPU."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps([str(photo), SECONDS]), file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextlib.contextmanager
def _turns(root: Path) -> Iterator[Turns]:
    turns = Turns(root)
    try:
        yield turns
    finally:
        turns.close()


def rows(peer: Path) -> Iterator[Row]:
    """Yield each photo's rate."""
    engine = LocalEngine()
    with _turns(ROOT) as here, _turns(peer) as there, tempfile.TemporaryDirectory() as folder:
        for name, (data, _) in photos().items():
            path = Path(folder, "photo")
            path.write_bytes(data)
            bare = Bare(data)
            check_inputs(engine, bare)
            found = in_turns(
                PAIRS,
                {
                    "ours": partial(here.rate, path),
                    "peer": partial(there.rate, path),
                    "limit": partial(rate, bare.run, 1, SECONDS),
                },
            )
            bars = [Bar(BARS[name], "peer"), Bar(0.95, "limit")]
            yield Row(f"embedded engine, {name}", "photos/s of CPU", found, bars=bars, floor=FLOOR * BARS[name])
