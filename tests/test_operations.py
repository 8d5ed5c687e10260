"""What docs/operations.md tells operators to do, done: back up while the service works, restore, upgrade, watch."""

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from alembic import command
from sqlalchemy.engine import make_url

from devtools.facecloud_emulator.server import EmulatorServer
from service.cli.database import alembic_config
from service.runtime_folder import RuntimeFolder
from service.telemetry.metrics import Metrics
from tests.conftest import MakeService, facecloud
from tests.object_store import ObjectStore
from tests.postgresql import PostgreSQLServer
from tests.support import ROOT, Client, Service, photo, wait_for
from tests.test_commands import run
from tests.test_database import stored
from tests.test_processes import check_complete, done

OPERATIONS = ROOT / "docs" / "operations.md"


def contents(client: Client, task: str) -> list[bytes]:
    """Return the originals of a task."""
    images = client.show(task)["images"]
    return [client.get(f"/api/v1/tasks/{task}/images/{image['id']}/content").content for image in images]


def copy_folder(source: Path, target: Path) -> None:
    """Do as `rsync --archive SOURCE/ TARGET` does: add what is new, delete nothing."""
    for path in source.rglob("*"):
        copied = target / path.relative_to(source)
        if path.is_file() and not copied.exists():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)


def work_through(service: Service, emulator: EmulatorServer) -> tuple[Client, str, str, str, list[bytes]]:
    """Start a service and have a task that is done, one that is under way and one that forms."""
    client = service.start()
    completed = client.run(photo(1), photo(2))["id"]
    forming = client.task(photo(3))
    emulator.emulator.latency = 0.3
    images = [photo(number) for number in range(10, 210)]
    processing = client.task(*images)
    client.start(processing)
    wait_for(lambda: done(client, processing) >= 8, what="8 images done")
    return client, completed, forming, processing, images


def check_restored(
    client: Client, before: dict[str, object], forming: str, processing: str, images: list[bytes]
) -> None:
    """Everything is there, and what was under way goes on."""
    completed = str(before["id"])
    assert client.show(completed) == before
    assert contents(client, completed) == [photo(1), photo(2)]
    assert contents(client, forming) == [photo(3)]
    check_complete(client.ended(processing, 60), images)
    assert contents(client, processing) == images
    assert client.start(forming).status_code == 202
    assert client.ended(forming)["status"] == "completed"


