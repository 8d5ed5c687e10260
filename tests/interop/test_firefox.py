"""The page in Firefox: Playwright's tests drive Chromium, since Playwright starts only a Firefox of its own."""

import json
import subprocess

from tests.conftest import MakeService
from tests.support import ROOT


def test_a_photo_is_sent_and_shown_and_each_view_opens_in_firefox(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="local")
    service.start()
    script = ROOT / "tests" / "interop" / "firefox.mjs"
    arguments = [service.url, str(service.settings["API_PASSWORD"]), ROOT / "samples" / "group.jpg"]
    done = subprocess.run(
        ["node", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
