"""A real browser for tests: headless Chromium, and what no page may do in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support import Service

PATIENCE = 20_000  # milliseconds, for a busy machine
expect.set_options(timeout=PATIENCE)

# A colour half-way from light to dark has no contrast with anything; what turns for ever may go on.
SETTLED = """() => document.getAnimations().every(
  animation => animation.effect.getTiming().iterations === Infinity || animation.playState === "finished"
)"""
# The first is Chromium without what is for a screen, which takes half the CPU.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# Tests run as root in containers too, where Chromium's own sandbox cannot; and nothing may go out to the network.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A microphone that beeps, and no question whether it may be heard.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def chromium_path() -> str:
    """Return where the browser of this machine is; skip the test if there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        assert not os.environ.get("CI"), "Chromium must be installed where CI runs"
        pytest.skip("Chromium is not installed: apt-get install chromium-headless-shell")
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give the browser of this machine. Its event loop ends with the block, so that no other test runs beside one."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


class Visit:
    """A person at the page: a window, and all that went wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.context = context
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.refusals: list[int] = []
        self.page.on("pageerror", lambda error: self.errors.append(f"{error.name}: {error.message}\n{error.stack}"))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def _said(self, message: Any) -> None:
        # Chromium itself notes each refusal of the service, which `refusals` has with its status.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.refusals.append(response.status)

    def open(self, path: str = "/tasks") -> Page:
        """Go to an address of the service and wait until the page shows something."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1")
        return self.page

    def check(self, *refusals: int) -> None:
        """Nothing went wrong in the console, nothing was fetched from elsewhere, and only this was refused."""
        assert not self.errors, self.errors
        assert not self.foreign, self.foreign
        assert set(self.refusals) <= set(refusals), self.refusals


@contextmanager
def visiting(browser: Browser, service: Service, *, url: str = "", **window: Any) -> Iterator[Visit]:
    """Give somebody who knows the password, at a window with these options of Playwright's `new_context`.

    `url` is where the service is reached, if not at its own.
    """
    context = browser.new_context(http_credentials={"username": "admin", "password": service.password}, **window)
    yield Visit(context, url or service.url)
    context.close()


def expect_photos(page: Page, number: int) -> None:
    """Wait until the task that is shown has so many photos; only those near the window are in the page."""
    expect(page.locator(".card").first).to_have_attribute("aria-setsize", str(number))


def check_accessible(page: Page) -> None:
    """Let axe look for violations that keep people out, once colours have ceased to change."""
    page.wait_for_function(SETTLED)
    found = Axe().run(page).response["violations"]
    serious = [
        (
            violation["id"],
            [node["html"][:200] + " " + node.get("failureSummary", "") for node in violation["nodes"]][:3],
        )
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert not serious, serious