def test_a_backup_made_under_load_restores_into_an_empty_installation(
    make_service: MakeService, emulator: EmulatorServer, tmp_path: Path
) -> None:
    service = make_service(**facecloud(emulator, WORKERS=2, WEB_CONCURRENCY=1))
    client, completed, forming, processing, images = work_through(service, emulator)
    before = client.show(completed)
    safe = tmp_path / "safe"
    safe.mkdir()

    copy_folder(service.files, safe / "files")
    deleted = client.run(photo(4))["id"]
    copied = run(service.settings, "database", "backup", safe / "service.db")
    assert copied.returncode == 0, copied.stderr
    assert client.show(processing)["status"] == "processing", "the backup was made under load"
    assert [path.name for path in safe.glob("*.db*")] == ["service.db"]
    with closing(sqlite3.connect(safe / "service.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    client.delete(f"/api/v1/tasks/{deleted}")  # between the two: its row is in the copy, its file is not
    copy_folder(service.files, safe / "files")
    service.kill()

    refused = run(service.settings, "database", "backup", safe / "service.db")
    assert refused.returncode == 1
    assert "is there already" in refused.stderr
    emulator.emulator.latency = 0.0
    restored = make_service(**facecloud(emulator))
    for path in restored.folder.glob("service.db*"):
        path.unlink()
    shutil.copy(safe / "service.db", restored.folder / "service.db")
    shutil.copytree(safe / "files", restored.files)
    client = restored.start()
    check_restored(client, before, forming, processing, images)
    (image,) = client.show(deleted)["images"]
    assert client.get(f"/api/v1/tasks/{deleted}/images/{image['id']}/content").status_code == 404
    assert client.delete(f"/api/v1/tasks/{deleted}").status_code == 204


def test_postgresql_and_a_bucket_are_backed_up_and_restored_with_their_own_tools(
    make_service: MakeService,
    emulator: EmulatorServer,
    postgresql: PostgreSQLServer,
    object_store: ObjectStore,
    tmp_path: Path,
) -> None:
    bucket, copy, other = (object_store.bucket() for _ in range(3))
    there = facecloud(emulator, WORKERS=2, WEB_CONCURRENCY=1, **object_store.settings(bucket))
    service = make_service(**(there | {"DATABASE_URL": postgresql.new_database()}))
    client, completed, forming, processing, images = work_through(service, emulator)
    before = client.show(completed)

    copy_bucket(object_store, bucket, copy)
    dump = tmp_path / "service.dump"
    use(postgresql, "pg_dump", "--format=custom", f"--file={dump}", url=str(service.settings["DATABASE_URL"]))
    assert client.show(processing)["status"] == "processing", "the backup was made under load"
    copy_bucket(object_store, bucket, copy)
    told = run(service.settings, "database", "backup", tmp_path / "none")
    assert (told.returncode, "pg_dump" in told.stderr) == (1, True)
    service.kill()

    emulator.emulator.latency = 0.0
    empty = postgresql.new_database(template="template0")
    use(postgresql, "pg_restore", "--no-owner", "--exit-on-error", str(dump), url=empty, name="--dbname")
    copy_bucket(object_store, copy, other)
    settings = facecloud(emulator, **object_store.settings(other))
    restored = make_service(**(settings | {"DATABASE_URL": empty}))
    check_restored(restored.start(), before, forming, processing, images)


def use(server: PostgreSQLServer, program: str, *arguments: str, url: str, name: str = "--dbname") -> None:
    """Run one of PostgreSQL's own programs on a database."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        [server.programs / program, f"{name}={address}", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def copy_bucket(store: ObjectStore, source: str, target: str) -> None:
    """Do as `aws s3 sync` does: copy the keys that are not there yet, delete nothing."""
    client = store.client()
    for key in set(store.keys_of(source)) - set(store.keys_of(target)):
        client.copy_object(Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key})


def test_a_copy_that_fails_is_said_in_a_sentence_and_leaves_nothing(make_service: MakeService, tmp_path: Path) -> None:
    service = make_service()
    nowhere = tmp_path / "nowhere" / "copy.db"
    ended = run(service.settings, "database", "backup", nowhere)
    assert ended.returncode == 1
    assert f"There is no folder {nowhere.parent}" in ended.stderr
    broken = service.folder / "service.db"
    broken.write_bytes(broken.read_bytes()[:4096] + bytes(200_000))
    ended = run(service.settings, "database", "backup", tmp_path / "copy.db")
    assert ended.returncode == 1
    assert not list(tmp_path.glob("*copy.db*"))


def test_an_upgrade_from_the_release_before_keeps_what_was_there(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1))
    client = service.start()
    before = client.run(photo(1), photo(2))
    service.stop()
    url = str(service.settings["DATABASE_URL"])
    command.downgrade(alembic_config(url), "-1")
    old = stored(url)
    ended = run(service.settings, "database", "upgrade")
    assert ended.returncode == 0, ended.stderr
    new = stored(url)
    assert {column: new[column] for column in old} == old
    client = service.start()
    assert client.show(before["id"]) == before
    assert contents(client, before["id"]) == [photo(1), photo(2)]


def test_every_metric_that_operators_are_to_watch_is_there(tmp_path: Path) -> None:
    watching = OPERATIONS.read_text("utf-8").partition("## Monitoring")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z_]+)|`([a-z_]+_(?:total|seconds))\b", watching, re.MULTILINE)
    names = {name for pair in named for name in pair if name}
    assert len(names) >= 8
    assert names - metrics_of(tmp_path) == set()


def metrics_of(folder: Path) -> set[str]:
    text = Metrics(RuntimeFolder(str(folder), "", folder, "unused")).text([]).decode()
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


def test_alert_rules_and_the_board_ask_for_metrics_that_are_there(tmp_path: Path) -> None:
    monitoring = OPERATIONS.parent / "monitoring"
    (group,) = yaml.safe_load((monitoring / "alerts.yml").read_text("utf-8"))["groups"]
    assert {"HeadcountDatabaseDown", "HeadcountServerErrors"} <= {rule["alert"] for rule in group["rules"]}
    board = json.loads((monitoring / "grafana.json").read_text("utf-8"))
    asked = [rule["expr"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    known = metrics_of(tmp_path) | {"up"}
    for expression in asked:
        bare = re.sub(r"\{[^{}]*(?:\{\w+\}[^{}]*)?\}|\[\w+\]|by \([^)]*\)", "", expression)
        names = {re.sub("_bucket$", "", name) for name in re.findall(r"[a-z]\w+(?!\w*\s*\()", bare)}
        assert names, expression
        assert names <= known, expression
