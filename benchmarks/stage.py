"""What the benchmarks run on: a service and an emulator of FaceCloud, each in processes of its own."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def facecloud(url: str, **settings: object) -> dict[str, object]:
    """Return the settings that point a service at an emulator."""
    return {"FACECLOUD_URL": url, "FACECLOUD_EMAIL": "developer@example.com", "FACECLOUD_PASSWORD": "any", **settings}


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no memory of {pid}")
