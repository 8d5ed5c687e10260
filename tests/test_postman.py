"""The Postman collection against a running service, by newman, as docs/api.md says."""

import os
import re
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
    (told,) = re.findall(r"^npx --yes newman (.*?)\n```$", (ROOT / "docs/api.md").read_text(), re.DOTALL | re.MULTILINE)
    command = f'"{newman}" {told} --env-var base_url={service.url} --color off'
    environment = {"PATH": os.environ["PATH"], "API_PASSWORD": str(service.settings["API_PASSWORD"])}
    ended = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout[-6000:]
    assert "requests" in ended.stdout
