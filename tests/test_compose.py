"""What docker-compose.yml starts, without containers: the store with its role, as the first start makes them."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml  # type: ignore[import-untyped]

from service.cli import container_secrets
from tests.conftest import MakeService
from tests.object_store import free_ports
from tests.support import BIN, ROOT, wait_for
from tests.test_renditions import borrowed, is_allowed

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture
def secrets_folder(tmp_path: Path) -> Path:
    """Give the volume of secrets as the service `setup` leaves it."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    container_secrets.main(folder, "unused")
    return folder


@pytest.fixture
def store(tmp_path: Path, secrets_folder: Path) -> Iterator[str]:
    """Give the address of the store, started with the command of the service `s3` on ports of its own."""
    port, *others = free_ports(4)
    data = tmp_path / "data"
    data.mkdir()
    replaced = {"-dir=/data": f"-dir={data}", "-s3.port=8333": f"-s3.port={port}", "-ip.bind=0.0.0.0": "-ip=127.0.0.1"}
    command = [replaced.get(part, part).replace("/secrets/", f"{secrets_folder}/") for part in command_of("s3")]
    command += [f"-{part}.port={number}" for part, number in zip(("master", "volume", "filer"), others, strict=True)]
    with (tmp_path / "store.log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "weed", "-logtostderr=true", *command],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: is_up(f"{url}/healthz"), 30, "the start of the store")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def command_of(service: str) -> list[str]:
    command: list[str] = COMPOSE["services"][service]["command"]
    return command


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def test_temporary_credentials_work_out_of_the_box(make_service: MakeService, store: str, secrets_folder: Path) -> None:
    composed = COMPOSE["services"]["web"]["environment"]
    settings = {
        "STORAGE_URL": composed["STORAGE_URL"],
        "S3_ROLE_ARN": composed["S3_ROLE_ARN"],
        "S3_ENDPOINT_URL": store,
        "AWS_ACCESS_KEY_ID": (secrets_folder / "s3_key").read_text(),
        "AWS_SECRET_ACCESS_KEY": (secrets_folder / "s3_secret").read_text(),
    }
    service = make_service(FACE_ENGINE="local", WEB_CONCURRENCY=1, **settings)
    environment = {"PATH": os.environ["PATH"], "API_PASSWORD": "unused", **settings}
    create = [BIN / "flask", "bucket", "create", "--wait", "60"]
    subprocess.run(create, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    client = service.start()
    answer = client.post("/images/credentials", json={"user_id": 1, "actions": ["read", "write"], "lifetime": 3600})
    assert answer.status_code == 201, answer.text
    given = answer.json()
    assert (given["bucket"], given["prefix"]) == ("media", "images/user/1/")
    lent = borrowed(given)
    assert is_allowed(lent.put_object, Bucket="media", Key="images/user/1/note", Body=b"x")
    assert is_allowed(lent.get_object, Bucket="media", Key="images/user/1/note")
    assert is_allowed(lent.list_objects_v2, Bucket="media", Prefix="images/user/1/")
    assert not is_allowed(lent.put_object, Bucket="media", Key="images/user/2/note", Body=b"x")
    assert not is_allowed(lent.get_object, Bucket="media", Key="tasks/note")
    assert not is_allowed(lent.delete_object, Bucket="media", Key="images/user/1/note")


def test_the_documented_command_for_psql_names_the_database_of_the_composition() -> None:
    database = COMPOSE["services"]["postgres"]["environment"]
    documented = (ROOT / "docs" / "deployment.md").read_text()
    found = re.search(r"docker compose exec postgres psql --username (\w+) --dbname (\w+)", documented)
    assert found and list(found.groups()) == [database["POSTGRES_USER"], database["POSTGRES_DB"]]
