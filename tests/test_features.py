"""A feature is one value, and nothing of it can be forgotten; docs/howto/add-a-feature.md is tried as it is written."""

import hashlib
import io
import os
import pkgutil
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest
import requests

import service.features
from service.features.catalogue import FEATURES
from service.features.feature import Feature, Lane, merged
from service.http.services import provided
from service.maintenance.checks import Inventory
from service.storage.storage import Storage
from tests.support import ROOT, Client, Service, application, run_program, wait_for

RECIPE = (ROOT / "docs" / "howto" / "add-a-feature.md").read_text("utf-8")
COPIED = ("service", "wsgi.py", "gunicorn.conf.py", "pyproject.toml", "devtools")
CATALOGUE = "service/features/catalogue.py"


def package_of(feature: Feature) -> str:
    return feature.make.__module__.split(".")[2]


def test_every_package_of_features_is_in_the_catalogue() -> None:
    packages = {found.name for found in pkgutil.iter_modules(service.features.__path__) if found.ispkg}
    assert {package_of(feature) for feature in FEATURES} == packages


def test_a_feature_cannot_leave_out_its_keys_or_its_checks() -> None:
    required = {field.name for field in fields(Feature) if field.default is field.default_factory is MISSING}
    assert required == {"tags", "make", "known_keys", "checks"}


@pytest.mark.parametrize("feature", FEATURES, ids=package_of)
def test_a_feature_with_files_tells_which_rows_have_one(feature: Feature) -> None:
    assert bool(feature.checks.files) == bool(feature.known_keys)
    assert all(prefix.endswith("/") for prefix in feature.known_keys)
    assert set(feature.shared_folders) <= set(feature.known_keys)


@pytest.mark.parametrize("feature", FEATURES, ids=package_of)
def test_a_feature_with_jobs_checks_that_none_of_them_is_missing(feature: Feature, tmp_path: Path) -> None:
    with application(tmp_path) as app:
        operations = provided(Inventory, app).operations.values()
    package = f"service.features.{package_of(feature)}."
    kinds = {operation.kind for operation in operations if type(operation).__module__.startswith(package)}
    values = [value for check in feature.checks.checks for value in check.wrong.compile().params.values()]
    assert not kinds or kinds & {value for value in values if isinstance(value, str)}


def test_no_two_features_have_a_kind_of_job_or_a_prefix_in_common(tmp_path: Path) -> None:
    prefixes = [prefix for feature in FEATURES for prefix in feature.known_keys]
    assert not [(one, other) for one in prefixes for other in prefixes if one is not other and one.startswith(other)]
    with application(tmp_path) as app:
        assert sorted(provided(Inventory, app).known_keys) == sorted(prefixes)


def test_lanes_of_one_name_are_one_and_must_agree() -> None:
    first, second = Lane(name="a", operations=(), threads=1), Lane(name="b", operations=(), threads=1)
    assert merged([first, second, first]) == [first, second]
    with pytest.raises(ValueError, match="the lane a is declared in two ways"):
        merged([first, replace(first, threads=2)])


def test_a_file_below_no_features_prefix_cannot_be_saved(tmp_path: Path) -> None:
    with application(tmp_path) as app:
        with pytest.raises(ValueError, match=r"no feature knows files at 'forgotten/a'"):
            provided(Storage, app).save("forgotten/a", io.BytesIO(b"x"))
        for prefix in provided(Inventory, app).known_keys:
            assert provided(Storage, app).save(f"{prefix}a/b", io.BytesIO(b"x")) == 1


