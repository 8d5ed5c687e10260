"""What docker-compose.yml starts, without containers: the store with its role, as the first start makes them."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml  # type: ignore[import-untyped]

from service.cli import container_secrets
from tests.conftest import MakeService
from tests.object_store import free_ports
from tests.support import BIN, ROOT, Service, free_port, photo, wait_for
from tests.test_renditions import borrowed, is_allowed


@dataclass
class Store:
    """The address of the store, and the port of its filer."""

    url: str
    filer: int


COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture
def secrets_folder(tmp_path: Path) -> Path:
    """Give the volume of secrets as the service `setup` leaves it."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for container in container_secrets.NEEDED:
        (tmp_path / "handed out" / container).mkdir(parents=True)
    container_secrets.main(folder, "unused", tmp_path / "handed out")
    return folder


@pytest.fixture
def store(tmp_path: Path, secrets_folder: Path) -> Iterator[Store]:
    """Give the store, started with the command of the service `s3` on ports of its own."""
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
        yield Store(url, others[2])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def command_of(service: str) -> list[str]:
    command: list[str] = COMPOSE["services"][service]["command"]
    return command


def composed(make_service: MakeService, store: Store, secrets_folder: Path, **more: str) -> Service:
    """Return a service with the store's settings of the composition, after it has made its bucket."""
    given = COMPOSE["services"]["web"]["environment"]
    settings = {
        "STORAGE_URL": given["STORAGE_URL"],
        "S3_ROLE_ARN": given["S3_ROLE_ARN"],
        "S3_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": (secrets_folder / "s3_key").read_text(),
        "AWS_SECRET_ACCESS_KEY": (secrets_folder / "s3_secret").read_text(),
        **more,
    }
    environment = {"PATH": os.environ["PATH"], "API_PASSWORD": "used by nobody", **settings}
    create = [BIN / "flask", "bucket", "create", "--wait", "60"]
    subprocess.run(create, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    return make_service(FACE_ENGINE="local", WEB_CONCURRENCY=1, **settings)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code > 0
    except requests.ConnectionError:
        return False


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def test_temporary_credentials_work_out_of_the_box(
    make_service: MakeService, store: Store, secrets_folder: Path
) -> None:
    client = composed(make_service, store, secrets_folder).start()
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


@pytest.fixture
def cache(tmp_path: Path, store: Store) -> Iterator[str]:
    """Give the address of the cache in front of the bucket: nginx with the configuration of the service `cdn`."""
    port = free_port()
    text = (ROOT / "docs" / "cdn-cache.conf").read_text()
    replaced = {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "http://s3:8888": f"http://127.0.0.1:{store.filer}",
        "/var/cache/nginx/images": f"{tmp_path}/cache",
    }
    for old, new in replaced.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    head = f"{user} pid {tmp_path}/pid; daemon off; error_log {tmp_path}/nginx.log; events {{}}"
    (tmp_path / "nginx.conf").write_text(f"{head} http {{ access_log off; {places} {text} }}")
    with subprocess.Popen(["nginx", "-c", tmp_path / "nginx.conf", "-e", tmp_path / "nginx.log"]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(url), 20, "the start of nginx")
            yield url
        finally:
            process.terminate()


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_the_cache_gives_out_images_of_the_private_bucket_and_nothing_else(
    make_service: MakeService, store: Store, cache: str, secrets_folder: Path
) -> None:
    client = composed(make_service, store, secrets_folder, CDN_URL=cache).start()
    made = client.post("/images", data={"user_id": 1}, files={"image": ("cat.png", photo(1, form="PNG"))}).json()
    wait_for(lambda: client.get(f"/images/{made['id']}").json()["status"] == "done", 30, "the renditions")
    small = client.get(f"/images/{made['id']}").json()["renditions"][3]
    assert small["url"] == f"{cache}/{small['key']}"
    answers = [requests.get(small["url"], timeout=10) for _ in range(2)]
    assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "HIT"]
    for answer in answers:
        assert (answer.status_code, len(answer.content)) == (200, small["size"])
        assert answer.headers["Content-Type"] == "image/webp"
    assert requests.get(f"{store.url}/media/{small['key']}", timeout=10).status_code == 403
    task = client.task(photo(2))
    shown = client.get(f"/api/v1/tasks/{task}").json()["images"][0]["id"]
    for path in (
        f"tasks/{task}/{shown}",
        "",
        "images/",
        f"images/../tasks/{task}/{shown}",
        f"images/user/1/{made['id']}/",
    ):
        assert requests.get(f"{cache}/{path}", timeout=10).status_code == 404
    for method in ("PUT", "POST", "DELETE"):
        assert requests.request(method, small["url"], timeout=10).status_code == 403


def test_each_container_mounts_the_secrets_that_it_needs_and_no_others(secrets_folder: Path) -> None:
    named = {"service": ("web", "worker"), "postgres": ("postgres",), "redis": ("redis",), "s3": ("s3",)}
    handed_out = secrets_folder.parent / "handed out"
    for container, services in named.items():
        for service in services:
            mounted = [one for one in COMPOSE["services"][service].get("volumes", ()) if ":/secrets" in one]
            assert mounted == [f"{container}-secrets:/secrets:ro"]
        used = set(re.findall(r"/secrets/([\w.]+)", str([COMPOSE["services"][service] for service in services])))
        assert {path.name for path in (handed_out / container).iterdir()} == used
    assert COMPOSE["services"]["facecloud"]["volumes"] == []
    assert "redis_password" in str(COMPOSE["services"]["redis"]["command"])
    password = (handed_out / "redis" / "redis_password").read_text()
    assert (handed_out / "service" / "broker_url").read_text() == f"redis://:{password}@redis:6379/0"


def test_secrets_stay_when_they_are_made_up_again(secrets_folder: Path) -> None:
    before = {path.name: path.read_text() for path in secrets_folder.iterdir()}
    container_secrets.main(secrets_folder, "", secrets_folder.parent / "handed out")
    assert {path.name: path.read_text() for path in secrets_folder.iterdir()} == before


def test_the_documented_command_for_psql_names_the_database_of_the_composition() -> None:
    database = COMPOSE["services"]["postgres"]["environment"]
    documented = (ROOT / "docs" / "deployment.md").read_text()
    found = re.search(r"docker compose exec postgres psql --username (\w+) --dbname (\w+)", documented)
    assert found and list(found.groups()) == [database["POSTGRES_USER"], database["POSTGRES_DB"]]
