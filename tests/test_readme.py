"""What the README shows, run as it stands there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeService
from tests.support import BIN, ROOT, Service

FACES = {"astronaut.png": 1, "group.jpg": 4}


def snippet(title: str, language: str, number: int = 0) -> str:
    """Return the n-th block of a language in a section of the README."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE)
    assert section, title
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)
    return blocks[number]


Run = Callable[[list[str], str], str]


@pytest.fixture
def service(make_service: MakeService) -> Service:
    """Give a running service with the embedded engine, as `make run` starts it."""
    service = make_service()
    service.start()
    return service


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Run:
    """Give a function that runs a program in a folder like the checkout's, its text changed in the address alone."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / ".env").write_text(f"API_PASSWORD={service.password}\n")

    def run(program: list[str], text: str) -> str:
        ended = subprocess.run(
            [*program, text.replace("http://localhost:8000", service.url)],
            cwd=tmp_path,
            env={"PATH": f"{BIN}:{os.environ['PATH']}", "API_PASSWORD": service.password},
            capture_output=True,
            timeout=180,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()

    return run


def test_the_first_task_by_curl_works_step_by_step(run: Run, service: Service) -> None:
    waits = "until call $tasks/$task | grep -q completed; do sleep 0.1; done\n# 5."
    shown = run(["bash", "-euc"], snippet("A first task", "sh").replace("# 5.", waits))
    for name in ("astronaut.png", "grace_hopper.jpg", "team.jpg"):
        assert f'"name": "{name}"' in shown or f'"name":"{name}"' in shown
    assert service.client().get("/api/v1/tasks").json()["items"] == []


def test_one_curl_call_is_a_whole_task(run: Run, service: Service) -> None:
    task = run(
        ["bash", "-euc"], snippet("The same from a program", "sh", 0) + snippet("The same from a program", "sh", 1)
    )
    ended = service.client().ended(re.findall('"id": ?"([^"]+)"', task)[0])
    assert {image["name"]: len(image["faces"]) for image in ended["images"]} == FACES


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_program_prints_the_faces_of_each_photo(language: str, run: Run) -> None:
    programs = {"python": [sys.executable, "-c"], "js": ["node", "--input-type=module", "--eval"]}
    lines = run(programs[language], snippet("The same from a program", language))
    for name, faces in FACES.items():
        assert lines.count(name) == 1
        assert len(re.findall("male", lines.split(name)[1].partition(".jpg")[0])) == faces
