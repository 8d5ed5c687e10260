"""How people move about on the page: Back, Forward, reload, another language, a finger, and what comes between."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from tests.browser import Visit, check_accessible, visiting
from tests.support import Client, Service, photo, wait_for


@pytest.fixture
def window() -> dict[str, Any]:
    return {"viewport": {"width": 1000, "height": 500}}


@pytest.fixture
def on_a_phone(browser: Browser, shared_service: Service) -> Iterator[Visit]:
    """Give somebody who reads Russian on a small phone."""
    phone = {"width": 360, "height": 640}
    with visiting(browser, shared_service, viewport=phone, locale="ru-RU", has_touch=True, is_mobile=True) as visit:
        yield visit


@pytest.fixture(scope="module")
def album(shared_service: Service) -> str:
    """Give the address of a task with fifty photos, all done."""
    return f"/tasks/{shared_service.client().run(*map(photo, range(50)))['id']}"


def top(page: Page, mark: str) -> float:
    return float(page.locator(mark).evaluate("element => element.getBoundingClientRect().top"))


def scroll_to(page: Page, mark: str) -> float:
    """Scroll there, wait until the page has noted just that place, and return where the element is then."""
    page.locator(mark).scroll_into_view_if_needed()
    wait_for(lambda: page.evaluate("history.state?.at?.y === scrollY"), what="a note of the place")
    return top(page, mark)


def stays(page: Page, mark: str, where: float) -> None:
    """Wait until the element is where it was."""
    wait_for(lambda: page.locator(mark).count() and abs(top(page, mark) - where) < 3, 10, f"{mark} at {where}")


def test_the_language_switches_there_and_back_with_tasks_in_the_list(visit: Visit, client: Client) -> None:
    client.task(photo(1), name="Of both")
    page = visit.open()
    expect(page.get_by_role("link", name="Of both")).to_be_visible()
    page.get_by_role("button", name="Русский").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Найдите лица на своих фото")
    expect(page.locator(".tasks .status").first).to_have_text("Не запущено")
    expect(page.get_by_role("link", name="Of both")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Find faces in your photos")
    expect(page.locator(".tasks .status").first).to_have_text("Not started")
    visit.check()


def test_back_closes_the_photo_and_closing_leaves_no_entry_behind(visit: Visit, album: str) -> None:
    page = visit.open()
    page.locator(f"a[href='{album}']").click()
    viewer, photos = page.get_by_role("dialog"), page.locator(".photo")
    photos.nth(1).click()
    page.keyboard.press("ArrowRight")
    expect(viewer).to_contain_text("3 of 50")
    page.go_back()
    expect(viewer).to_be_hidden()
    expect(photos.nth(2)).to_be_focused()
    page.go_forward()
    expect(viewer).to_be_visible()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page).to_have_url(visit.url + album)
    page.go_back()
    expect(page).to_have_url(f"{visit.url}/tasks")
    visit.check()


def test_a_photo_is_still_open_after_a_reload(visit: Visit, album: str) -> None:
    page = visit.open(album)
    viewer = page.get_by_role("dialog")
    page.locator(".photo").nth(3).click()
    expect(viewer).to_contain_text("4 of 50")
    page.reload()
    expect(viewer).to_contain_text("4 of 50")
    viewer.get_by_role("button", name="Close").click()
    expect(viewer).to_be_hidden()
    expect(page).to_have_url(visit.url + album)
    visit.check()


def test_back_takes_back_a_question(visit: Visit, album: str) -> None:
    page = visit.open()
    page.locator(f"a[href='{album}']").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alertdialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("alertdialog")).to_have_count(0)
    expect(page.get_by_role("link", name="API")).to_be_visible()
    page.get_by_label("Name (optional)").fill("not under a dialog")
    visit.check()


def test_a_task_that_is_deleted_elsewhere_takes_its_open_photo_along(visit: Visit, client: Client) -> None:
    task = client.task(photo(1))
    page = visit.open(f"/tasks/{task}")
    page.locator(".photo").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    client.delete(f"/api/v1/tasks/{task}").raise_for_status()
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    wait_for(lambda: not page.evaluate("history.state.photo"), what="the entry of the task")
    visit.check(404)


def test_the_list_comes_back_as_long_and_where_it_was(visit: Visit, client: Client) -> None:
    for number in range(60):
        client.post("/api/v1/tasks", json={"name": f"Number {number}"}).raise_for_status()
    page = visit.open()
    page.get_by_role("button", name="Show more").click()
    mark = "li:has(> .which > a:text-is('Number 3'))"
    before = scroll_to(page, mark)
    page.get_by_role("link", name="Number 3", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Number 3")
    wait_for(lambda: page.evaluate("scrollY") == 0, what="the beginning of the page")
    page.go_back()
    stays(page, mark, before)
    page.reload()
    stays(page, mark, before)
    visit.check()


def test_a_task_comes_back_at_the_photo_that_was_in_view(visit: Visit, album: str) -> None:
    page = visit.open(album)
    page.locator(".photo").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".photo").last).to_be_focused()
    mark = f"[id='{page.locator('.card').nth(-10).get_attribute('id')}']"
    before = scroll_to(page, mark)
    page.reload()
    stays(page, mark, before)
    page.get_by_role("link", name="All tasks").evaluate("link => link.click()")
    expect(page.get_by_role("heading", level=1)).to_have_text("Find faces in your photos")
    page.go_back()
    stays(page, mark, before)
    visit.check()


def test_a_thumbnail_that_failed_is_asked_for_again(visit: Visit, client: Client) -> None:
    task = client.run(photo(1))["id"]
    fails = [True]
    visit.page.route("**/thumbnail", lambda route: route.abort() if fails.pop() else route.continue_(), times=1)
    page = visit.open(f"/tasks/{task}")
    picture = page.locator(".card img")
    expect(picture).to_have_class("missing")
    expect(picture).to_have_css("opacity", "0")
    expect(page.locator(".card .overlay")).to_be_hidden()
    expect(picture).not_to_have_class("missing")
    assert picture.evaluate("picture => picture.naturalWidth") > 0
    visit.check()


def test_many_reasons_are_reached_on_a_phone_without_a_list_that_scrolls_by_itself(
    on_a_phone: Visit, shared_emulator: EmulatorServer, client: Client
) -> None:
    poor = [photo(number) for number in range(60, 70)]
    shared_emulator.emulator.script.set(
        [
            Mood(name="status", status=422, message=f"Too dark by {number}", sha256=hashlib.sha256(image).hexdigest())
            for number, image in enumerate(poor)
        ]
    )
    page = on_a_phone.open()
    broken = [bytes([number]) * 30 for number in range(10)]
    files = [
        {"name": f"{number}.jpg", "mimeType": "image/jpeg", "buffer": image}
        for number, image in enumerate(poor + broken)
    ]
    page.set_input_files("input[accept]", files)
    for name in ("10 файлов не приняты", "10 фото не удалось обработать"):
        region = page.get_by_role("region", name=name)
        region.get_by_text("ещё 2").click()
        expect(region.locator("li").last).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="10.jpg:")).to_contain_text(
        "10.jpg: Это не фото принимаемого типа"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    check_accessible(page)
    on_a_phone.check(415, 422)


def test_a_finger_leads_from_photo_to_photo_and_back_closes(on_a_phone: Visit, album: str) -> None:
    page = on_a_phone.open(album)
    page.locator(".photo").first.tap()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("1 из 50")
    wire = on_a_phone.context.new_cdp_session(page)
    for way, place in ((-120, "2 из 50"), (-120, "3 из 50"), (120, "2 из 50"), (-20, "2 из 50"), (-120, "3 из 50")):
        swipe(wire, way)
        expect(viewer).to_contain_text(place)
    page.go_back()
    expect(viewer).to_be_hidden()
    on_a_phone.check()


def swipe(wire: Any, way: int) -> None:
    """Draw a finger over the photo, sideways."""
    wire.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 180, "y": 300}]})
    for part in (0.25, 0.5, 0.75, 1):
        wire.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": 180 + part * way, "y": 303}]})
    wire.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_the_photo_keeps_the_room_in_a_very_small_window(visit: Visit, client: Client) -> None:
    visit.page.set_viewport_size({"width": 320, "height": 256})
    task = client.run(photo(71, (640, 480)), photo(72, (640, 480)))["id"]
    page = visit.open(f"/tasks/{task}")
    page.locator(".photo").first.click()
    picture = page.locator(".viewer .frame").bounding_box()
    assert picture
    assert picture["height"] > 160
    expect(page.get_by_role("button", name="Next photo")).to_be_in_viewport()
    check_accessible(page)
    visit.check()


def test_an_address_that_is_no_text_is_told_as_one_where_nothing_is(visit: Visit) -> None:
    page = visit.open("/tasks/%E0%A4%A")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    visit.check(404)


def test_an_outage_in_mid_upload_is_told_once(visit: Visit, client: Client) -> None:
    task = client.task()
    page = visit.open(f"/tasks/{task}")
    visit.page.route("**/api/v1/**", lambda route: route.abort())
    page.set_input_files("input[accept]", [{"name": "1.jpg", "mimeType": "image/jpeg", "buffer": photo(1)}])
    expect(page.get_by_text("The service is not reachable")).to_have_count(1)
    page.wait_for_event("requestfailed", lambda request: f"{task}?since=" in request.url)
    expect(page.get_by_text("The service is not reachable")).to_have_count(1)
    page.unroute("**/api/v1/**")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".card")).to_have_count(1)
    visit.check()
