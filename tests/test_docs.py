"""The page at /docs, as people use it: it asks for files, and what it fills in can be sent."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import Visit, chromium
from tests.support import Client, Service, photo

TONE = Path(__file__).parent.parent / "postman" / "tone.wav"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def visit(browser: Browser, shared_service: Service) -> Iterator[Visit]:
    account = {"username": "admin", "password": shared_service.password}
    context = browser.new_context(http_credentials=account)  # type: ignore[arg-type]
    visit = Visit(context, shared_service.url)
    visit.page.goto(f"{shared_service.url}/docs")
    visit.page.wait_for_selector(".opblock")
    yield visit
    context.close()


def opened(page: Page, name: str) -> Locator:
    """Open the form of an operation, and of no other."""
    for other in page.locator(".opblock.is-open .opblock-summary-control").all():
        other.click()
    block = page.locator(f".opblock[id$='-{name}']")
    block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    block.locator(".execute").wait_for()
    return block


def executed(page: Page, block: Locator) -> tuple[int, Any]:
    """Send what stands in the form, and return status and JSON."""
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as answer:
        block.locator(".execute").click()
    return answer.value.status, json.loads(answer.value.body())


def test_a_photo_is_chosen_and_sent_and_nothing_is_missing(visit: Visit, client: Client, tmp_path: Path) -> None:
    page, file = visit.page, tmp_path / "ada.jpg"
    file.write_bytes(photo(1))
    task = client.task()
    for name, expected in (("create_task", 201), ("add_images", 201), ("add_files", 201), ("add_owned_image", 202)):
        block = opened(page, name)
        if name == "add_images":
            block.locator("tr[data-param-name=task_id] input").fill(task)
        block.locator("input[type=file]").set_input_files(file)
        status, answer = executed(page, block)
        assert status == expected, answer
        images = answer.get("images") or answer.get("items") or [answer]
        assert images[0].get("name", "ada.jpg") == "ada.jpg"
    made = client.get("/api/v1/tasks", params={"limit": 1}).json()["items"][0]
    assert (made["name"], made["status"], made["progress"]["total"]) == ("team", "forming", 1)
    assert client.get("/images?user_id=1").json()["items"][0]["name"] == "ada.jpg"
    # Swagger UI says itself that it has no field of its own for a file in an array; it shows one all the same.
    visit.errors = [error for error in visit.errors if "JsonSchema_string_binary" not in error]
    visit.check()


def test_a_recording_is_chosen_and_sent(visit: Visit, client: Client) -> None:
    user = client.post("/users", json={"name": "Ada"}).json()
    block = opened(visit.page, "add_recording")
    block.locator("input[type=file]").set_input_files(TONE)
    for name, value in (("user", user["id"]), ("token", user["token"])):
        block.locator(f"tr[data-property-name={name}] input").fill(value)
    status, answer = executed(visit.page, block)
    assert status == 201, answer
    assert re.search(r"/record\?id=", answer["url"])
    visit.check()


@pytest.mark.parametrize(
    ("name", "expected"), [("register_user", 201), ("fetch_questions", 200), ("add_recording_user", 201)]
)
def test_the_examples_of_bodies_can_be_sent_as_they_stand(visit: Visit, name: str, expected: int) -> None:
    status, answer = executed(visit.page, opened(visit.page, name))
    assert status == expected, answer
    visit.check()


def test_faces_come_first_and_a_way_leads_back_in_light_and_dark(visit: Visit) -> None:
    page = visit.page
    expect(page.locator(".opblock-tag-section h3").first).to_contain_text("faces")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_class("dark-mode")
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class("dark-mode")
    page.get_by_role("link", name="All tasks").click()
    page.wait_for_url("**/tasks")
    visit.check()
