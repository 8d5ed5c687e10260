"""The settings: everything wrong is told at once, and secrets are not shown."""

import os
import shutil
import tempfile
from base64 import b64encode
from pathlib import Path

import pytest

from service.config import BadSettings, Settings
from tests.support import run_program


def test_defaults_need_only_a_password() -> None:
    settings = Settings.from_env({"API_PASSWORD": "something", "PORT": "", "LOG_LEVEL": "  "})
    assert (settings.api_username, settings.port, settings.web_concurrency) == ("admin", 8000, 2)
    assert settings.engine == "local"


def test_celery_needs_a_broker_and_its_address_is_not_shown() -> None:
    with pytest.raises(BadSettings, match="BROKER_URL must be set"):
        Settings.from_env({"API_PASSWORD": "long enough", "EXECUTOR": "celery"})
    settings = Settings.from_env(
        {"API_PASSWORD": "long enough", "EXECUTOR": "celery", "BROKER_URL": "redis://:hidden@host:6379/1"}
    )
    assert not settings.server_works
    assert "hidden" not in repr(settings)


def test_an_account_chooses_facecloud() -> None:
    account = {"API_PASSWORD": "long enough", "FACECLOUD_EMAIL": "a@example.com", "FACECLOUD_PASSWORD": "y"}
    assert Settings.from_env(account).engine == "facecloud"
    assert Settings.from_env(account | {"FACE_ENGINE": "local"}).engine == "local"


def test_an_engine_of_another_package_is_told_apart_from_one_that_cannot_be_used() -> None:
    def fault(name: str) -> str:
        with pytest.raises(BadSettings) as error:
            Settings.from_env({"API_PASSWORD": "long enough", "FACE_ENGINE": name})
        (sentence,) = str(error.value).splitlines()
        return sentence

    known = "service.features.faces.engines.local:LocalEngine"
    assert Settings.from_env({"API_PASSWORD": "long enough", "FACE_ENGINE": known}).engine == known
    missing = fault("no_such_package.engines:Engine")
    assert missing.startswith("FACE_ENGINE is no_such_package.engines:Engine, which cannot be imported: ")
    assert "No module named 'no_such_package'" in missing
    assert "has no attribute 'Engine'" in fault("service.config:Engine")
    assert "which has no method `detect`" in fault("service.config:Settings")
    assert "nor an entry point of headcount.engines" in fault("magic")


def test_webhooks_need_a_secret_of_some_length_and_a_plain_yes_or_no() -> None:
    def fault(**given: str) -> str:
        with pytest.raises(BadSettings) as error:
            Settings.from_env({"API_PASSWORD": "long enough", **given})
        return str(error.value)

    long = b64encode(bytes(24)).decode()
    assert Settings.from_env(
        {"API_PASSWORD": "long enough", "WEBHOOK_SECRET": f"whsec_{long}"}
    ).webhook_secret.endswith(long)
    for secret in (long, "whsec_", "whsec_short", f"whsec_{long}!"):
        assert "WEBHOOK_SECRET must be whsec_" in fault(WEBHOOK_SECRET=secret)
    assert Settings.from_env({"API_PASSWORD": "long enough", "WEBHOOK_ALLOW_PRIVATE": "TRUE"}).webhook_allow_private
    assert not Settings.from_env(
        {"API_PASSWORD": "long enough", "WEBHOOK_ALLOW_PRIVATE": "false"}
    ).webhook_allow_private
    assert "must be true or false" in fault(WEBHOOK_ALLOW_PRIVATE="perhaps")


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
        "CONTENT_DELIVERY": "pigeon",
        "EXECUTOR": "magic",
        "BROKER_URL": "http://localhost",
        "S3_ENDPOINT_URL": "nowhere",
        "AWS_ACCESS_KEY_ID": "alone",
        "LOG_LEVEL": "LOUD",
    }
    with pytest.raises(BadSettings) as caught:
        Settings.from_env(faulty)
    for name in ("API_PASSWORD", "FACECLOUD_PASSWORD", *faulty):
        assert name in str(caught.value)


def test_a_setting_can_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\n")
    assert Settings.from_env({"API_PASSWORD_FILE": str(file), "API_PASSWORD": ""}).api_password == "from the file"
    faulty = {
        "API_PASSWORD": "long enough",
        "API_PASSWORD_FILE": str(file),
        "FACECLOUD_EMAIL_FILE": str(tmp_path / "missing"),
    }
    with pytest.raises(BadSettings) as caught:
        Settings.from_env(faulty)
    assert "API_PASSWORD and API_PASSWORD_FILE must not both be set" in str(caught.value)
    assert "FACECLOUD_EMAIL_FILE" in str(caught.value)
    assert "from the file" not in str(caught.value)


