"""The documents say what the code does: settings, routes, links."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from service.app import create_app
from service.config import Settings
from service.db.database import Database
from service.errors import Problem
from service.features.faces.schemas import ImageError
from service.http import problem_codes
from service.http.services import provided
from service.server import bad_requests

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("**/*.md"))]
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def section(title: str) -> str:
    """Return the text of the README's section."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"the README has no section {title!r}"
    return found[1]


def settings_rows() -> dict[str, tuple[str, str]]:
    """Return default and text of each row of the README's table of settings, as they are written."""
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \| (.*?) \|$", section("Settings"), re.MULTILINE)
    return {name: (default, text) for name, default, text in rows}


def plain(path: str) -> str:
    """Return a path with every parameter as `{}`, without a query."""
    return re.sub(r"<[^>]*>|{[^}]*}", "{}", path).partition("?")[0]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    settings = Settings(
        api_password="secret", database_url=f"sqlite:///{tmp_path}/service.db", storage_url=f"{tmp_path}/files"
    )
    app = create_app(settings)
    yield app
    provided(Database, app).close()


def test_the_example_names_exactly_the_settings() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    assert sorted(re.findall(r"^([A-Z0-9_]+)=", text, re.MULTILINE)) == sorted(map(str.upper, Settings.model_fields))


def test_the_example_is_valid_once_it_has_a_password() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    environment = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    assert Settings.from_env(environment | {"API_PASSWORD": "secret"}) == Settings(api_password="secret")


def test_the_readme_has_exactly_the_settings() -> None:
    assert sorted(settings_rows()) == sorted(map(str.upper, Settings.model_fields))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_tells_a_setting_as_the_code_does(name: str) -> None:
    default, text = settings_rows()[name.upper()]
    setting = Settings.model_fields[name]
    if setting.is_required():
        assert default == "required"
    else:
        assert default == (f"`{setting.default}`" if setting.default != "" else "empty")
    assert " ".join(str(setting.description).split()).rstrip(".") in text


def test_the_readme_has_exactly_the_routes(app: Flask) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if not rule.alias]
    routes = {(method, plain(rule.rule)) for rule in rules for method in (rule.methods or set()) & METHODS}
    calls = re.findall(r"`([A-Z]+) (/[^` ]*)`", section("The API"))
    assert {(method, plain(path)) for method, path in calls} == routes


def test_the_readme_explains_every_error_code() -> None:
    codes = ImageError.model_json_schema()["properties"]["code"]["enum"]
    assert re.findall(r"^\| `([a-z_]+)` \|", section("The API"), re.MULTILINE) == codes


def codes_in_the_code() -> set[str]:
    """Return every code that a problem is raised or answered with."""
    found = {kind.code for kind in (Problem, *Problem.__subclasses__())} | set(bad_requests.CODES.values())
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return found


def test_every_code_has_its_entry_in_the_documents() -> None:
    image_codes = set(ImageError.model_json_schema()["properties"]["code"]["enum"])
    assert codes_in_the_code() | image_codes <= set(problem_codes.CODES)
    assert (ROOT / "docs" / "errors.md").read_text("utf-8") == problem_codes.as_markdown()


def test_a_type_leads_to_its_entry(app: Flask) -> None:
    client = app.test_client()
    told = client.get("/api/v1/tasks", headers={"Host": "photos.example"}).get_json()
    address, _, entry = told["type"].partition("#")
    assert (address, entry) == ("http://photos.example/docs/errors", told["code"])
    assert f'id="{entry}"' in client.get("/docs/errors").get_data(as_text=True)


def test_the_page_has_a_russian_sentence_for_every_code() -> None:
    texts = json.loads((ROOT / "service" / "web" / "static" / "problems-ru.json").read_text("utf-8"))
    assert texts.keys() == problem_codes.CODES.keys()


def test_the_documents_tell_of_no_make_target_that_is_not_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    told = {name for document in DOCUMENTS for name in re.findall(r"\bmake ([a-z-]+)`", document.read_text("utf-8"))}
    assert told
    assert told <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_documents_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
    local = [link.partition("#")[0] for link in links if not re.match(r"https?://|mailto:|#", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_document_has_no_path_of_somebodys_machine(document: Path) -> None:
    text = document.read_text("utf-8")
    assert re.findall(r"(?<![\w.:/*])(?:/(?:work|home|Users|root|tmp|var|opt)/|[A-Z]:\\)\S*", text) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_documents_prose_is_at_most_120_columns_wide(document: Path) -> None:
    lines = document.read_text("utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
