"""Photos looked at on clusters: by `headcount analyze --ray`, and by the programs in the guide."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, photo
from tests.test_result_folder import photos_of

GUIDE = ROOT / "docs" / "guides" / "clusters.md"


def run(arguments: list[str], **settings: object) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    environment |= {"API_PASSWORD": "", "WORKERS": "2", **{name: str(value) for name, value in settings.items()}}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_a_killed_actor_of_ray_loses_nothing_and_a_second_run_finds_all_done(tmp_path: Path) -> None:
    root, result = tmp_path / "photos", tmp_path / "result"
    root.mkdir()
    for number in range(30):
        (root / f"{number}.jpg").write_bytes(photo(number))
    settings = {"FACE_ENGINE": "tests.custom_engine:DeadlyOnce", "DEADLY_MARK": tmp_path / "mark"}
    command = ["-m", "service", "analyze", str(root), "--out", str(result), "--shard", "10"]
    ended = run([*command, "--ray"], **settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "mark").exists()
    rows = photos_of(result, "path", "status")
    assert sorted(rows) == sorted((str(path), "done") for path in root.iterdir())
    ended = run(command, **settings)
    assert "30 photos, 30 of them done and unchanged." in ended.stderr


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_the_programs_of_the_guide_find_the_faces_of_the_samples(name: str) -> None:
    programs = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (program,) = (text for text in programs if f"import {name}" in text)
    ended = run(["-c", program])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "6 faces"
