"""The documents say what the code does: settings, calls, errors, layers, links."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from scripts.generate_docs import DOCUMENTS as GENERATED
from scripts.generate_docs import application, generated, rewritten
from service.__main__ import headcount
from service.config import Settings
from service.db.database import Database
from service.errors import Problem
from service.features.faces.schemas import ImageError, StatisticsWarning
from service.http import problem_codes
from service.http.openapi_document import TEXTS
from service.http.services import provided
from service.server import bad_requests

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
NAMES = [document.relative_to(ROOT).as_posix() for document in DOCUMENTS]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    app = application(tmp_path_factory.mktemp("documents"))
    yield generated(app)
    provided(Database, app).close()


def test_the_example_names_exactly_the_settings() -> None:
    assert sorted(re.findall(r"^([A-Z0-9_]+)=", read(".env.example"), re.MULTILINE)) == sorted(
        map(str.upper, Settings.model_fields)
    )


def test_the_example_is_valid_once_it_has_a_password() -> None:
    environment = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", read(".env.example"), re.MULTILINE))
    assert Settings.from_env(environment | {"API_PASSWORD": "long enough"}) == Settings(api_password="long enough")


@pytest.mark.parametrize("name", GENERATED)
def test_a_documents_generated_parts_are_up_to_date(name: str, parts: dict[str, str]) -> None:
    assert rewritten(read(name), parts) == read(name), "run `python -m scripts.generate_docs`"


def test_every_generated_part_stands_in_a_document(parts: dict[str, str]) -> None:
    shown = [part for name in GENERATED for part in re.findall(r"^<!-- generated: (.+) -->$", read(name), re.MULTILINE)]
    assert sorted(shown) == sorted(parts)


def test_every_error_code_has_an_entry() -> None:
    codes = ImageError.model_json_schema()["properties"]["code"]["enum"]
    assert re.findall(r"^### (\w+)$", read("docs/errors.md"), re.MULTILINE) == codes


def codes_in_the_code() -> set[str]:
    """Return every code that a problem is raised or answered with."""
    found = {kind.code for kind in (Problem, *Problem.__subclasses__())} | set(bad_requests.CODES.values())
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return found


def test_every_code_has_its_entry() -> None:
    members = (ImageError.model_fields["code"], StatisticsWarning.model_fields["code"])
    shown = {code for member in members for code in get_args(member.annotation)}
    assert codes_in_the_code() | shown <= set(problem_codes.CODES)


def test_a_type_leads_to_its_entry(tmp_path: Path) -> None:
    client = application(tmp_path).test_client()
    told = client.get("/api/v1/tasks", headers={"Host": "photos.example"}).get_json()
    address, _, entry = told["type"].partition("#")
    assert (address, entry) == ("http://photos.example/docs/errors", told["code"])
    assert f'id="{entry}"' in client.get("/docs/errors").get_data(as_text=True)


def test_the_page_has_a_russian_sentence_for_every_code() -> None:
    texts = json.loads(read("service/web/static/problems-ru.json"))
    assert texts.keys() == problem_codes.CODES.keys()


def test_every_status_of_a_problem_is_explained() -> None:
    explained = re.findall(r"^\| (\d{3}) \|", read("docs/errors.md"), re.MULTILINE)
    assert explained == [str(status) for status in TEXTS if status >= 400]


def test_the_readme_is_read_in_three_minutes_and_the_architecture_in_one_sitting() -> None:
    assert (ROOT / "README.md").stat().st_size <= 10_000
    assert len(read("docs/architecture.md").splitlines()) <= 250


def test_every_document_is_found_from_the_readme_or_its_folders_index() -> None:
    indexes = "".join(read(name) for name in ("README.md", "docs/adr/README.md"))
    assert [name for name in NAMES if name != "README.md" and f"{Path(name).name})" not in indexes] == []


def test_the_documents_tell_of_no_make_target_that_is_not_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    told = {name for document in NAMES for name in re.findall(r"(?:`|^)make ([a-z-]+)", read(document), re.MULTILINE)}
    assert told
    assert told <= targets


def test_the_documents_tell_of_no_command_that_is_not_there() -> None:
    commands = r"\bheadcount (?:--data [\w./]+ )?([a-z][a-z-]*)(?: ([a-z][a-z-]*))?"
    told = re.findall(commands, "\n".join(map(read, NAMES)))
    assert len(told) > 20
    for name, below in told:
        group = headcount.commands[name]
        assert not isinstance(group, click.Group) or not below or below in group.commands, f"{name} {below}"


def anchors(document: Path) -> set[str]:
    """Return the names by which a document's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_a_documents_links_lead_to_files_and_headings(name: str) -> None:
    document = ROOT / name
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_a_document_has_no_path_of_somebodys_machine(name: str) -> None:
    assert re.findall(r"(?<![\w.:/*])(?:/(?:work|home|Users|root|tmp|var|opt)/|[A-Z]:\\)\S*", read(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_documents_prose_is_at_most_120_columns_wide(name: str) -> None:
    assert [line for line in read(name).splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_lines_that_stay_written_by_hand_are_about_as_many_as_told() -> None:
    section = read("docs/architecture.md").partition("## What stays written by hand")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| ([\d,]+) \|", section, re.MULTILINE)
    assert len(rows) >= 10
    for places, told in rows:
        files = [file for place in re.findall(r"`([^`]+)`", places) for file in python_files(ROOT / place)]
        lines = sum(len(file.read_text("utf-8").splitlines()) for file in files)
        assert lines == pytest.approx(int(told.replace(",", "")), rel=0.15), places


def python_files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.glob("*.py"))


def test_the_tests_of_the_promises_are_there() -> None:
    table = read("docs/security.md").partition("## Promises")[2]
    named = re.findall(r"`(test_\w+)`", table)
    assert len(named) > 25
    written = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    assert [name for name in named if f"def {name}(" not in written] == []