class Copy:
    """A copy of the project, to which the feature of the recipe was added as the recipe says."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        unneeded = shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.root / name, ignore=unneeded)
            else:
                shutil.copy(ROOT / name, self.root / name)
        self.service = Service(folder, root=self.root, FACE_ENGINE="local", WEB_CONCURRENCY=1)

    def follow(self) -> None:
        """Write the files of the recipe, its line of the catalogue and its migration."""
        written = re.findall(r"^`(service/\S+\.py)`\n\n```python\n(.*?)^```$", RECIPE, re.DOTALL | re.MULTILINE)
        for name, text in written:
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).write_text(text, "utf-8")
        catalogue = (self.root / CATALOGUE).read_text("utf-8")
        line = "from service.features.checksums.feature import CHECKSUMS\n\nFEATURES = (CHECKSUMS, "
        (self.root / CATALOGUE).write_text(catalogue.replace("\nFEATURES = (", line), "utf-8")
        for command in re.findall(r"^flask (.+)$", RECIPE, re.MULTILINE):
            found = self.run("flask", *re.findall(r'"[^"]*"|\S+', command.replace('"', "")))
            assert found.returncode == 0, found.stderr

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, with the settings of its service."""
        return run_program(command, *arguments, root=self.root, **self.service.settings)

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.service.folder / "service.db")) as database, database:
            database.execute(statement)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    copy = Copy(tmp_path_factory.mktemp("recipe"))
    copy.follow()
    yield copy
    copy.service.kill()


@pytest.fixture(scope="module")
def client(copy: Copy) -> Client:
    return copy.service.start()


def ended(client: Client, content: bytes) -> dict[str, Any]:
    """Upload a file and wait for its checksum."""
    answer = client.post("/api/checksums", files={"file": ("a", content)})
    assert answer.status_code == 202, answer.text
    path = f"/api/checksums/{answer.json()['id']}"
    wait_for(lambda: client.get(path).json()["status"] != "pending", 30, "the checksum")
    shown: dict[str, Any] = client.get(path).json()
    return shown


def test_the_recipes_feature_takes_files_and_runs_its_jobs(client: Client) -> None:
    shown = ended(client, b"content")
    assert (shown["status"], shown["sha256"]) == ("done", hashlib.sha256(b"content").hexdigest())
    assert client.get("/api/checksums/none").status_code == 404
    assert requests.get(f"{client.url}/api/checksums/{shown['id']}", timeout=60).status_code == 401


def test_the_recipes_feature_is_in_the_document(copy: Copy, client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"post"} == set(document["paths"]["/api/checksums"])
    (parameter,) = document["paths"]["/api/checksums/{checksum_id}"]["get"]["parameters"]
    assert parameter["description"] == "The checksum's id."
    assert {"name": "checksums", "description": "Files, and their SHA-256."} in document["tags"]


def test_the_recipes_feature_is_swept_and_examined(copy: Copy, client: Client) -> None:
    shown = ended(client, b"more")
    copy.service.stop()
    orphan = copy.service.files / "checksums" / "orphan"
    orphan.write_bytes(b"x")
    os.utime(orphan, (time.time() - 7200,) * 2)
    assert "File checksums/orphan belongs to no row.\n" in copy.run("flask", "doctor").stdout
    copy.service.start()
    wait_for(lambda: not orphan.exists(), 30, "the sweep")
    copy.service.stop()
    assert copy.run("flask", "doctor").returncode == 0
    copy.execute(f"UPDATE checksum SET status = 'pending' WHERE id = '{shown['id']}'")
    (copy.service.files / "checksums" / shown["id"]).unlink()
    found = copy.run("flask", "doctor").stdout
    assert f"Checksum {shown['id']} is pending, and no job will compute it.\n" in found
    assert f"The file of checksum {shown['id']} is not in the store: put it back from a backup.\n" in found


def test_the_contracts_hold_for_the_recipes_feature_and_refuse_it_where_it_imports_another(copy: Copy) -> None:
    kept = copy.run("lint-imports", "--no-cache")
    assert kept.returncode == 0, kept.stdout
    job = copy.root / "service" / "features" / "checksums" / "job.py"
    text = job.read_text("utf-8")
    job.write_text(f"import service.features.checksums.routes\nimport service.features.faces.models\n{text}", "utf-8")
    broken = copy.run("lint-imports", "--no-cache").stdout
    job.write_text(text, "utf-8")
    assert {
        "No feature imports another",
        "Every feature has the same shape",
        "Operations and jobs know no web framework and no client library",
    } <= set(re.findall(r"^(.+) BROKEN", broken, re.MULTILINE))
