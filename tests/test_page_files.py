"""What the page is made of: its two languages, and how its files are served."""

import json
import re
from typing import Any

import pytest

from service.web.page import LANGUAGES, STATIC
from tests.support import Client

TEMPLATES = STATIC.parent / "templates"
PLURALS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}}
# Keys that are put together where they are used: `status-` and a status, and so on.
ENDINGS = {
    "status-": ("forming", "processing", "completed", "error", "failed", "pending"),
    "person-": ("female", "male", "unknown"),
    "filter-": ("all", "faces", "none", "failed"),
    "estimates-": (
        *("figure", "estimate", "sample-only", "uncorrected"),
        *("women_share", "women_average_age", "men_average_age", "faces"),
    ),
    "keys-": tuple(
        f"{key}{ending}"
        for key in ("arrows", "w", "m", "u", "digits", "x", "z", "drag", "enter", "pages")
        for ending in ("", "-text")
    ),
    "faces-": (
        *("sort", "sort-photo", "sort-age", "sort-certainty", "sort-size"),
        *("gender", "gender-all", "gender-female", "gender-male", "gender-unknown"),
        *("crowd", "crowd-any", "crowd-one", "crowd-few", "crowd-many"),
        *("corrected", "corrected-all", "corrected-yes", "corrected-no"),
    ),
}


def texts(language: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STATIC / f"{language}.json").read_text("utf-8"))
    return found


def forms(text: str | dict[str, str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


def used_keys() -> set[str]:
    """Return the keys in the modules' code and in the templates."""
    code = "\n".join(path.read_text("utf-8") for path in STATIC.rglob("*.js"))
    code = re.sub(r'=== "[a-z-]+"', "", code)
    calls = re.findall(r"\bt\(([^()]*)", code)
    keys = {key for call in calls for key in re.findall(r'"([a-z-]+)"', call)}
    keys |= set(re.findall(r'#picker\("([a-z-]+)"', code))
    keys |= {
        beginning + ending for beginning in re.findall(r"\bt\(`([a-z-]+)\$\{", code) for ending in ENDINGS[beginning]
    }
    html = "\n".join(path.read_text("utf-8") for path in TEMPLATES.glob("*.html"))
    return (
        keys | set(re.findall(r'text\["([a-z-]+)"\]', html)) | set(re.findall(r'data-(?:text|label)="([a-z-]+)"', html))
    )


def test_both_languages_say_the_same_things() -> None:
    english, russian = (texts(language) for language in LANGUAGES)
    assert list(english) == list(russian)
    for key in english:
        names = {name for text in forms(english[key]) for name in re.findall(r"{(\w+)}", text)}
        assert {name for text in forms(russian[key]) for name in re.findall(r"{(\w+)}", text)} - {"count"} == names - {
            "count"
        }, key
        assert isinstance(english[key], str) == isinstance(russian[key], str), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_number_finds_its_form_in_each_language(language: str) -> None:
    for key, text in texts(language).items():
        assert isinstance(text, str) or set(text) == PLURALS[language], key


def test_every_text_is_used_and_every_used_one_is_there() -> None:
    assert used_keys() == set(texts("en"))


def test_nothing_of_the_page_comes_from_elsewhere_or_is_written_into_the_html() -> None:
    for path in (
        *(path for path in STATIC.rglob("*.*") if path.suffix != ".jpg"),
        *(TEMPLATES / name for name in ("page.html", "alone.html", "refused.html", "not_found.html")),
    ):
        text = path.read_text("utf-8").replace("http://www.w3.org/", "")
        assert "://" not in text, path
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path
        if path.suffix == ".html":
            assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", text), path


def test_the_page_wants_credentials_and_its_files_do_not(client: Client) -> None:
    client.auth = None
    refused = client.get("/tasks")
    assert refused.status_code == 401
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    in_browser = client.get("/tasks/x", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert in_browser.status_code == 401
    assert in_browser.headers["Content-Type"].startswith("text/html")
    assert f"Headcount on {client.url.partition('//')[2]}" in in_browser.text
    assert client.get("/static/app.js").status_code == 200


def test_an_address_with_a_slash_too_many_is_one_page_for_people_and_no_fault_for_programs(client: Client) -> None:
    browsers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    in_browser = client.get("/tasks/", headers=browsers, allow_redirects=False)
    assert (in_browser.status_code, in_browser.headers["Location"]) == (308, "/tasks")
    assert client.get("/tasks/", headers={"Accept": "*/*"}, allow_redirects=False).status_code == 200


def test_an_unknown_address_is_a_page_with_a_way_back_for_people_and_a_problem_for_programs(client: Client) -> None:
    in_browser = client.get("/taks", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (in_browser.status_code, in_browser.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert 'href="/tasks"' in in_browser.text
    for accepted in ("*/*", "application/json"):
        answer = client.get("/taks", headers={"Accept": accepted})
        assert (answer.status_code, answer.json()["code"]) == (404, "address_not_found")


def test_the_page_runs_nothing_but_its_own_files(client: Client) -> None:
    answer = client.get("/tasks")
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["Content-Security-Policy"]
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert client.get(address).status_code == 200, address


def test_a_file_is_sent_again_only_when_it_has_changed(client: Client) -> None:
    answer = client.get("/static/style.css")
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get("/static/style.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["../page.py", "%2e%2e/page.py", "nothing.js", "..%2fpage.py"])
def test_nothing_but_the_pages_files_is_served(client: Client, name: str) -> None:
    answer = client.get(f"/static/{name}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("header", "cookie", "language"),
    [
        ("ru-RU,ru;q=0.9,en;q=0.8", None, "ru"),
        ("de,fr;q=0.5", None, "en"),
        (None, None, "en"),
        ("ru", "en", "en"),
        ("en", "ru", "ru"),
        ("ru", "../../secret", "ru"),
    ],
)
def test_the_language_is_the_chosen_one_else_the_browsers(
    client: Client, header: str | None, cookie: str | None, language: str
) -> None:
    headers = {"Accept-Language": header or ""} | ({"Cookie": f"language={cookie}"} if cookie else {})
    answer = client.get("/tasks", headers=headers)
    assert f'<html lang="{language}">' in answer.text
    assert answer.headers["Content-Language"] == language


def test_the_modules_are_all_named_in_the_page(client: Client) -> None:
    named = set(re.findall(r'<link rel="modulepreload" href="/static/(.+?)">', client.get("/tasks").text))
    modules = {path for path in STATIC.rglob("*.js") if ".worklet" not in path.name}
    assert named == {path.relative_to(STATIC).as_posix() for path in modules}
    for path in modules:
        for name in re.findall(r'(?:from|import) "(\..+?)"', path.read_text("utf-8")):
            assert (path.parent / name).resolve() in modules, (path, name)
