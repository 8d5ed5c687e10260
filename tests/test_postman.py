"""The Postman collection against a running service, by newman, in the order a person would click."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import MakeService
from tests.support import ROOT


def test_every_request_of_the_collection_is_answered_as_it_asserts(make_service: MakeService) -> None:
    newman = shutil.which("newman", path=f"{ROOT}/node_modules/.bin{os.pathsep}{os.environ['PATH']}")
    if not newman:
        assert not os.environ.get("CI"), "newman must be installed where CI runs"
        pytest.skip("newman is not installed: npm install --no-save newman")
    service = make_service(FACE_ENGINE="local")
    service.start()
    settings = {"base_url": service.url, "username": "admin", "password": str(service.settings["API_PASSWORD"])}
    command = [newman, "run", "postman/collection.json", "--working-dir", str(ROOT), "--color", "off"]
    for name, value in settings.items():
        command += ["--env-var", f"{name}={value}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:]
    assert "requests" in ended.stdout
