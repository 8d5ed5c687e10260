"""What the documents show, run as it stands there, and pasted twice."""

import json
import os
import re
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from standardwebhooks import Webhook

from tests.support import BIN, ROOT, Service

BLOCK = "(set -euo pipefail\n"
"""How a block begins that is pasted whole. Other blocks are commands to choose from."""
SHOWN = {
    "README.md": '"female"',
    "docs/api.md": '"name":"team"',
    "docs/guides/augmentation.md": "astronaut_rotated.png",
    "docs/guides/faces.md": "team.jpg,",
    "docs/guides/processing.md": '"finished"',
    "docs/guides/questions.md": '"question"',
    "docs/guides/recordings.md": "recording.mp3",
    "docs/guides/renditions.md": '"medium"',
}
"""The documents with such a block, and what is seen when it has run."""
FACES = {"astronaut.png": 1, "group.jpg": 4}


def blocks(name: str, language: str) -> list[str]:
    """Return a document's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / name).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def whole(name: str) -> str:
    """Return a document's one block that is pasted whole."""
    (block,) = (block for block in blocks(name, "sh") if block.startswith(BLOCK))
    return block


Run = Callable[..., subprocess.CompletedProcess[str]]


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

    def run(program: list[str], text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, text.replace("http://localhost:8000", service.url)],
            cwd=tmp_path,
            env={"PATH": f"{BIN}:{os.environ['PATH']}", "API_PASSWORD": service.password, **environment},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run


def test_every_document_with_a_whole_block_is_tried() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]
    assert {path.relative_to(ROOT).as_posix() for path in documents if BLOCK in path.read_text("utf-8")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_whole_block_works_when_pasted_twice(name: str, run: Run, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    ended = run(["bash", "-c"], whole(name) * 2)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(SHOWN[name]) >= 2
    made = sorted(path.name for path in set(tmp_path.iterdir()) - before)
    ignored = ["git", "check-ignore", "--no-index", "--", *made, ".env"]
    told = subprocess.run(ignored, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert sorted(told) == [".env", *made], "git ignores what a block leaves"


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_a_whole_block_fails_visibly_where_it_is_refused(name: str, run: Run) -> None:
    refused = whole(name).replace("admin:", "nobody:").replace("/registration", "/registrations")
    ended = run(["bash", "-c"], refused)
    assert ended.returncode != 0
    assert re.search(r"user name or the password is wrong|There is no such address", ended.stdout + ended.stderr)


def test_the_results_of_the_guide_to_faces_are_whole(run: Run, service: Service, tmp_path: Path) -> None:
    before = service.client().get("/api/v1/tasks").json()
    assert run(["bash", "-c"], whole("docs/guides/faces.md")).returncode == 0
    with ZipFile(tmp_path / "boxed.zip") as archive:
        assert sorted(archive.namelist()) == ["astronaut.jpg", "grace_hopper.jpg", "team.jpg"]
    assert len((tmp_path / "faces.csv").read_text().splitlines()) == 1 + 1 + 1 + 4
    assert service.client().get("/api/v1/tasks").json() == before, "the last step deletes the task"


def test_the_one_call_shows_the_task_that_has_ended(run: Run) -> None:
    task = json.loads(run(["bash", "-c"], whole("README.md")).stdout)
    assert task["status"] == "completed"
    assert {image["name"]: len(image["faces"]) for image in task["images"]} == FACES


@pytest.mark.parametrize("language", ["python", "js"])
def test_a_program_prints_the_faces_of_each_photo(language: str, run: Run) -> None:
    programs = {"python": [sys.executable, "-c"], "js": ["node", "--input-type=module", "--eval"]}
    (text,) = blocks("README.md", language)
    ended = run(programs[language], text)
    assert ended.returncode == 0, ended.stderr
    for name, faces in FACES.items():
        assert ended.stdout.count(name) == 1
        assert len(re.findall("male|unknown", ended.stdout.split(name)[1].partition(".jpg")[0])) == faces
    refused = run(programs[language], text, API_PASSWORD="wrong")
    assert refused.returncode != 0
    assert "401" in refused.stderr


def test_the_guides_verifier_takes_what_is_signed_as_the_service_signs_and_nothing_else() -> None:
    (text,) = blocks("docs/guides/webhooks.md", "python")
    names: dict[str, Any] = {}
    exec(text, names)
    verified, secret, other = names["verified"], *(f"whsec_{b64encode(secrets.token_bytes(32)).decode()}" for _ in "12")

    def signed(body: str, at: datetime) -> dict[str, str]:
        signature = Webhook(secret).sign("msg_1", at, body)
        return {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}

    now = datetime.now(UTC)
    assert verified(signed("{}", now), b"{}", secret)
    assert verified(
        {**signed("{}", now), "webhook-signature": "v1,bm90 " + signed("{}", now)["webhook-signature"]}, b"{}", secret
    )
    assert not verified(signed("{}", now), b"[]", secret)
    assert not verified(signed("{}", now), b"{}", other)
    assert not verified(signed("{}", now - timedelta(minutes=6)), b"{}", secret)