def test_secrets_are_not_in_the_settings_representation() -> None:
    account = {"API_PASSWORD": "hidden-one", "FACECLOUD_EMAIL": "a@example.com", "FACECLOUD_PASSWORD": "hidden-two"}
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hidden-three", "SECRET_KEY": "hidden-four"}
    settings = Settings.from_env(account | keys | {"AWS_SESSION_TOKEN": "hidden-five"})
    assert settings.signing_key == "hidden-four"
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("s3://media", ("media", "")),
        ("s3://media/", ("media", "")),
        ("s3://my.media-1/a/b/", ("my.media-1", "a/b")),
        ("storage/files", None),
    ],
)
def test_the_storages_address_names_a_folder_or_a_bucket(address: str, bucket: tuple[str, str] | None) -> None:
    assert Settings.from_env({"API_PASSWORD": "long enough", "STORAGE_URL": address}).bucket == bucket


@pytest.mark.parametrize("address", ["s3://", "s3://A", "s3://x", "s3:///a", "s3://media/../x", "s3://media//x"])
def test_an_address_of_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(BadSettings, match="STORAGE_URL"):
        Settings.from_env({"API_PASSWORD": "long enough", "STORAGE_URL": address})


def test_redirects_need_an_object_store() -> None:
    with pytest.raises(BadSettings, match="CONTENT_DELIVERY is redirect"):
        Settings.from_env({"API_PASSWORD": "long enough", "CONTENT_DELIVERY": "redirect"})


def test_the_signing_key_follows_from_the_password_and_is_not_the_password() -> None:
    one, two = (Settings(api_password=password) for password in ("one", "two"))
    assert one.signing_key == Settings(api_password="one").signing_key != two.signing_key
    assert "one" not in one.signing_key


def test_without_a_password_the_server_does_not_start_and_says_what_to_set() -> None:
    ended = run_program("gunicorn", API_PASSWORD="")
    assert ended.returncode != 0
    assert "API_PASSWORD is not set" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout


def refusal_to_start(database_url: str, storage: Path | None = None, *command: str) -> str:
    """Return what the server, or a command, says when it ends by itself, without having served."""
    settings: dict[str, object] = {"API_PASSWORD": "long enough", "DATABASE_URL": database_url, "PORT": 0}
    with tempfile.TemporaryDirectory() as folder:
        ended = run_program(*(command or ["gunicorn"]), STORAGE_URL=storage or f"{folder}/files", **settings)
    assert ended.returncode != 0
    return ended.stderr + ended.stdout


def test_without_tables_the_server_says_how_to_make_them(tmp_path: Path) -> None:
    assert "make migrate" in refusal_to_start(f"sqlite:///{tmp_path}/service.db")


@pytest.mark.parametrize("command", [(), ("flask", "database", "upgrade")], ids=["server", "upgrade"])
@pytest.mark.parametrize("fault", ["no database", "damaged database", "file as folder", "file as store"])
def test_a_fault_at_the_start_is_one_sentence(
    tmp_path: Path, migrated: Path, fault: str, command: tuple[str, ...]
) -> None:
    database, store = tmp_path / "service.db", tmp_path / "files"
    shutil.copy(migrated, database)
    if fault == "no database":
        database.write_bytes(b"This is a text and no database. " * 100)
    elif fault == "damaged database":
        whole = database.read_bytes()
        database.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    elif fault == "file as folder":
        (tmp_path / "folder").touch()
        database = tmp_path / "folder" / "service.db"
    else:
        store.touch()
    said = refusal_to_start(f"sqlite:///{database}", store, *command)
    assert "Traceback" not in said, said
    sentence = [line for line in said.splitlines() if line.startswith(("The ", "Error: The "))]
    assert sentence, said


def test_a_short_password_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(BadSettings, match=r"API_PASSWORD has fewer than 8 characters.*ALLOW_SHORT_PASSWORD"):
        Settings.from_env({"API_PASSWORD": "1234567"})
    assert Settings.from_env({"API_PASSWORD": "12345678"}).api_password == "12345678"
    assert Settings.from_env({"API_PASSWORD": "1", "ALLOW_SHORT_PASSWORD": "true"}).api_password == "1"
    assert Settings.from_env({"API_PASSWORD": "1"}, serving=False).api_password == "1"
