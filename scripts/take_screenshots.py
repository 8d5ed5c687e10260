"""Takes the screenshots in docs/images of the page, with the sample photos: `python -m scripts.take_screenshots`."""

import hashlib
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.local import LocalEngine
from service.imaging.decode import to_jpeg
from service.imaging.pixel_budget import PixelBudget
from tests.browser import chromium
from tests.conftest import facecloud
from tests.support import Client, Service, flask, wait_for

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
IMAGES = ROOT / "docs" / "images"
PHOTOS = ("group.jpg", "astronaut.png", "grace_hopper.jpg", "landscape.png")
WIDE = ViewportSize(width=1280, height=1000)
MOST_PIXELS = 50_000_000
NARROW = ViewportSize(width=390, height=844)


def main() -> None:
    """Start a service, fill it, and take every view wide and narrow, light and dark."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, EmulatorServer(Emulator(engine=LocalEngine())) as emulator:
        flask(f"sqlite:///{folder}/service.db", "database", "upgrade")
        service = Service(Path(folder), **facecloud(emulator))
        client = service.start()
        try:
            views = {"tasks": "/tasks"} | fill(client, emulator) | {"tools": "/tools"}
            with chromium() as browser:
                for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
                    for scheme in ("light", "dark"):
                        take(browser, service, views, size, viewport, scheme)
        finally:
            service.kill()


def fill(client: Client, emulator: EmulatorServer) -> dict[str, str]:
    """Make a task that has failures, one that is whole and one that waits; return the addresses of the first two."""
    photos = [(name, (SAMPLES / name).read_bytes()) for name in PHOTOS]
    sent, _ = to_jpeg(dict(photos)["grace_hopper.jpg"], MOST_PIXELS, PixelBudget())  # without its metadata
    fails = hashlib.sha256(sent).hexdigest()
    emulator.emulator.script.set([Mood(name="status", status=422, message="The picture is too noisy", sha256=fails)])
    failed = run(client, "Archive, box 7", photos)
    emulator.emulator.script.set([])
    whole = run(client, "Hall of fame", photos)
    client.task(photos[0][1], name="For later")
    return {"failed": f"/tasks/{failed}", "task": f"/tasks/{whole}", "photo": f"/tasks/{whole}"}


def run(client: Client, name: str, photos: list[tuple[str, bytes]]) -> str:
    """Run a task with these photos to its end, and return its id."""
    task = client.task(name=name)
    parts = [("image", photo) for photo in photos]
    client.post(f"/api/v1/tasks/{task}/images", files=parts).raise_for_status()
    client.start(task)
    client.ended(task, 60)
    return task


def take(
    browser: Browser, service: Service, views: dict[str, str], size: str, viewport: ViewportSize, scheme: str
) -> None:
    """Take all views in one size and scheme; the large view of a photo is always dark."""
    context = browser.new_context(
        http_credentials={"username": "admin", "password": service.password},
        viewport=viewport,
        color_scheme="light" if scheme == "light" else "dark",
        has_touch=size == "narrow",
        is_mobile=size == "narrow",
    )
    page = context.new_page()
    for view, path in views.items():
        if view == "photo" and scheme == "light":
            continue
        page.goto(service.url + path)
        page.wait_for_selector({"tasks": ".tasks li:nth-child(3) .preview img", "tools": ".tool"}.get(view, ".card"))
        if view == "tools":
            try_tools(page)
        if view == "photo":
            page.locator(".photo").first.click()
            page.wait_for_selector(".viewer .frame img:only-of-type")
        wait_for_pictures(page)
        page.screenshot(path=IMAGES / f"{view}-{size}-{scheme}.jpg", type="jpeg", quality=80, animations="disabled")
    context.close()


def try_tools(page: Page) -> None:
    """Put a photo into the cards of edits and renditions, and ask for questions."""
    for card, result in (("edits", ".shots"), ("renditions", "table")):
        page.locator(f"#{card} input[type=file]").set_input_files(SAMPLES / "astronaut.png")
        page.wait_for_selector(f"#{card} {result}")
    page.locator("#questions .primary").click()
    page.wait_for_selector("#questions .quiz")
    page.evaluate("scrollTo(0, 0)")


def wait_for_pictures(page: Page) -> None:
    """Wait until all that is in view has been loaded. The page forbids `eval`, so Playwright's own waiting cannot."""
    wait_for(
        lambda: page.evaluate(
            "[...document.images].filter((image) => image.getBoundingClientRect().top < innerHeight)"
            ".every((image) => image.complete && image.naturalWidth)"
        ),
        what="the pictures in view",
    )


if __name__ == "__main__":
    sys.exit(main())
