"""The list of tasks: small pictures, search, status, selection, names, and the offer of a first visit."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser import Visit, check_accessible, expect_photos, visiting
from tests.conftest import MakeService
from tests.support import Client, photo, wait_for

PHONE = {"width": 380, "height": 780}


def test_a_row_shows_the_first_four_photos_of_its_task(visit: Visit, client: Client) -> None:
    task = client.task(*(photo(910 + number) for number in range(6)), name="Six photos")
    page = visit.open()
    pictures = page.locator(f"[id='{task}'] .preview img")
    expect(pictures).to_have_count(4)
    expect(pictures.last).to_have_js_property("complete", value=True)
    assert pictures.last.evaluate("picture => picture.naturalWidth") > 0
    visit.check()


def test_a_task_is_found_by_its_name_behind_the_first_page_and_by_its_status(visit: Visit, client: Client) -> None:
    client.task(name="Straße nach Ägypten")
    client.run(photo(920))
    for number in range(120):
        client.post("/api/v1/tasks", json={"name": f"Filler {number}"}).raise_for_status()
    page = visit.open()
    page.get_by_role("searchbox", name="Search by name").fill("ägypten")
    expect(page.locator(".tasks li")).to_have_count(1)
    expect(page.locator(".tasks li")).to_contain_text("Straße nach Ägypten")
    page.get_by_role("searchbox").fill("nothing like this")
    expect(page.locator(".nothing")).to_have_text("No task matches.")
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Status", exact=True).select_option("completed")
    expect(page.locator(".tasks .status.completed").first).to_be_visible()
    expect(page.locator(".tasks .status:not(.completed)")).to_have_count(0)
    wait_for(lambda: page.evaluate("history.state?.status") == "completed", what="a note of the choice")
    page.reload()
    expect(page.get_by_label("Status", exact=True)).to_have_value("completed")
    visit.check()


def test_several_tasks_are_deleted_after_one_question(visit: Visit, client: Client) -> None:
    for name in ("First of two", "Second of two", "To be kept"):
        client.post("/api/v1/tasks", json={"name": name}).raise_for_status()
    page = visit.open()
    page.get_by_role("checkbox", name="Select First of two").check()
    page.get_by_role("checkbox", name="Select Second of two").check()
    expect(page.get_by_role("group", name="2 tasks selected")).to_be_visible()
    check_accessible(page)
    page.get_by_role("button", name="Delete selected").click()
    expect(page.get_by_role("alertdialog")).to_contain_text("Delete 2 tasks?")
    page.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="First of two")).to_have_count(0)
    expect(page.get_by_role("link", name="Second of two")).to_have_count(0)
    expect(page.get_by_role("link", name="To be kept")).to_be_visible()
    expect(page.locator(".selection")).to_be_hidden()
    visit.check()


def test_a_task_gets_another_name_in_the_list_and_on_its_page(visit: Visit, client: Client) -> None:
    client.post("/api/v1/tasks", json={"name": "Untitled"}).raise_for_status()
    page = visit.open()
    page.get_by_role("button", name="Rename Untitled").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Summer <b>")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Summer <b>").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Summer <b>")
    page.get_by_role("button", name="Rename").click()
    check_accessible(page)
    page.get_by_role("dialog").get_by_label("Name").fill("Winter")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Winter")
    visit.check()


def test_a_first_visit_offers_sample_photos_also_on_a_phone(
    browser: Browser, make_service: MakeService, tmp_path: Path
) -> None:
    service = make_service(FACE_ENGINE="local")
    service.start()
    with visiting(browser, service, viewport=PHONE, color_scheme="dark") as visit:
        page = visit.open()
        check_accessible(page)
        page.get_by_role("button", name="Try it with sample photos").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sample photos")
        expect(page.locator(".head .status.completed")).to_be_visible(timeout=60_000)
        expect_photos(page, 3)
        page.get_by_role("link", name="All tasks").click()
        expect(page.locator(".preview img")).to_have_count(3)
        check_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        visit.check()


def test_a_task_without_a_name_is_named_by_the_days_of_its_photos(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(photo(930))
    page = visit.open()
    page.set_input_files("input[accept]", file)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Photos of ")
    visit.check()
