"""The package, built and installed into an environment that has nothing else: what is in it, and that it works."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from service import __version__
from tests.support import ROOT, free_port, wait_for

LIMIT = 20_000_000
"""Bytes that the wheel may have."""


def without_checkout(**settings: object) -> dict[str, str]:
    """Return an environment in which nothing of the checkout is found, and no git and no make."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "HTTP"))}
    return kept | {"HOME": os.environ.get("HOME", "/"), "PATH": ""} | {n: str(v) for n, v in settings.items()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package's file, built from what is in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv")
    command = [uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT]
    plain = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command if uv else plain, check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def headcount(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command, installed from the wheel with what it needs, and without the extras."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", environment, wheel], check=True, timeout=300)
    else:
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin" / "pip", "install", "--quiet", wheel], check=True, timeout=300)
    return environment / "bin" / "headcount"


def run(command: Path, folder: Path, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *map(str, arguments)],
        cwd=folder,
        env=without_checkout(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def serving(command: Path, folder: Path, *arguments: object) -> Iterator[tuple[str, str]]:
    """Run `headcount serve`, and give its address and the password that it printed."""
    log, port = folder / "log", free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [command, *map(str, arguments), "serve"],
            cwd=folder,
            env=without_checkout(PORT=port, WEB_CONCURRENCY=1),
            stdout=file,
            stderr=file,
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return f"Headcount is ready at http://localhost:{port}." in log.read_text()

        wait_for(ready, 60, "the start of the service")
        printed = [line.split()[-1] for line in log.read_text().splitlines() if "Password:" in line]
        yield f"http://localhost:{port}", printed[0] if printed else ""
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_the_wheel_has_the_service_alone_and_all_of_it(wheel: Path) -> None:
    assert wheel.name.startswith(f"headcount-{__version__}-py3")
    assert wheel.stat().st_size < LIMIT
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"service", f"headcount-{__version__}.dist-info"}
    tracked = subprocess.run(["git", "ls-files", "service"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in tracked.stdout.split() if (ROOT / name).exists()} - set(names) == set()


def test_a_photo_is_analyzed_and_nothing_is_left_behind(headcount: Path, tmp_path: Path) -> None:
    assert run(headcount, tmp_path, "--version").stdout == f"headcount, version {__version__}\n"
    found = run(headcount, tmp_path, "analyze", ROOT / "samples" / "group.jpg", "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)["faces"]) == 4
    assert list(tmp_path.iterdir()) == []


def test_the_service_starts_in_any_folder_and_keeps_everything_in_one(headcount: Path, tmp_path: Path) -> None:
    with serving(headcount, tmp_path, "--data", "place") as (url, password):
        assert password
        wait_for(lambda: requests.get(f"{url}/readyz", timeout=30).status_code == 200, 30, "ready")
        made = requests.post(f"{url}/api/v1/tasks", json={}, auth=("admin", password), timeout=30)
        assert made.status_code == 201, made.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "place"]
    assert {".env", "files", "service.db"} <= {path.name for path in (tmp_path / "place").iterdir()}
    assert (tmp_path / "place" / ".env").stat().st_mode & 0o077 == 0
    listed = run(headcount, tmp_path, "tasks", "list", "--json", "--data=place")
    assert [task["id"] for task in json.loads(listed.stdout)["items"]] == [made.json()["id"]]
    assert run(headcount, tmp_path, "doctor", "--data", "place").stdout == "All is well.\n"
    for path in (tmp_path / "place").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_what_an_extra_brings_is_named_where_a_setting_needs_it(headcount: Path, tmp_path: Path) -> None:
    wanted = {
        "s3": {"STORAGE_URL": "s3://bucket"},
        "postgres": {"DATABASE_URL": "postgresql://localhost/service"},
        "celery": {"EXECUTOR": "celery", "BROKER_URL": "redis://localhost"},
    }
    ended = run(headcount, tmp_path, "doctor", **{k: v for each in wanted.values() for k, v in each.items()})
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    for extra in wanted:
        assert f"pip install 'headcount[{extra}]'" in ended.stderr


def test_a_settings_file_in_the_working_folder_wins_over_that_of_the_data(headcount: Path, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / ".env").write_text("PORT=many\n")
    assert "PORT is 'many'" in run(headcount, tmp_path, "--data", "place", "doctor").stderr
    (tmp_path / ".env").write_text("DATABASE_URL=sqlite:///here/rows.db\n")
    upgraded = run(headcount, tmp_path, "--data", "place", "database", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    assert (tmp_path / "here" / "rows.db").exists()
    assert (tmp_path / "place" / "files").is_dir()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_pins_every_package_with_hashes(name: str) -> None:
    text = (ROOT / name).read_text("utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if "==" not in line.split(" --hash")[0] or " --hash=sha256:" not in line] == []


def test_the_locks_hold_what_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra, packages in project["project"]["optional-dependencies"].items():
        named += packages if extra != "ray" else []  # a cluster's version is its own
    locked = {
        line.split("==")[0].partition("[")[0] for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
    }
    names = {each.split("=")[0].rstrip("<>").partition("[")[0] for each in named}
    assert names - locked == set()
