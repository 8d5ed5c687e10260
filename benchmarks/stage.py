"""What the benchmarks run on: a service and an emulator of FaceCloud, each in processes of its own."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bare_calls import PROCESSES, THREADS
from tests.support import ROOT, Service, flask


@contextmanager
def emulator(latency: float) -> Iterator[str]:
    """Run an emulator that makes faces up; give its address."""
    command = [sys.executable, "-m", "devtools.facecloud_emulator", "--port", "0", "--faces", "scripted"]
    with subprocess.Popen(
        [*command, "--latency", str(latency)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextmanager
def service(*, root: Path = ROOT, **settings: object) -> Iterator[Service]:
    """Run a service in a temporary folder, with the code that is there."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    stage = Service(folder, root=root, **settings)
    try:
        flask(stage.settings["DATABASE_URL"], "database", "upgrade", root=root)
        stage.start()
        yield stage
    finally:
        stage.stop()
        stage.kill()
        shutil.rmtree(folder)


@contextmanager
def both(peer: Path, latency: float = 0.0, **settings: object) -> Iterator[tuple[Service, Service, str]]:
    """Run the code here and that of a folder over one emulator; give both services and the emulator's address."""
    with ExitStack() as stack:
        url = stack.enter_context(emulator(latency))
        given = facecloud(url, **{"WEB_CONCURRENCY": PROCESSES, "WORKERS": THREADS, **settings})
        ours, theirs = (stack.enter_context(service(root=root, **given)) for root in (ROOT, peer))
        yield ours, theirs, url


@contextmanager
def empty_view() -> Iterator[Service]:
    """Run a server whose one view does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Service(Path(folder), root=ROOT / "benchmarks" / "empty_view", WEB_CONCURRENCY=PROCESSES)
        stage.start()
        try:
            yield stage
        finally:
            stage.stop()


def facecloud(url: str, **settings: object) -> dict[str, object]:
    """Return the settings that point a service at an emulator."""
    return {"FACECLOUD_URL": url, "FACECLOUD_EMAIL": "developer@example.com", "FACECLOUD_PASSWORD": "any", **settings}


def cpu(service: Service) -> float:
    """Return the seconds of CPU that the server's processes have taken, ended threads included (Linux)."""
    # The number of a process's clock, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in service.workers())


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no memory of {pid}")
