"""What the README shows, run as it stands there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

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


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Iterator[Service]:
    """Give a running service with the embedded engine, as `make run` starts it."""
    folder = tmp_path_factory.mktemp("readme")
    service = Service(folder, DATABASE_URL=new_database(folder))
    service.start()
    yield service
    service.kill()


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Run:
    """Give a function that runs a program in a folder like the checkout's, its text changed in the address alone."""
    for folder in ("samples", "postman"):
        (tmp_path / folder).symlink_to(ROOT / folder)
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


def downloads(folder: Path) -> list[Path]:
    """Return the files that a snippet made; in a checkout git ignores them all."""
    made = sorted(path for path in folder.iterdir() if path.is_file() and path.name != ".env")
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *(path.name for path in made)], cwd=ROOT, capture_output=True, check=True
    )
    assert ignored.stdout.decode().split() == [path.name for path in made]
    return made


def test_the_first_task_by_curl_works_step_by_step(run: Run, service: Service, tmp_path: Path) -> None:
    waits = "until call $tasks/$task | grep -q completed; do sleep 0.1; done\n# 5."
    before = service.client().get("/api/v1/tasks").json()
    shown = run(["bash", "-euc"], snippet("A first task", "sh").replace("# 5.", waits))
    for name in ("astronaut.png", "grace_hopper.jpg", "team.jpg"):
        assert f'"name": "{name}"' in shown or f'"name":"{name}"' in shown
    photos, rows = downloads(tmp_path)
    with ZipFile(photos) as archive:
        assert sorted(archive.namelist()) == ["astronaut.jpg", "grace_hopper.jpg", "team.jpg"]
    assert len(rows.read_text().splitlines()) == 1 + 1 + 1 + 4
    assert service.client().get("/api/v1/tasks").json() == before


def test_a_call_that_is_refused_fails_and_shows_why(run: Run, service: Service) -> None:
    first_steps = snippet("A first task", "sh").partition("# 1.")[0]
    assert "There is no such task" in run(["bash", "-euc"], f"{first_steps}\ncall $tasks/x || test $? = 22")
    shown = run(["bash", "-euc"], first_steps + snippet("A first task", "sh", 1))
    service.client().ended(re.findall('"id": ?"([^"]+)"', shown)[0])


def test_the_steps_of_augmentation_and_recordings_work(run: Run, service: Service, tmp_path: Path) -> None:
    register, rest = snippet("Augmentation", "sh").split("# 3.")
    answer = json.loads(run(["bash", "-euc"], f'{register}\necho "token=$token"').partition("token=")[0])
    ready = 'until curl -sS http://localhost:8000/status/TASK_ID -H "Authorization: Bearer $token" | grep -q '
    ready += '\'"status":"finished","images"\'; do sleep 0.1; done\n'
    login = register.partition("# 2.")[0].replace("/registration", "/login")
    run(["bash", "-euc"], (login + ready + f"# 3.{rest}").replace("TASK_ID", answer["task_id"]))
    user, send, fetch = re.split("# [23]\\.", snippet("Recordings", "sh"))
    given = json.loads(run(["bash", "-euc"], user))
    link = json.loads(run(["bash", "-euc"], "#" + send.replace("ID", given["id"]).replace("TOKEN", given["token"])))
    query = link["url"].partition("?")[2]
    run(["bash", "-euc"], "#" + fetch.replace("id=…&user=…", query))
    names = [path.name for path in downloads(tmp_path)]
    assert sorted(names) == sorted([f"{answer['task_id']}.zip", f"{query[3:39]}.mp3"])


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
