"""`flask doctor` finds what must not be and sets right what it can; `flask jobs recover` frees what the dead held."""

import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.cli.database import newest_revision
from service.db.database import Database
from service.http.services import provided
from service.maintenance.checks import Inventory, Tally
from service.maintenance.doctor import examine, repair
from service.maintenance.orphan_files import remove_orphans
from service.storage.storage import Storage
from tests.conftest import MakeService, facecloud
from tests.support import (
    Service,
    application,
    inconsistencies,
    photo,
    run_program,
    wait_for,
    wait_until_equal,
)

ENDED, FORMING = "ended", "forming"


def run(folder: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    stores = {"DATABASE_URL": f"sqlite:///{folder}/service.db", "STORAGE_URL": folder / "files"}
    return run_program("flask", *arguments, **{"API_PASSWORD": "not-to-be-shown", **stores, **settings})


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of a service that has ended in order, with a task in each status, and their ids."""
    folder = tmp_path_factory.mktemp("used")
    shutil.copy(migrated, folder / "service.db")
    with EmulatorServer(Emulator(decode=False)) as emulator:
        service = Service(folder, **facecloud(emulator))
        client = service.start()
        ended = client.run(*(photo(number) for number in range(6)))
        emulator.emulator.script.set([Mood(name="status", status=415, nth=1)])
        failed = client.run(photo(10), photo(11))
        forming = client.task(photo(20), photo(21))
        service.stop()
    assert failed["status"] == "error"
    return folder, {"ended": ended["id"], "failed": failed["id"], "forming": forming}


@pytest.fixture
def patient(used: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give a copy of that folder, to be spoilt."""
    folder, tasks = used
    # A service that took longer to end than its grace time leaves a named pipe, which cannot be copied.
    shutil.copytree(folder, tmp_path / "patient", ignore=shutil.ignore_patterns("*.listeners"))
    yield tmp_path / "patient", tasks


def spoil(folder: Path, *statements: str, **values: str) -> None:
    with closing(sqlite3.connect(folder / "service.db")) as database, database:
        for statement in statements:
            database.execute(statement, values if ":" in statement else {})


def test_a_service_that_was_used_is_well(used: tuple[Path, dict[str, str]]) -> None:
    found = run(used[0], "doctor")
    assert (found.returncode, found.stdout, found.stderr) == (0, "All is well.\n", ""), found
    found = run(used[0], "doctor", "--verbose")
    assert (found.returncode, found.stdout) == (0, "All is well.\n"), found
    assert "API_PASSWORD=(set)\n" in found.stderr
    assert "not-to-be-shown" not in found.stdout + found.stderr


def test_a_database_without_tables_or_of_an_older_day_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert run(tmp_path, "doctor").stdout == "The database has no tables yet: run `flask database upgrade`.\n"
    assert run(tmp_path, "database", "upgrade").returncode == 0
    assert run(tmp_path, "database", "downgrade", "0001").returncode == 0
    found = run(tmp_path, "doctor", "--repair")
    assert found.returncode == 1
    assert found.stdout.startswith("The tables are at revision 0001, and the newest is ")


ENDED_JOB = "(SELECT id FROM job WHERE task = :ended ORDER BY id LIMIT 1)"
ENDED_IMAGE = "(SELECT id FROM image WHERE task_id = :ended ORDER BY position LIMIT 1)"
FACED_IMAGE = "(SELECT image_id FROM face JOIN image ON id = image_id WHERE task_id = :ended LIMIT 1)"
STUCK = (
    "UPDATE task SET status = 'processing', done = done - 1, finished_at = NULL WHERE id = :ended",
    f"DELETE FROM face WHERE image_id = {ENDED_IMAGE}",
    f"UPDATE image SET status = 'pending' WHERE id = {ENDED_IMAGE}",
)
SPOILT = {
    "a count": (["UPDATE task SET done = done + 1 WHERE id = :ended"], "recount differs", "Recounted the images"),
    "a sum": (["UPDATE task SET women_age_sum = 7e6 * 7 WHERE id = :ended"], "has statistics", "Recounted the faces"),
    "a double face": (
        [
            "INSERT INTO face (image_id, number, x, y, width, height, gender, age, score)"
            " SELECT image_id, 99, x, y, width, height, gender, age, score FROM face LIMIT 1"
        ],
        "has statistics",
        "Recounted the faces",
    ),
    "an end that was missed": (
        ["UPDATE task SET status = 'processing', finished_at = NULL WHERE id = :failed"],
        "is processing, but all its images have ended",
        "Ended task",
    ),
    "an image without a job": (
        [*STUCK, f"DELETE FROM job WHERE subject = {ENDED_IMAGE}"],
        "and no job will process it",
        "into the queue",
    ),
    "a job that has ended without its image": (list(STUCK), "and no job will process it", "into the queue"),
    "a job without its image": (
        ["UPDATE job SET subject = 'gone' WHERE id = " + ENDED_JOB],
        "image gone of task",
        "Removed job",
    ),
    "a job of an image that has ended": (
        ["UPDATE job SET status = 'queued' WHERE id = " + ENDED_JOB],
        "does not wait for it",
        "Removed job",
    ),
    "faces of an image that failed": (
        [
            "UPDATE task SET status = 'error', done = done - 1, failed = 1 WHERE id = :ended",
            f"UPDATE image SET status = 'failed' WHERE id = {FACED_IMAGE}",
        ],
        "is failed, but has faces",
        "Removed the faces",
    ),
    "a face of no image": (
        ["UPDATE face SET image_id = 'gone' WHERE image_id = " + FACED_IMAGE],
        "of table face belongs to a row that is not there",
        "of table face: what it belonged to was gone",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_must_not_be_is_found_and_set_right(patient: tuple[Path, dict[str, str]], name: str) -> None:
    folder, tasks = patient
    statements, found, mended = SPOILT[name]
    spoil(folder, *statements, **tasks)
    sentences = inconsistencies(folder)
    assert any(found in sentence for sentence in sentences), sentences
    with application(folder) as app:
        said = list(repair(app, newest_revision()))
    assert any(mended in sentence for sentence in said), said
    assert inconsistencies(folder) == []


def test_a_file_that_is_missing_is_told_and_its_row_stays(patient: tuple[Path, dict[str, str]]) -> None:
    folder, tasks = patient
    for file in (folder / "files" / "tasks" / tasks[FORMING]).iterdir():
        file.unlink()
    spoil(
        folder,
        "INSERT INTO recording_user (id, name, token_hash, created_at) VALUES ('bell', 'Bell', '', '')",
        "INSERT INTO recording (id, user_id, size, seconds, created_at) VALUES ('watson', 'bell', 1, 1.0, '')",
    )
    with application(folder) as app:
        assert list(repair(app, newest_revision())) == []
    *images, recording = inconsistencies(folder)
    assert len(images) == 2
    assert all(f"of task {tasks[FORMING]} has no file in the store" in sentence for sentence in images)
    assert recording.startswith("Recording watson of user bell has no file in the store")


def test_every_slice_is_looked_at(patient: tuple[Path, dict[str, str]]) -> None:
    folder, _ = patient
    spoil(
        folder,
        "INSERT INTO processing_file (id, key, media_type, size, width, height, created_at)"
        " VALUES (7, 'processing/uploads/x', 'image/png', 1, 1, 1, '')",
        "INSERT INTO processing_task (id, algorithm, params, status, source_id, created_at, updated_at)"
        " VALUES (8, 'flip', '{}', 'processing', 7, '', '')",
        "INSERT INTO User (id, email, password, created_at) VALUES ('u', 'u@example.com', '', '2026-01-01 00:00:00')",
        "INSERT INTO augmentation_task (id, user_id, status, created_at, total, done, failed)"
        " VALUES ('t', 'u', 'pending', '', 1, 0, 0)",
        "INSERT INTO augmentation_image (id, task_id, position, name, media_type, status)"
        " VALUES (9, 't', 0, 'x', 'image/png', 'pending')",
        "INSERT INTO owned_image (number, id, owner_type, owner_id, replaces, created_at)"
        " VALUES (11, 'i', 'user', '1', 0, '')",
        "INSERT INTO image_version (number, id, image_id, name, path, status, media_type, size, width, height)"
        " VALUES (12, 'v', 'i', 'x.png', 'images/user/1/v/original', 'pending', 'image/png', 1, 1, 1)",
        "INSERT INTO rendition (version_id, kind, name, path, width, height, size)"
        " VALUES ('v', 'small', 'x_small.webp', 'images/user/1/v/small.webp', 1, 1, 1)",
        "INSERT INTO ImageTask (number, id, task_id, position, suffix, img_link, key, created_at) VALUES"
        " (10, 'f', 't', 0, 'original', 'x_original.png', 'augmentation/t/0-original', '2026-01-01 00:00:00')",
    )
    assert [sentence.partition(":")[0] for sentence in inconsistencies(folder)] == [
        "Image 9 of augmentation task t is pending, and no job will copy it.",
        "Processing task 8 is processing, and no job will do it.",
        "Version v of image i is pending, and no job will make its renditions.",
        "File f of augmentation is not in the store at augmentation/t/0-original",
        "Processing file 7 is not in the store at processing/uploads/x",
        "The original of version v is not in the store",
        "Rendition small of version v is not in the store",
    ]


def test_orphans_go_in_batches_whatever_their_number(patient: tuple[Path, dict[str, str]]) -> None:
    folder, tasks = patient
    there = set((folder / "files").rglob("*"))
    for number in range(1100):
        (folder / "files" / "tasks" / tasks[ENDED] / f"left-{number}").write_bytes(b"x")
    with application(folder) as app:
        found = list(examine(app, newest_revision()))
        assert len(found) == 1100
        assert all(sentence.startswith("File tasks/") for sentence in found)
        done = list(repair(app, newest_revision()))
    assert len(done) == 1100
    assert set((folder / "files").rglob("*")) - there <= {folder / "files" / ".lock"}


@pytest.mark.parametrize(
    ("is_ours", "files", "without_row", "places", "kept"),
    [
        (False, 10, 10, 10, False),
        (False, 11, 11, 1, True),
        (True, 11, 11, 11, False),
        (True, 1000, 1000, 4, False),
        (True, 150, 100, 5, False),
        (True, 150, 101, 5, True),
        (True, 202, 101, 5, False),
    ],
)
def test_more_files_without_a_row_than_a_crash_leaves_are_kept(
    is_ours: bool, files: int, without_row: int, places: int, kept: bool
) -> None:
    assert Tally("tasks/", files, without_row, places, is_ours).is_doubtful is kept


def test_a_sweep_takes_what_a_crash_leaves_and_nothing_of_what_is_most_there_is(
    patient: tuple[Path, dict[str, str]],
) -> None:
    folder, _ = patient

    def leave(*tasks: str) -> int:
        for task in tasks:
            (folder / "files" / "tasks" / task).mkdir(exist_ok=True)
            for name in range(60):
                (folder / "files" / "tasks" / task / f"left-{name}").write_bytes(b"x")
        with application(folder) as app:
            return remove_orphans(
                provided(Database, app), provided(Storage, app), provided(Inventory, app).known_keys, 0
            )

    assert leave("one", "two") == 120, "one or two uploads, or deletions, that died"
    assert leave("one", "two", "three", "four", "five") == 0
    assert len(list(folder.rglob("left-*"))) == 300
    with application(folder) as app:
        assert len(list(repair(app, newest_revision()))) == 301
    assert inconsistencies(folder) == []


def test_an_empty_database_beside_a_full_store_costs_no_file(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="local", WEB_CONCURRENCY=1)
    for number in range(200):
        path = service.files / "tasks" / f"task-{number // 50}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a photo")
    half = service.files / "tasks" / "task-0" / ".new-half"
    half.write_bytes(b"half a ph")
    service.start().task(photo(1))
    service.stop()
    service.start()  # the database is in use by now, but these are not its files
    wait_for(lambda: service.log.read_text().count("most files belong to no row") == 2, what="the second look")
    service.stop()
    assert len(service.left_files()) == 201
    assert not half.exists(), "what was never finished is nobody's photo"
    warnings = [line for line in service.log.read_text().splitlines() if "most files belong to no row" in line]
    assert all("`flask doctor --repair` removes them" in line for line in warnings)
    assert [re.findall(r"(?:below|files|without_row)=(\S+)", line) for line in warnings] == [
        ["tasks/", "200", "200"],
        ["tasks/", "201", "200"],
    ]
    with application(service.folder) as app:
        found, removed = list(examine(app, newest_revision(), orphan_age=0)), list(repair(app, newest_revision()))
    assert found[0].startswith("Below tasks/ 200 of 201 files belong to no row, more than a crash leaves: is this the")
    assert removed[0].endswith("200 of 201 files belong to no row, more than a crash leaves: they are removed now.")
    assert (len(found), len(removed)) == (201, 201)
    assert len(service.left_files()) == 1
    for number in range(20):
        (service.files / "tasks" / f"left-{number}").write_bytes(b"x")
    service.start()
    wait_until_equal(lambda: len(service.left_files()), 1)  # the store is this database's now


def test_a_store_that_cannot_be_written_to_is_told(patient: tuple[Path, dict[str, str]]) -> None:
    folder, _ = patient
    with application(folder) as app:
        shutil.rmtree(folder / "files")
        (found,) = list(examine(app, newest_revision()))
    assert found.startswith("The store cannot be written to: ")


def test_a_database_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "service.db").write_bytes(b"no database" * 100)
    (found,) = inconsistencies(tmp_path)
    assert found == "The database cannot be read: file is not a database."


def test_beside_a_server_at_work_young_files_are_spared_and_what_the_dead_held_is_freed(
    make_service: MakeService,
) -> None:
    with EmulatorServer(Emulator(decode=False)) as emulator:
        emulator.emulator.script.set([Mood(name="ok", seconds=100)])
        service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, FACECLOUD_TIMEOUT=100))
        client = service.start()
        task = client.task(photo(1), photo(2))
        client.start(task)
        wait_for(lambda: len(emulator.emulator.counters()["images"]) == 2, what="the calls")
        files = service.files / "tasks" / task
        for name, age in (("young", 0), ("old", 4000)):
            (files / name).write_bytes(b"x")
            os.utime(files / name, (time.time() - age,) * 2)
        refused = run(service.folder, "jobs", "recover", "--all")
        assert (refused.returncode, refused.stderr) == (
            1,
            "Error: A server is at work: stop it first, or leave --all out.\n",
        )
        assert run(service.folder, "jobs", "recover").stdout.startswith("0 jobs will run again; 0 failed")
        said = run(service.folder, "doctor", "--repair")
        assert (said.returncode, said.stdout) == (
            0,
            f"Removed file tasks/{task}/old, which belonged to no row.\nAll is well.\n",
        )
        service.kill()
        # With nobody at work the young file is nobody's either, and the leases of 30 seconds have not run out yet.
        assert run(service.folder, "jobs", "recover").stdout.startswith("0 jobs")
        spoil(service.folder, f"UPDATE job SET lease_expires_at = {time.time() - 100}")
        found = run(service.folder, "doctor")
        assert found.returncode == 1
        assert found.stdout.count("which died long ago: start the server, or `flask jobs recover`.\n") == 2
        assert f"File tasks/{task}/young belongs to no row.\n" in found.stdout
        assert run(service.folder, "jobs", "recover", "--all").stdout.startswith("2 jobs will run again; 0 failed")
        emulator.emulator.script.set([])
        assert service.start().ended(task)["status"] == "completed"
