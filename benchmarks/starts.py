"""What a service costs before and beside its work: its start, its imports, and nothing to do."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import requests

from benchmarks import stage
from benchmarks.row import PAIRS, Bar, Row, in_turns, of
from tests.support import BIN, Service, once

FOLDERS, FILES = 1_000, 100  # in each
WINDOW = 15.0
IMPORT = "import time, {modules}; print(time.process_time())"


def fill(files: Path) -> None:
    """Make the folders of so many tasks, each with links to one file."""
    for _ in range(FOLDERS):
        folder = files / "tasks" / str(uuid4())
        folder.mkdir(parents=True)
        first = folder / str(uuid4())
        first.touch()
        for _ in range(FILES - 1):
            (folder / str(uuid4())).hardlink_to(first)


def seconds_to_ready(service: Service) -> float:
    """Start the server, as a person does, and end it; return the seconds until `/readyz` answers 200."""
    begin, client = time.perf_counter(), service.client()
    nothing = subprocess.DEVNULL
    with subprocess.Popen(
        [BIN / "gunicorn"], cwd=service.root, env=service.environment, stdout=nothing, stderr=nothing
    ) as process:
        while process.poll() is None:
            with suppress(requests.ConnectionError):
                if once(client, "/readyz").status_code == 200:
                    break
            time.sleep(0.01)
        taken = time.perf_counter() - begin
        process.terminate()
        assert process.wait(30) == 0
    return taken


def cpu_of_import(service: Service, modules: str) -> float:
    """Return the seconds of CPU of an interpreter that imports these."""
    command = [sys.executable, "-c", IMPORT.format(modules=modules)]
    ended = subprocess.run(command, cwd=service.root, env=service.environment, stdout=subprocess.PIPE, check=True)
    return float(ended.stdout)


def idle(services: Sequence[Service]) -> list[dict[str, float]]:
    """Return the wake-ups and the CPU of a process of each service while nothing is done."""
    before = [(_wake_ups(service), stage.cpu(service)) for service in services]
    time.sleep(WINDOW)
    found = []
    for service, (wake_ups, cpu) in zip(services, before, strict=True):
        per_second = 1 / (WINDOW * len(service.workers()))
        woken, used = _wake_ups(service) - wake_ups, stage.cpu(service) - cpu
        found.append({"wake-ups": woken * per_second, "cpu": used * per_second * 60})
    return found


def _wake_ups(service: Service) -> int:
    """Return how often all threads have given up their core by themselves."""
    paths = [path for pid in service.workers() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for path in paths)


def rows(peer: Path) -> Iterator[Row]:
    """Yield idle processes, starts and imports."""
    with stage.both(peer) as (ours, theirs, _):
        time.sleep(5)  # what begins with the service has ended
        windows = [idle((ours, theirs)) for _ in range(2)]
        found = {"ours": [one for one, _ in windows], "peer": [other for _, other in windows]}
        for name, what, unit, bars in (
            ("wake-ups", "wake-ups of an idle server process", "a second", [Bar(5)]),
            ("cpu", "an idle server process", "s of CPU a minute", []),
        ):
            yield Row(what, unit, of(found, name), bars=bars)
        for service in (ours, theirs):
            service.stop()
            fill(service.files)
        started = in_turns(3, {"ours": partial(seconds_to_ready, ours), "peer": partial(seconds_to_ready, theirs)})
        yield Row(f"start to ready at {FOLDERS * FILES:,} files", "s", started, bars=[Bar(1)])
        imported = in_turns(
            PAIRS,
            {
                "ours": partial(cpu_of_import, ours, "wsgi"),
                "peer": partial(cpu_of_import, theirs, "wsgi"),
                "limit": partial(cpu_of_import, ours, "flask, pydantic, sqlalchemy.orm"),
            },
        )
        yield Row("`import wsgi`", "s of CPU", imported, bars=[Bar(0.6)])
