"""Two checkouts' embedded engines on the same photos, in turns: CPU time of one thread."""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

ROUNDS, SECONDS = 9, 1.0

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
        found = engine.detect(data)
        done += 1
    taken = time.thread_time() - begin
    print(json.dumps([done / taken, len(getattr(found, "faces", found))]), flush=True)
"""


class Turns:
    """An engine in a process of its own, with the code of one checkout."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-c", LOOP]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, photo: Path, seconds: float) -> tuple[float, int]:
        """Return the photos a second of CPU, and how many faces were found."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps([str(photo), seconds]), file=self._process.stdin, flush=True)
        photos, faces = json.loads(self._process.stdout.readline())
        return photos, faces

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextlib.contextmanager
def _written(photos: dict[str, bytes]) -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, str(number)) for number, name in enumerate(photos)}
        for name, path in paths.items():
            path.write_bytes(photos[name])
        yield paths


def compare(photos: dict[str, bytes], other: Path, bars: dict[str, float]) -> None:
    """Print each photo's rate here, there, and the median ratio of the rounds with its bar."""
    here, there = Turns(ROOT), Turns(other)
    try:
        with _written(photos) as paths:
            for name, path in paths.items():
                for engine in (here, there):
                    engine.rate(path, 0)  # the networks are loaded, and their memory laid out
                rounds = []
                for number in range(ROUNDS):
                    order = (here, there) if number % 2 else (there, here)
                    figures = {engine: engine.rate(path, SECONDS) for engine in order}
                    rounds.append((figures[here], figures[there]))
                ours, theirs = (statistics.median(figure[0] for figure in each) for each in zip(*rounds, strict=True))
                ratio = statistics.median(one[0] / other[0] for one, other in rounds)
                (_, faces), (_, faces_there) = rounds[-1]
                bar = f" (bar {bars[name]:g})" if name in bars else ""
                print(
                    f"{name}: {ours:.1f} photos/s and {faces} faces, "
                    f"against {theirs:.1f} and {faces_there}: {ratio:.3f}{bar}"
                )
    finally:
        here.close()
        there.close()
