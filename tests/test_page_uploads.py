"""Uploads that outlive a reload, a task that was started meanwhile, and files that nobody wants."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import Visit, check_accessible, expect_photos
from tests.support import Client, photo, wait_until_equal

FILES = 60  # three requests


@pytest.fixture
def visit(visit: Visit) -> Visit:
    visit.page.on("dialog", lambda dialog: dialog.accept())  # the browser's own, before the page is left
    return visit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "Holidays"
    made.mkdir()
    for number in range(FILES):
        (made / f"{number}.jpg").write_bytes(photo(5000 + number))
    return made


class Line:
    """A connection that takes one upload, and then answers no other until it is mended."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.passed = 0
        self.held: list[Route] = []
        page.route("**/images", self._decide)

    def _decide(self, route: Route) -> None:
        if route.request.method == "POST" and self.passed:
            self.held.append(route)
        else:
            self.passed += route.request.method == "POST"
            route.continue_()

    def mend(self) -> None:
        for route in self.held:
            route.continue_()
        self.page.unroute("**/images")


def begun(visit: Visit, folder: Path) -> Line:
    """Begin an upload of which the first part arrives."""
    page = visit.open()
    line = Line(page)
    page.set_input_files("input[webkitdirectory]", folder)
    expect(page.locator(".sent")).to_have_text("25 of 60 files")
    return line


def test_after_a_reload_only_the_rest_is_sent_and_nothing_twice(visit: Visit, client: Client, folder: Path) -> None:
    begun(visit, folder)
    page = visit.page
    other = visit.context.new_page()
    other.goto(f"{visit.url}/tasks")
    expect(other.get_by_text("Uploading 25 of 60")).to_be_visible()
    other.close()
    page.reload()
    expect(page.get_by_text("25 of 60 files arrived before the upload was interrupted")).to_be_visible()
    page.unroute("**/images")
    check_accessible(page)
    page.set_input_files("input[webkitdirectory]", folder)
    expect(page.locator(".head .status.completed")).to_be_visible()
    expect_photos(page, FILES)
    shown = client.show(page.url.rpartition("/")[2])
    assert len({image["digest"] for image in shown["images"]}) == FILES
    page.reload()
    expect(page.locator(".head .status.completed")).to_be_visible()
    expect(page.get_by_text("arrived before the upload was interrupted")).to_have_count(0)
    visit.check()


def test_after_a_reload_files_are_known_by_their_bytes_under_other_names_and_times(
    visit: Visit, client: Client, folder: Path
) -> None:
    begun(visit, folder)
    page = visit.page
    page.reload()
    expect(page.get_by_text("25 of 60 files arrived before the upload was interrupted")).to_be_visible()
    page.unroute("**/images")
    for number in range(FILES):
        (folder / f"{number}.jpg").rename(folder / f"renamed-{number}.jpg")
        os.utime(folder / f"renamed-{number}.jpg", (1_000_000_000 + number, 1_000_000_000 + number))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if request.method == "POST" else None)
    page.set_input_files("input[webkitdirectory]", folder)
    expect(page.locator(".head .status.completed")).to_be_visible()
    shown = client.show(page.url.rpartition("/")[2])
    assert len(shown["images"]) == len({image["digest"] for image in shown["images"]}) == FILES
    assert sum(image["name"].startswith("renamed") for image in shown["images"]) == FILES - 25
    assert len([body for body in sent if body]) == 2, "what had arrived was not sent again"
    visit.check()


def test_what_was_not_sent_before_the_start_goes_into_a_new_task(visit: Visit, client: Client, folder: Path) -> None:
    line = begun(visit, folder)
    page = visit.page
    first = page.url.rpartition("/")[2]
    assert client.start(first).status_code == 202
    client.ended(first)
    line.mend()
    page.get_by_role("button", name="35 remaining files into a new task").click()
    expect(page).not_to_have_url(f"{visit.url}/tasks/{first}")
    expect(page.locator(".head .status.completed")).to_be_visible()
    expect_photos(page, 35)
    visit.check(409)


def test_refused_files_stay_with_the_task_as_a_list_to_save(visit: Visit, client: Client) -> None:
    page = visit.open()
    bad = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
    good = {"name": "good.jpg", "mimeType": "image/jpeg", "buffer": photo(5101)}
    page.set_input_files("input[accept]", [good, bad])
    expect(page.locator(".head .status.completed")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="1 file was not accepted")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the list").click()
    assert download.value.path().read_text("utf-8").startswith("notes.jpg\t")
    visit.check(415)


def test_no_empty_task_is_left_where_all_files_were_refused(visit: Visit, client: Client) -> None:
    before = client.get("/api/v1/tasks").json()["items"]
    page = visit.open()
    page.set_input_files("input[accept]", [{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}])
    expect(page.get_by_role("heading", level=1)).to_have_text("None of the files was accepted")
    expect(page.get_by_text("a.jpg")).to_be_visible()
    check_accessible(page)
    wait_until_equal(lambda: client.get("/api/v1/tasks").json()["items"], before)
    visit.check(415)


def test_a_picture_is_pasted_also_where_a_task_is_done_already(visit: Visit, client: Client) -> None:
    done = client.run(photo(5103))["id"]
    for number, path in enumerate(("/tasks", f"/tasks/{done}")):
        page = visit.open(path)
        expect(page.locator(".tasks, .card").first).to_be_attached()
        paste(page, photo(5104 + number))
        expect(page.locator(".card .name")).to_have_text("pasted.jpg")
        assert not page.url.endswith(done)
    visit.check()


def paste(page: Page, image: bytes) -> None:
    """Paste a picture as from another program."""
    page.evaluate(
        """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "pasted.jpg", { type: "image/jpeg" }));
          window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(image),
    )
