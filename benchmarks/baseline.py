"""An earlier commit as a wheel, built and installed in the same run, so that both take turns."""

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.support import ROOT

LAUNCHED_BY = ("wsgi.py", "gunicorn.conf.py")
"""What a checkout is served by. It is no part of a wheel."""
PACKAGING = """
[build-system]
requires = {requires}
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
only-include = ["service", "migrations"]
"""
"""For commits that have none: all files of the package, the page's and the networks among them."""
PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", re.MULTILINE)


@contextmanager
def installed(commit: str) -> Iterator[Path]:
    """Build a wheel of a commit and install it; give the folder, in which gunicorn serves it.

    The libraries are those installed here; of those that the commit pins, what is missing here comes from its own list.
    Raise an error unless the package is imported from that folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, built, target = (Path(folder, part) for part in ("source", "built", "installed"))
        _export(commit, source)
        if "build-system" not in tomllib.loads((source / "pyproject.toml").read_text()):
            own = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
            with (source / "pyproject.toml").open("a") as file:
                file.write(PACKAGING.format(requires=own))
        _pip("wheel", "--no-deps", "--wheel-dir", built, source)
        missing = _missing((source / "requirements.txt").read_text())
        _pip("install", "--no-deps", "--target", target, *built.iterdir(), *missing)
        for name in LAUNCHED_BY:
            shutil.copy(source / name, target)
        command = [sys.executable, "-c", "import service; print(service.__file__)"]
        imported = subprocess.run(command, cwd=target, capture_output=True, text=True, check=True).stdout.strip()
        assert imported == str(target / "service" / "__init__.py"), imported
        yield target


def _export(commit: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _missing(requirements: str) -> list[str]:
    """Return those pinned libraries that are not installed here, in any version."""
    missing = []
    for library, pinned in PINNED.findall(requirements):
        try:
            version(library)
        except PackageNotFoundError:
            missing.append(f"{library}=={pinned}")
    return missing


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True)
