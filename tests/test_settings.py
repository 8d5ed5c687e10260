"""The settings: everything wrong is told at once, and secrets are not shown."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from service.config import BadSettings, Settings
from tests.support import BIN, ROOT


def test_defaults_need_only_a_password() -> None:
    settings = Settings.from_env({"API_PASSWORD": "something", "PORT": "", "LOG_LEVEL": "  "})
    assert (settings.api_username, settings.port, settings.web_concurrency) == ("admin", 8000, 2)
    assert settings.engine == "local"


def test_an_account_chooses_facecloud() -> None:
    account = {"API_PASSWORD": "x", "FACECLOUD_EMAIL": "a@example.com", "FACECLOUD_PASSWORD": "y"}
    assert Settings.from_env(account).engine == "facecloud"
    assert Settings.from_env(account | {"FACE_ENGINE": "local"}).engine == "local"


def test_all_faults_are_told_in_one_message() -> None:
    faulty = {
        "PORT": "many",
        "WORKERS": "-1",
        "LEASE_SECONDS": "nan",
        "FACE_ENGINE": "magic",
        "FACECLOUD_EMAIL": "a@example.com",
        "FACECLOUD_URL": "nowhere",
        "DATABASE_URL": "sqlite://",
        "STORAGE_URL": "ftp://x",
        "LOG_LEVEL": "LOUD",
    }
    with pytest.raises(BadSettings) as caught:
        Settings.from_env(faulty)
    for name in ("API_PASSWORD", "FACECLOUD_PASSWORD", *faulty):
        assert name in str(caught.value)


def test_secrets_are_not_in_the_settings_representation() -> None:
    account = {"API_PASSWORD": "hidden-one", "FACECLOUD_EMAIL": "a@example.com", "FACECLOUD_PASSWORD": "hidden-two"}
    assert "hidden" not in repr(Settings.from_env(account))


def test_without_a_password_the_server_does_not_start_and_says_what_to_set() -> None:
    environment = {"PATH": os.environ["PATH"], "API_PASSWORD": ""}
    ended = subprocess.run([BIN / "gunicorn"], cwd=ROOT, env=environment, capture_output=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert b"API_PASSWORD is not set" in ended.stderr + ended.stdout
    assert b"Traceback" not in ended.stderr + ended.stdout


def refusal_to_start(database_url: str) -> bytes:
    """Return what the server says when it ends by itself, without having served."""
    environment = {"PATH": os.environ["PATH"], "API_PASSWORD": "x", "DATABASE_URL": database_url, "PORT": "0"}
    with tempfile.TemporaryDirectory() as folder:
        environment["STORAGE_URL"] = f"{folder}/files"
        ended = subprocess.run(
            [BIN / "gunicorn"], cwd=ROOT, env=environment, capture_output=True, timeout=30, check=False
        )
    assert ended.returncode != 0
    return ended.stderr + ended.stdout


def test_without_tables_the_server_says_how_to_make_them(tmp_path: Path) -> None:
    assert b"make migrate" in refusal_to_start(f"sqlite:///{tmp_path}/service.db")
