"""The large view of a photo: zoom, labels, the list of many faces, addresses, keys."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from tests.browser import Visit, check_accessible
from tests.support import Client, photo, wait_for


@pytest.fixture
def window() -> dict[str, Any]:
    return {"viewport": {"width": 1000, "height": 700}}


def grid_of_faces(columns: int, rows: int, side: int) -> list[Detection]:
    """Return faces beside one another, as in a photo of a school class."""
    return [
        Detection(
            10 + 30 * column, 20 + 40 * row, side, side, ("female", "male", "unknown")[column % 3], 20.0 + row, 0.9
        )
        for row in range(rows)
        for column in range(columns)
    ]


def opened(visit: Visit, client: Client, emulator: EmulatorServer, faces: list[Detection], number: int) -> Page:
    emulator.emulator.faces = faces
    page = visit.open(f"/tasks/{client.run(photo(number, (400, 300)))['id']}")
    page.locator(".photo").click()
    expect(page.locator(".viewer .frame img:only-of-type")).to_be_visible()
    return page


def width(frame: Locator) -> float:
    box = frame.bounding_box()
    assert box
    return box["width"]


def test_a_photo_is_zoomed_by_keys_wheel_and_double_click_up_to_twice_its_pixels(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    page = opened(visit, client, shared_emulator, [], 81)
    frame = page.locator(".viewer .frame")
    assert width(frame) <= 800
    page.keyboard.press("1")
    assert width(frame) == pytest.approx(400, abs=1)
    for _ in range(12):
        page.keyboard.press("+")
    assert width(frame) == pytest.approx(800, abs=1)
    page.keyboard.press("0")
    fitting = width(frame)
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert width(frame) < fitting
    page.keyboard.press("0")
    page.set_viewport_size({"width": 500, "height": 400})
    wait_for(lambda: width(frame) <= 500, what="the photo in the smaller window")
    page.locator(".stage").hover()
    before = width(frame)
    page.mouse.wheel(0, -300)
    expect(page.locator(".stage")).to_have_class(re.compile("movable"))
    assert width(frame) > before
    where = frame.bounding_box()
    page.mouse.down()
    page.mouse.move(150, 150, steps=3)
    page.mouse.up()
    assert frame.bounding_box() != where
    page.locator(".stage").dblclick()
    assert width(frame) == pytest.approx(before, abs=1)
    visit.check()


def test_up_to_twelve_faces_have_labels_that_cover_no_other_face_and_thin_boxes(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    page = opened(visit, client, shared_emulator, grid_of_faces(6, 2, 24), 82)
    labels = [label.bounding_box() for label in page.locator(".viewer .tag:not(.left-out)").all()]
    boxes = [box.bounding_box() for box in page.locator(".viewer rect.box").all()]
    assert labels
    for label in labels:
        assert label
        for box in boxes:
            assert box
            assert not (
                label["x"] < box["x"] + box["width"] - 3
                and box["x"] < label["x"] + label["width"] - 3
                and label["y"] < box["y"] + box["height"] - 3
                and box["y"] < label["y"] + label["height"] - 3
            )
    for part in page.locator(".viewer rect").all():
        stroke = part.evaluate("part => parseFloat(getComputedStyle(part).strokeWidth)")
        share = part.evaluate("part => part.getBoundingClientRect().height")
        assert stroke <= 0.034 * share
    visit.check()


def test_many_faces_are_numbered_and_listed_with_crops_that_light_each_other(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    page = opened(visit, client, shared_emulator, grid_of_faces(12, 6, 20), 83)
    items = page.locator(".people li")
    expect(items).to_have_count(72)
    expect(page.locator(".viewer .tag").first).to_have_text("1")
    items.nth(70).focus()
    expect(items.nth(70)).to_be_in_viewport()
    expect(page.locator(".viewer rect.box[data-face='3']")).to_have_class(re.compile("dimmed"))
    expect(page.locator(".viewer rect.box[data-face='70']")).not_to_have_class(re.compile("dimmed"))
    page.locator(".viewer rect.box[data-face='5']").hover()
    expect(items.nth(5)).to_have_class(re.compile("lit"))
    page.locator(".viewer rect.box[data-face='5']").click()
    expect(items.nth(5)).to_be_focused()
    check_accessible(page)
    page.set_viewport_size({"width": 380, "height": 780})
    expect(items.first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visit.check()


def test_each_photo_has_an_address_of_its_own_that_can_be_passed_on(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    task = client.run(photo(84), photo(85))
    path = f"/tasks/{task['id']}/photos/{task['images'][1]['id']}"
    page = visit.open(path)
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("2 of 2")
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(f"{visit.url}/tasks/{task['id']}/photos/{task['images'][0]['id']}")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page).to_have_url(f"{visit.url}/tasks/{task['id']}")
    visit.check()


def test_a_question_mark_shows_the_keys(visit: Visit, client: Client, shared_emulator: EmulatorServer) -> None:
    page = opened(visit, client, shared_emulator, [], 86)
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    expect(keys).to_contain_text("original size")
    check_accessible(page)
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    expect(page.locator(".viewer")).to_be_visible()
    visit.check()
