"""The page for people, in a real browser, as people use it."""

import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from tests.browser import Visit, check_accessible, expect_photos, visiting
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, photo, wait_for

PHONE = {"width": 380, "height": 780}


@pytest.fixture(scope="module")
def shared_service(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, shared_emulator: EmulatorServer
) -> Iterator[Service]:
    """Give a service that takes 300 photos a task and no large ones."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, **facecloud(shared_emulator, MAX_IMAGES_PER_TASK=300, MAX_IMAGE_BYTES=200_000))
    service.start()
    yield service
    service.kill()


def picked(*images: bytes, names: str = "{}.jpg") -> list[Any]:
    """Return photos as a file picker hands them over."""
    return [
        {"name": names.format(number), "mimeType": "image/jpeg", "buffer": image}
        for number, image in enumerate(images, 1)
    ]


def face(gender: Any, age: float | None, x: int = 10) -> Detection:
    return Detection(x=x, y=12, width=12, height=16, gender=gender, age=age, score=0.9)


def know(emulator: EmulatorServer, faces: dict[bytes, list[Detection]]) -> None:
    """Tell the emulator what is on which photo."""
    emulator.emulator.faces_of = {hashlib.sha256(image).hexdigest(): found for image, found in faces.items()}


def test_from_photos_to_faces_statistics_and_downloads(visit: Visit, shared_emulator: EmulatorServer) -> None:
    team, man, nobody = photo(1), photo(2), photo(3)
    people = {team: [face("female", 31.2), face("male", 40.0, 40)], man: [face("male", 50.0)], nobody: []}
    know(shared_emulator, people)
    page = visit.open("/")
    expect(page).to_have_title("Find faces in your photos · Headcount")
    page.get_by_label("Name (optional)").fill("<b>Party</b> & friends")
    page.set_input_files("input[accept]", picked(team, man, nobody))
    expect(page.locator(".head .status.completed")).to_have_text("Completed")
    expect(page.get_by_role("heading", level=1)).to_have_text("<b>Party</b> & friends")
    expect(page).to_have_title("<b>Party</b> & friends · Headcount")
    expect(page).to_have_url(re.compile(f"{visit.url}/tasks/[0-9a-f-]{{36}}$"))
    pictures = page.locator(".grid img")
    texts = ["1.jpg: 2 faces: woman 31 and man 40", "2.jpg: 1 face: man 50", "3.jpg: no face"]
    assert [picture.get_attribute("alt") for picture in pictures.all()] == texts
    assert page.locator(".figures dd").all_inner_texts() == [
        "3\nof 3", "3", "1\n31 years on average", "2\n45 years on average"
    ]  # fmt: skip
    ages = page.get_by_role("table", name="Faces by age")
    expect(ages.get_by_role("row", name="30–39 1 0")).to_be_attached()
    expect(page.locator(".keys li").first).to_have_text("♀ Women33%1")
    expect(page.locator(".grid .tag").first).to_have_text("♀ 31")
    links = [link.get_attribute("href") or "" for link in page.locator("a[download]").all()]
    assert [link.rpartition("/")[2] for link in links] == [
        "faces.csv?bom=1", "faces.jsonl", "boxed.zip", "blurred.zip"
    ]  # fmt: skip
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the faces as CSV").click()
    assert ",female,31.0," in download.value.path().read_text("utf-8")
    page.get_by_role("button", name="Without faces").click()
    expect(pictures).to_have_count(1)
    check_accessible(page)
    page.emulate_media(color_scheme="dark")
    check_accessible(page)
    visit.check()


def test_a_face_of_unknown_gender_is_shown_as_unsure_with_its_range(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    unsure = Detection(10, 12, 12, 16, "unknown", 84.0, 0.9, age_low=72.0, age_high=96.0)
    shared_emulator.emulator.faces = [unsure]
    page = visit.open(f"/tasks/{client.run(photo(5))['id']}")
    expect(page.locator(".figures div").last).to_have_text("Unsure1")
    expect(page.locator(".grid .tag")).to_have_text("? 84")
    expect(page.locator(".grid rect.box.unknown")).to_have_css("stroke-dasharray", "5px, 4px")
    page.locator(".photo").click()
    expect(page.locator(".people li")).to_have_text("person 84likely 72–96")
    check_accessible(page)
    visit.check()


def test_boxes_lie_where_the_faces_are(visit: Visit, client: Client, shared_emulator: EmulatorServer) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    on_its_side = photo(4, (96, 128), exif=exif)  # 128 × 96 as a person sees it
    shared_emulator.emulator.faces = [Detection(x=64, y=24, width=32, height=48, gender="female", age=30.0, score=0.9)]
    task = client.run(on_its_side)["id"]
    page = visit.open(f"/tasks/{task}")
    page.locator(".photo").click()
    expect(page.locator(".viewer .frame img:only-of-type")).to_be_visible()
    for frame in (page.locator(".grid .fit"), page.locator(".viewer .frame")):
        outer, box = frame.bounding_box(), frame.locator("rect.box").bounding_box()
        assert outer
        assert box
        assert outer["width"] / outer["height"] == pytest.approx(128 / 96, abs=0.01)
        assert (box["x"] - outer["x"]) / outer["width"] == pytest.approx(0.5, abs=0.02)
        assert (box["y"] - outer["y"]) / outer["height"] == pytest.approx(0.25, abs=0.03)
        assert box["height"] / outer["height"] == pytest.approx(0.5, abs=0.06)
    visit.check()


def test_an_upload_shows_how_far_it_is_and_can_be_stopped_and_gone_on_with(visit: Visit) -> None:
    page = visit.open()
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
    wire = visit.context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Network.emulateNetworkConditions", slow)
    page.get_by_label("Start automatically").uncheck()
    page.set_input_files("input[accept]", picked(*large(6)))
    bar = page.get_by_role("progressbar", name="Uploading photos")
    wait_for(lambda: 0 < float(bar.get_attribute("value") or bar.evaluate("bar => bar.value")) < 1, 10, "some progress")
    expect(page.locator(".sent")).to_have_text("0 of 6 files")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alertdialog")).to_contain_text("The upload stops. Its 6 photos, uploaded or not")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Upload stopped.")).to_be_visible()
    wire.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".card")).to_have_count(6)
    expect(page.locator(".head .status.forming")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".head .status.completed")).to_be_visible()
    visit.check()


def large(number: int) -> list[bytes]:
    """Return JPEGs of some 100 KB each, below the limit of the service here."""
    made = []
    for _ in range(number):
        file = io.BytesIO()
        Image.effect_noise((400, 400), 80).save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def test_an_answer_that_breaks_off_while_it_is_read_counts_as_a_broken_connection(visit: Visit) -> None:
    said = visit.open().evaluate(
        """async () => {
            const { call } = await import("/static/api.js");
            const whole = window.fetch;
            const broken = () => new ReadableStream({ start: (stream) => stream.error(new TypeError("broken off")) });
            window.fetch = async () => new Response(broken());
            try {
                return await Promise.all([{}, { as: "blob" }].map((options) =>
                    call("GET", "tasks", options).catch((error) => [error.constructor.name, error.status])));
            } finally {
                window.fetch = whole;
            }
        }"""
    )
    assert said == [["Refusal", 0], ["Refusal", 0]]
    visit.check()


def test_a_bad_file_stops_no_other_and_the_services_own_sentence_says_why(visit: Visit) -> None:
    page = visit.open()
    good = picked(*map(photo, range(10, 16)))
    bad = [
        {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": photo(1, (200, 200))[:900]},
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"to be remembered"},
        {"name": "huge.jpg", "mimeType": "image/jpeg", "buffer": photo(2) + bytes(300_000)},
    ]
    page.set_input_files("input[accept]", [good[0], bad[0], *good[1:4], bad[1], bad[2], *good[4:]])
    expect(page.locator(".head .status.completed")).to_be_visible()
    assert page.locator(".card .name").all_inner_texts() == [f"{number}.jpg" for number in range(1, 7)]
    refused = page.get_by_role("region", name="3 files were not accepted")
    assert sorted(refused.get_by_role("listitem").all_inner_texts()) == [
        "broken.jpg begins as JPEG but does not decode: it is damaged or cut off. Save it anew, or leave it out.",
        "huge.jpg has 301 kB; at most 200 kB are accepted. Make it smaller, then add it again.",
        "notes.txt is not a picture of a known type; "
        "accepted are image/jpeg, image/png, image/webp, image/heic, image/avif.",
    ]
    check_accessible(page)
    visit.check(415, 422)


def test_failed_photos_are_tried_again_by_one_button(visit: Visit, shared_emulator: EmulatorServer) -> None:
    poor = photo(21)
    sha256 = hashlib.sha256(poor).hexdigest()
    mood = Mood(name="status", status=422, message="Too dark", sha256=sha256)
    shared_emulator.emulator.script.set([mood])
    page = visit.open()
    page.set_input_files("input[accept]", picked(photo(20), poor))
    failed = page.get_by_role("region", name="1 photo could not be processed")
    expect(failed).to_contain_text("Too dark")
    expect(failed.locator(".names")).to_have_text("2.jpg")
    expect(page.locator(".card.failed")).to_have_count(1)
    expect(page.locator(".head .status.error")).to_be_visible()
    check_accessible(page)
    shared_emulator.emulator.script.set([])
    failed.get_by_role("button", name="Try it again").click()
    expect(page.locator(".head .status.completed")).to_be_visible()
    expect(page.locator(".card.failed")).to_have_count(0)
    expect(failed).to_have_count(0)
    visit.check()


def test_a_task_goes_after_a_question(visit: Visit, client: Client) -> None:
    kept, gone = client.task(photo(1), name="Kept"), client.task(photo(2), name="Gone")
    page = visit.open()
    delete = page.get_by_role("button", name="Delete Gone")
    delete.click()
    question = page.get_by_role("alertdialog", name="Delete “Gone”?")
    expect(question).to_contain_text("Its photo and everything found in it will be deleted permanently.")
    check_accessible(page)
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(delete).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("link", name="Gone")).to_have_count(0)
    expect(page.get_by_role("link", name="Kept")).to_be_focused()
    expect(page.get_by_role("status").first).to_have_text(re.compile("Gone is deleted"))
    assert client.get(f"/api/v1/tasks/{gone}").status_code == 404
    page.get_by_role("link", name="Kept").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete", exact=True).last.click()
    expect(page).to_have_url(f"{visit.url}/tasks")
    assert client.get(f"/api/v1/tasks/{kept}").status_code == 404
    visit.check()


def test_a_task_that_is_not_there_is_told_in_a_sentence(visit: Visit) -> None:
    page = visit.open("/tasks/00000000-0000-4000-8000-000000000000")
    expect(page.get_by_role("main")).to_contain_text("There is no such task. It may have been deleted.")
    page.locator("main").get_by_role("link", name="All tasks").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    visit.check(404)


def test_a_wrong_password_shows_a_page_that_says_what_to_do(browser: Browser, shared_service: Service) -> None:
    context = browser.new_context(http_credentials={"username": "admin", "password": "wrong"})
    visit = Visit(context, shared_service.url)
    page = visit.open()
    expect(page.get_by_role("heading", level=1)).to_have_text("Authentication required")
    check_accessible(page)
    visit.check(401)
    context.close()


def test_a_password_that_changes_meanwhile_is_told_with_a_button_to_reload(
    browser: Browser, make_service: MakeService, shared_emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(shared_emulator, WEB_CONCURRENCY=1))
    service.start()
    with visiting(browser, service) as visit:
        page = visit.open()
        service.kill()
        expect(page.get_by_text("The service is not reachable.")).to_be_visible()
        service.settings["API_PASSWORD"] = "another one"
        service.start()
        expect(page.get_by_text("The service no longer accepts your user name and password.")).to_be_visible()
        expect(page.get_by_role("button", name="Reload")).to_be_visible()
        visit.check(401)


def test_three_hundred_photos_scroll_smoothly(visit: Visit, client: Client, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.latency = 0.02
    page = visit.open()
    thumbnails: set[str] = set()
    page.on("request", lambda request: thumbnails.add(request.url) if request.url.endswith("/thumbnail") else None)
    page.set_input_files("input[accept]", picked(*(photo(number) for number in range(301))))
    expect(page.get_by_text("301.jpg was not added: a task takes at most 300 photos.")).to_be_visible()
    cards = page.locator(".card")
    expect_photos(page, 300)
    cards.first.evaluate("card => { card.mine = true }")
    expect(page.locator(".head .status.completed")).to_be_visible(timeout=30_000)
    assert cards.first.evaluate("card => card.mine"), "the card that was there is still the same"
    assert len(thumbnails) < 150, "only what comes into view is loaded"
    sent = client.show(page.url.rpartition("/")[2])["images"]
    assert [image["name"] for image in sent] == [f"{number}.jpg" for number in range(1, 301)]
    frame = page.evaluate(SCROLL)
    assert frame < 0.15, f"a frame took {frame} s while scrolling"
    last = cards.last.locator("img")
    wait_for(lambda: last.evaluate("image => image.complete && image.naturalWidth > 0"), 10, "the last thumbnail")
    assert page.locator(".card .name").all_inner_texts()[-3:] == ["298.jpg", "299.jpg", "300.jpg"]
    visit.check()


# The median of all frames, in seconds: single ones wait for whatever else the machine does.
SCROLL = """async () => {
  const frames = [];
  let before = performance.now();
  while (scrollY + innerHeight < document.documentElement.scrollHeight - 1) {
    scrollBy(0, 150);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  frames.sort((one, other) => one - other);
  return frames[Math.floor(frames.length / 2)] / 1000;
}"""


def test_the_keyboard_leads_through_grid_and_large_view(visit: Visit, client: Client) -> None:
    task = client.run(*map(photo, range(5)))["id"]
    page = visit.open(f"/tasks/{task}")
    photos = page.locator(".photo")
    photos.first.focus()
    page.keyboard.press("ArrowRight")
    expect(photos.nth(1)).to_be_focused()
    assert [button.get_attribute("tabindex") for button in photos.all()] == ["-1", "0", "-1", "-1", "-1"]
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_role("heading")).to_have_text("1.jpg")
    expect(viewer).to_contain_text("2 of 5")
    check_accessible(page)
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("heading")).to_have_text("2.jpg")
    page.keyboard.press("End")
    expect(viewer).to_contain_text("5 of 5")
    expect(viewer.get_by_role("button", name="Next photo")).to_be_disabled()
    page.keyboard.press("ArrowLeft")
    expect(viewer.locator("img").last).to_have_attribute("alt", re.compile(r"^3\.jpg: "))
    page.keyboard.press("Escape")
    expect(photos.nth(3)).to_be_focused()
    visit.check()


def test_a_photo_can_be_taken_out_before_the_start(visit: Visit, client: Client) -> None:
    task = client.task(photo(1), photo(2))
    page = visit.open(f"/tasks/{task}")
    page.locator(".photo").first.click()
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.locator(".card")).to_have_count(1)
    assert [image["name"] for image in client.show(task)["images"]] == ["1.jpg"]
    visit.check()


def test_folders_are_picked_or_dropped_with_what_is_in_them(visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "Holidays"
    (folder / "beach" / "far").mkdir(parents=True)
    for number, name in enumerate(["2.jpg", "10.JPG", "beach/1.png", "beach/far/0.webp"]):
        form = {"png": "PNG", "webp": "WEBP"}.get(name.rpartition(".")[2], "JPEG")
        (folder / name).write_bytes(photo(number, form=form))
    (folder / "notes.txt").write_text("to be remembered")
    (folder / "beach" / "film.mov").write_bytes(b"moving")
    for hidden in ("._2.jpg", ".DS_Store", "beach/._1.png"):  # what a Mac leaves behind
        (folder / hidden).write_bytes(b"nothing for people")
    page = visit.open()
    page.set_input_files("input[webkitdirectory]", folder)
    for begin in ("picked", "dropped"):
        expect(page.get_by_role("heading", level=1)).to_have_text("Holidays")
        expect(page.get_by_text("2 files in the folder were left out")).to_be_visible()
        expect(page.locator(".head .status.completed")).to_be_visible()
        assert page.locator(".card .name").all_inner_texts() == [
            "2.jpg", "10.JPG", "beach/1.png", "beach/far/0.webp"
        ], begin  # fmt: skip
        if begin == "picked":
            page.locator("main").get_by_role("link", name="All tasks").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Find faces in your photos")
            drop(visit, folder)
    visit.check()


def drop(visit: Visit, path: Path) -> None:
    """Drop a file or folder of the disk on the page, as a hand with a mouse would."""
    wire = visit.context.new_cdp_session(visit.page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        wire.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def test_the_page_asks_ever_more_seldom_while_nothing_changes(visit: Visit, client: Client) -> None:
    task = client.task(photo(1))
    asked: list[tuple[float, str | None, int]] = []

    def is_of_task(response: Any) -> bool:
        return f"/api/v1/tasks/{task}?" in response.url

    def note(response: Any) -> None:
        if is_of_task(response):
            times = response.request.timing
            asked.append((times["startTime"], response.request.headers.get("if-none-match"), response.status))

    visit.page.on("response", note)
    page = visit.open(f"/tasks/{task}")
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    while len(asked) < 4:
        page.wait_for_event("response", is_of_task)
    assert [status for _, _, status in asked] == [200, 304, 304, 304]
    assert all(tag for _, tag, _ in asked[1:])
    pauses = [after[0] - before[0] for before, after in pairwise(asked)]
    assert pauses[0] > 450
    assert pauses[-1] > 1.3 * pauses[0] or pauses[-1] > 4500, pauses
    assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    visit.check()


def test_the_page_has_the_service_wait_while_a_task_is_processed_and_asks_for_changes_alone(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.latency = 6.0
    task = client.task(photo(1), photo(2))
    client.start(task)
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url) if f"{task}?" in request.url else None)
    page = visit.open(f"/tasks/{task}")
    expect(page.locator(".head .status.completed")).to_be_visible(timeout=30_000)
    expect(page.locator(".grid [data-image], .grid li, .grid button").first).to_be_visible()
    assert "since=0&wait=0" in asked[0]
    assert all(re.search(r"since=[1-9]\d*&wait=20$", address) for address in asked[1:]), asked
    assert len(asked) <= 5, asked
    visit.check()


def test_russian_by_the_browsers_wish_or_by_the_switch(
    visit: Visit, browser: Browser, shared_service: Service, client: Client
) -> None:
    task = client.run(photo(1), photo(2))["id"]
    page = visit.open(f"/tasks/{task}")
    page.get_by_role("button", name="Русский").click()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    expect(page.locator(".head .status.completed")).to_have_text("Завершено")
    page.reload()
    expect(page.get_by_role("link", name="Все задания")).to_be_visible()
    check_accessible(page)
    visit.check()
    with visiting(browser, shared_service, locale="ru-RU", viewport=PHONE) as russian:
        expect(russian.open().get_by_role("heading", level=1)).to_have_text("Найдите лица на своих фото")
        expect(russian.page.locator(".tasks .facts").first).to_contain_text("2 фото")
        check_accessible(russian.page)
        russian.check()


def test_in_russian_the_page_says_in_its_own_words_what_kind_of_fault_the_services_sentence_tells_of(
    browser: Browser, shared_service: Service, shared_emulator: EmulatorServer
) -> None:
    poor = photo(31)
    mood = Mood(name="status", status=422, message="Too dark", sha256=hashlib.sha256(poor).hexdigest())
    shared_emulator.emulator.script.set([mood])
    with visiting(browser, shared_service, locale="ru-RU", viewport=PHONE) as visit:
        page = visit.open()
        page.set_input_files("input[accept]", picked(photo(30), poor, b"no photo", photo(2) + bytes(300_000)))
        failed = page.get_by_role("region", name="1 фото не удалось обработать")
        expect(failed).to_contain_text("FaceCloud не принял это фото.")
        expect(failed).not_to_contain_text("FaceCloud answered")
        refused = page.get_by_role("region", name="2 файла не приняты").get_by_role("listitem")
        expect(refused.filter(has_text="3.jpg")).to_have_text("3.jpg: Это не фото принимаемого типа.")
        expect(page.locator("main [lang=en]")).to_have_count(0)
        page.locator(".card.failed .photo").click()
        expect(page.locator("dialog .reason")).to_contain_text("FaceCloud не принял это фото.")
        check_accessible(page)
        visit.check(415, 422)


def test_the_page_says_why_photos_are_tried_again(
    visit: Visit, client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.script.set([Mood(name="status", status=503, message="Busy")])
    task = client.task(photo(40))
    client.start(task)
    page = visit.open(f"/tasks/{task}")
    working = page.get_by_role("region", name="Finding faces")
    expect(working).to_contain_text("Some photos are being retried. FaceCloud answered 503: Busy.")
    page.locator(".photo").click()
    expect(page.locator("dialog .panel")).to_contain_text("FaceCloud answered 503: Busy.")
    shared_emulator.emulator.script.set([])
    expect(page.locator("dialog .people")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".head .status.completed")).to_be_visible()
    visit.check()


def test_on_a_phone_nothing_is_cut_off_and_everything_can_be_touched(visit: Visit, client: Client) -> None:
    tasks = [client.task(photo(1)), client.run(photo(1), photo(2), photo(3))["id"]]
    visit.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in ("/tasks", *(f"/tasks/{task}" for task in tasks)):
        page = visit.open(path)
        page.wait_for_selector(".status")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        boxes = [(thing.inner_text(), thing.bounding_box()) for thing in page.locator("button, a, .check").all()]
        small = [text for text, box in boxes if box and (box["height"] < 44 or box["width"] < 44) and box["y"] >= 0]
        assert small == []
    page.locator(".photo").first.click()
    check_accessible(page)
    visit.check()
