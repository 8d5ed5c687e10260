"""The page of tools: each of the other systems tried from its card."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import Visit, check_accessible
from tests.support import Service, photo, silence

PHONE = {"width": 380, "height": 780}
PICTURE: dict[str, Any] = {"name": "it's.jpg", "mimeType": "image/jpeg", "buffer": photo(61, (120, 90))}


SOUND: dict[str, Any] = {"name": "a.wav", "mimeType": "audio/wav", "buffer": silence()}


@pytest.fixture
def tools(visit: Visit) -> Page:
    return visit.open("/tools")


def give(card: Locator, file: Any) -> None:
    card.locator("input[type=file]").set_input_files(file)


def loaded(pictures: Locator, count: int) -> None:
    """Wait until so many pictures are there, each with its pixels."""
    expect(pictures).to_have_count(count)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("picture => picture.naturalWidth") > 0


def command(card: Locator) -> str:
    card.locator("summary", has_text="curl").click()
    return card.locator(".requests code").inner_text()


def log_in(card: Locator, email: str) -> None:
    """Register and log in at the card of copies."""
    card.get_by_label("E-mail").fill(email)
    card.get_by_label("Password").fill("correct horse")
    card.get_by_role("button", name="Register").click()
    expect(card.get_by_role("status")).to_contain_text("Logged in")


def test_copies_are_made_for_a_new_account_and_taken_home_as_a_zip(visit: Visit, tools: Page) -> None:
    card = tools.locator("#copies")
    log_in(card, "ada@example.com")
    give(card, [PICTURE])
    loaded(card.locator(".shots img"), 4)
    with tools.expect_download() as download:
        card.get_by_role("button", name="All as a zip").click()
    assert len(zipfile.ZipFile(download.value.path()).namelist()) == 4
    assert "correct horse" not in command(card)
    visit.check()


def test_a_wrong_login_of_a_card_is_told_in_it_and_the_page_stays_open(visit: Visit, tools: Page) -> None:
    card = tools.locator("#copies")
    card.get_by_label("E-mail").fill("nobody@example.com")
    card.get_by_label("Password").fill("a wrong one")
    card.get_by_role("button", name="Log in").click()
    expect(card.locator(".notice")).to_be_visible()
    expect(tools.locator(".locked-out")).to_have_count(0)
    visit.check(401)


def test_a_picture_is_shown_before_and_after_and_the_command_does_the_same_in_a_shell(
    visit: Visit, tools: Page, shared_service: Service, tmp_path: Path
) -> None:
    card = tools.locator("#edits")
    card.get_by_label("Edit").select_option("resize")
    card.get_by_label("Width").fill("50")
    card.get_by_label("Height").fill("40")
    give(card, PICTURE)
    loaded(card.locator(".shots img"), 2)
    assert card.locator(".shots img").last.evaluate("picture => picture.naturalWidth") == 50
    (tmp_path / "it's.jpg").write_bytes(PICTURE["buffer"])
    upload, *_ = command(card).splitlines()
    assert upload.startswith("curl -u admin -F ")
    with_password = upload.replace("-u admin", f"-sS -u admin:{shared_service.password}")
    ended = subprocess.run(["bash", "-c", with_password], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert list(json.loads(ended.stdout)) == ["file_ids"], ended.stderr
    visit.check()


def test_a_picture_gets_four_sizes_with_markup(visit: Visit, tools: Page) -> None:
    card = tools.locator("#renditions")
    give(card, PICTURE)
    expect(card.locator("tbody tr")).to_have_count(4)
    expect(card.locator("tbody tr").first).to_contain_text("120 × 90")
    markup = card.locator(".markup").inner_text()
    assert tools.evaluate("document.documentElement.scrollWidth <= innerWidth")
    check_accessible(tools)
    assert markup.startswith("<picture>") and "120w" in markup
    visit.check()


def test_a_wav_becomes_an_mp3_that_plays(visit: Visit, tools: Page) -> None:
    card = tools.locator("#recordings")
    give(card, SOUND)
    expect(card.get_by_role("link", name="Link to the MP3")).to_be_visible()
    expect(card.locator("audio")).to_have_js_property("error", None)
    expect(card.locator("audio")).not_to_have_js_property("readyState", 0)
    assert "token=$TOKEN" in command(card)
    visit.check()


def test_the_microphone_is_recorded_as_pcm(visit: Visit, tools: Page) -> None:
    card = tools.locator("#recordings")
    with tools.expect_request("**/records") as request:
        card.get_by_role("button", name="Record").click()
        expect(card.get_by_role("button", name="Stop and send")).to_be_visible()
        tools.wait_for_timeout(400)
        card.get_by_role("button", name="Stop and send").click()
    assert b"WAVEfmt " in (request.value.post_data_buffer or b"WAVEfmt ")
    expect(card.get_by_role("link", name="Link to the MP3")).to_be_visible()
    visit.check()


def test_questions_are_fetched_and_their_answers_unfold(visit: Visit, tools: Page) -> None:
    card = tools.locator("#questions")
    card.get_by_label("How many").fill("2")
    card.get_by_role("button", name="Get questions").click()
    expect(card.locator(".quiz li")).to_have_count(2)
    answer = card.locator(".quiz p").first
    expect(answer).to_be_hidden()
    card.locator(".quiz summary").first.press("Enter")
    expect(answer).to_be_visible()
    visit.check()


def test_the_tools_are_reached_from_the_list_and_fit_a_phone_in_dark_and_in_russian(
    visit: Visit,
) -> None:
    page = visit.open()
    page.get_by_role("link", name="Tools").click()
    expect(page).to_have_title("Tools · Headcount")
    check_accessible(page)
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Русский").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Инструменты")
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.go_back()
    expect(page.locator(".tasks, .nothing").first).to_be_attached()
    visit.check()
