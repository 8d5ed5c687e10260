"""What the start of a server imports: each of these packages takes a tenth of its time, or more."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT

PROGRAM = """
import gc, json, sys
import wsgi
print(json.dumps({"loaded": sorted(sys.modules), "collects": gc.isenabled(), "frozen": gc.get_freeze_count()}))
"""
UNNEEDED = {
    *("alembic", "boto3", "celery", "numpy", "onnxruntime", "pyvips"),
    *("email_validator", "pydantic_settings", "requests", "sqlalchemy.dialects.postgresql"),
}


@pytest.mark.parametrize(
    "account",
    [{}, {"FACECLOUD_EMAIL": "developer@example.com", "FACECLOUD_PASSWORD": "any"}],
    ids=["embedded engine", "FaceCloud"],
)
def test_a_start_imports_nothing_that_it_does_not_use_and_garbage_is_collected_after_it(
    account: dict[str, str],
) -> None:
    environment = {"API_PASSWORD": "unused, as nobody asks", **account}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(ended.stdout)
    assert UNNEEDED.isdisjoint(found["loaded"])
    assert found["collects"]
    assert found["frozen"] > 100_000
