"""`headcount analyze --out`: photos where they are, into a folder of tables that a crash does not break."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click.testing
import pyarrow.dataset
import pytest

from service.app import create_app
from service.config import Settings
from service.db.database import Database
from service.features.faces.analyze.result_folder import PhotoRow, ResultFolder
from service.features.faces.commands.run_progress import RunProgress
from service.http.services import provided
from tests.object_store import ObjectStore
from tests.support import ROOT, is_running, photo, wait_for

Ended = click.testing.Result


def analyze(result: Path, *arguments: object, given: str | None = None, **settings: Any) -> Ended:
    """Run the command in this process; the photos are looked at in others."""
    values = {"api_password": "", "face_engine": "tests.custom_engine:Full", **settings}
    app = create_app(Settings(database_url=f"sqlite:///{result.parent}/none.db", **values))
    try:
        words = ["faces", "analyze", *map(str, arguments), "--out", str(result)]
        ended = app.test_cli_runner().invoke(args=words, input=given)
    finally:
        provided(Database, app).close()
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def started(*arguments: object, engine: str, command: str = "analyze") -> "subprocess.Popen[str]":
    """Run the command in a process of its own, and in a group with all that it starts."""
    environment = {"PATH": os.environ["PATH"], "FACE_ENGINE": engine, "API_PASSWORD": "", "WORKERS": "2"}
    # Tests that run in the background ignore SIGINT, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "service", command, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def photos_of(result: Path, *names: str) -> list[tuple[Any, ...]]:
    """Return columns of all photos of a result."""
    opened = ResultFolder.open(result)
    return [row for part in opened.parts() for row in opened.photos(part, *names)]


def faces_of(result: Path) -> list[tuple[Any, ...]]:
    opened = ResultFolder.open(result)
    return [row for part in opened.parts() for row in opened.faces(part)]


def summary(result: Path) -> dict[str, Any]:
    return json.loads((result / "summary.json").read_text())


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what a folder has, to see that nothing of it changes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_nlink, path.read_bytes()) for path in files}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with ten photos, one of them damaged, one below and without a suffix."""
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    for number in range(8):
        (root / f"{number}.jpg").write_bytes(photo(number))
    (root / "below" / "nine").write_bytes(photo(9, form="PNG"))
    (root / "broken.jpg").write_bytes(photo(10)[:-200])
    (root / "notes.md").write_text("no photo")
    return root


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_second_run_looks_at_what_is_new_or_changed_alone(folder: Path, tmp_path: Path, form: str) -> None:
    result, before = tmp_path / "result", state(folder)
    ended = analyze(result, folder, "--format", form, "--shard", 4)
    assert ended.exit_code == 1
    assert "10 photos" in ended.stdout
    assert "9 done, 1 failed" in ended.stdout
    assert state(folder) == before
    rows = {Path(path).name: row for path, *row in photos_of(result, "path", "size", "width", "status", "faces")}
    assert rows["0.jpg"] == [len(photo(0)), 64, "done", 1]
    assert rows["broken.jpg"] == [len(photo(10)) - 200, None, "failed", None]
    assert Counter(path for path, *_ in faces_of(result)) == Counter(
        str(path) for path in folder.rglob("*") if path.name in rows and path.name != "broken.jpg"
    )
    assert len(list((result / "photos").iterdir())) == len(list((result / "faces").iterdir())) == 3
    assert summary(result)["statistics"]["men_average_age"] == 70.0

    (folder / "3.jpg").write_bytes(photo(33, (128, 96)))
    (folder / "below" / "new.jpg").write_bytes(photo(34))
    ended = analyze(result, folder)
    assert "11 photos, 9 of them done and unchanged." in ended.stderr
    widths = {Path(path).name: width for path, width in photos_of(result, "path", "width")}
    assert len(photos_of(result, "path")) == len(widths) == 11
    assert (widths["3.jpg"], widths["2.jpg"]) == (128, 64)
    assert len(faces_of(result)) == summary(result)["statistics"]["faces"] == 10
    runs = json.loads((result / "run.json").read_text())["runs"]
    assert [(run["found"], run["looked_at"], run["gone"], run["stopped"]) for run in runs] == [
        (10, 10, 0, False),
        (11, 2, 0, False),
    ]


def test_the_parts_are_read_as_one_data_set(folder: Path, tmp_path: Path) -> None:
    analyze(tmp_path / "result", folder, "--format", "parquet", "--shard", 3, "--digest")
    photos = pyarrow.dataset.dataset(tmp_path / "result" / "photos").to_table()
    faces = pyarrow.dataset.dataset(tmp_path / "result" / "faces").to_table()
    assert (photos.num_rows, faces.num_rows) == (10, 9)
    assert set(faces.column("path").to_pylist()) <= set(photos.column("path").to_pylist())
    assert sum(digest is not None for digest in photos.column("digest").to_pylist()) == 9
    assert {str(photos.schema.field(name).type) for name in ("size", "mtime_ns", "faces")} == {"int64"}


def test_lists_bring_their_columns_and_standard_input_brings_paths(folder: Path, tmp_path: Path) -> None:
    (folder / "list.csv").write_text("year,file,status\n1931,0.jpg,kept\n1932,below/nine,\n1933,nowhere.jpg,lost\n")
    ended = analyze(tmp_path / "one", folder / "list.csv", "--format", "jsonl")
    assert ended.exit_code == 1
    rows = photos_of(tmp_path / "one", "path", "year", "list_status", "status", "error_code")
    assert [(Path(path).name, *row) for path, *row in rows] == [
        ("0.jpg", "1931", "kept", "done", None),
        ("nine", "1932", "", "done", None),
        ("nowhere.jpg", "1933", "lost", "failed", "file_failed"),
    ]
    (folder / "list.txt").write_bytes(b"gone-\xff.jpg\nthere-\xfe.jpg\n")
    Path(os.fsdecode(os.fsencode(folder) + b"/there-\xfe.jpg")).write_bytes(photo(3))
    analyze(tmp_path / "three", folder / "list.txt")
    assert [(Path(path).name, status) for path, status in photos_of(tmp_path / "three", "path", "status")] == [
        ("gone-\\xff.jpg", "failed"),
        ("there-\\xfe.jpg", "done"),
    ]
    paths = "".join(f"{folder / name}\n" for name in ("1.jpg", "2.jpg", "1.jpg"))
    ended = analyze(tmp_path / "two", "-", given=paths)
    assert ended.exit_code == 0
    assert [Path(path).name for (path,) in photos_of(tmp_path / "two", "path")] == ["1.jpg", "2.jpg"]


def test_a_bucket_is_read_where_it_is(object_store: ObjectStore, tmp_path: Path) -> None:
    bucket, client = object_store.bucket(), object_store.client()
    for number in range(5):
        client.put_object(Bucket=bucket, Key=f"archive/{number}.jpg", Body=photo(number))
    client.put_object(Bucket=bucket, Key="elsewhere/5.jpg", Body=photo(5))
    settings = {name.lower(): value for name, value in object_store.settings(bucket).items() if name != "STORAGE_URL"}
    ended = analyze(tmp_path / "result", f"s3://{bucket}/archive/", **settings)
    assert ended.exit_code == 0, ended.output
    rows = sorted(photos_of(tmp_path / "result", "path", "status", "etag"))
    assert [(path, status) for path, status, _ in rows] == [
        (f"s3://{bucket}/archive/{number}.jpg", "done") for number in range(5)
    ]
    assert all(etag for _, _, etag in rows)
    client.put_object(Bucket=bucket, Key="archive/0.jpg", Body=photo(50))
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path, _, _ in rows))
    ended = analyze(tmp_path / "result", tmp_path / "list.txt", **settings)
    assert "5 photos, 4 of them done and unchanged." in ended.stderr
    ended = analyze(tmp_path / "other", "s3://no-such-bucket/x", **settings)
    assert (ended.exit_code, "no-such-bucket" in ended.stderr) == (2, True)


def test_the_same_bytes_are_looked_at_once(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").unlink()
    shutil.copy(folder / "5.jpg", folder / "a-copy.jpg")
    os.link(folder / "a-copy.jpg", folder / "below" / "link.jpg")
    ended = analyze(tmp_path / "result", folder, "--dedupe")
    assert ended.exit_code == 0, ended.output
    rows = {Path(path).name: row for path, *row in photos_of(tmp_path / "result", "path", "status", "duplicate_of")}
    assert rows["5.jpg"] == ["done", None]
    assert rows["a-copy.jpg"] == rows["link.jpg"] == ["duplicate", str(folder / "5.jpg")]
    assert len(faces_of(tmp_path / "result")) == 9
    shutil.copy(folder / "5.jpg", folder / "later.jpg")
    (folder / "5.jpg").write_bytes(photo(55))
    analyze(tmp_path / "result", folder, "--dedupe")
    rows = {Path(path).name: row for path, *row in photos_of(tmp_path / "result", "path", "status", "duplicate_of")}
    assert {name: row[1] for name, row in rows.items() if row[0] == "duplicate"} == dict.fromkeys(
        ("later.jpg", "link.jpg"), str(folder / "a-copy.jpg")
    )


def test_what_cannot_work_ends_with_2_and_a_sentence(folder: Path, tmp_path: Path) -> None:
    result = tmp_path / "result"
    assert analyze(result, folder / "1.jpg", folder / "2.jpg", "--format", "jsonl").exit_code == 0
    for arguments, settings, said in (
        ((tmp_path / "nowhere",), {}, "nowhere does not exist."),
        ((folder,), {"face_engine": "tests.custom_engine:Bare"}, "was made with another engine"),
        ((folder, "--format", "csv"), {}, "another format"),
        ((folder, "--engine", "nonsense"), {}, "neither package.module:Class nor an entry point"),
        ((folder, "--csv"), {}, "Give either --out, or --csv or --json"),
    ):
        ended = analyze(result, *arguments, **settings)
        assert (ended.exit_code, said in ended.stderr) == (2, True), ended.output
    unlock = ResultFolder.open(result).lock()
    ended = analyze(result, folder)
    unlock()
    assert (ended.exit_code, "Another run is at work" in ended.stderr) == (2, True)
    (tmp_path / "empty").mkdir()
    ended = analyze(tmp_path / "other", tmp_path / "empty")
    assert (ended.exit_code, "There are no photos here" in ended.stderr) == (2, True)


def test_a_photo_that_kills_its_process_is_a_row_and_the_others_are_done(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(40):
        (root / f"{number}.jpg").write_bytes(photo(number, (99 if number == 7 else 64, 48)))
    ended = analyze(tmp_path / "result", root, face_engine="tests.custom_engine:Deadly")
    assert ended.exit_code == 1
    rows = photos_of(tmp_path / "result", "path", "status", "error_code")
    assert len(rows) == 40
    assert [(Path(path).name, code) for path, status, code in rows if status != "done"] == [("7.jpg", "worker_lost")]


def linked(folder: Path, number: int) -> Path:
    """Make a folder of so many links to a few photos."""
    (folder / "links").mkdir(parents=True)
    for each in range(10):
        (folder / f"{each}.jpg").write_bytes(photo(each))
    for each in range(number):
        os.link(folder / f"{each % 10}.jpg", folder / "links" / f"{each:04}.jpg")
    return folder / "links"


def test_a_killed_run_loses_no_photo_and_leaves_none_twice(tmp_path: Path) -> None:
    links, result = linked(tmp_path / "photos", 300), tmp_path / "result"
    arguments = (links, "--out", result, "--shard", 20)
    chance = random.Random(20)
    parts: list[int] = []
    for _ in range(2):
        process = started(*arguments, engine="tests.custom_engine:Slow")
        wanted = len(parts) + 1
        wait_for(lambda wanted=wanted: len(list((result / "photos").glob("part-*"))) >= wanted, what="the next part")
        time.sleep(chance.random() / 5)
        process.kill()
        process.communicate()
        wait_for(lambda group=process.pid: not is_running(group), what="the end of its processes")
        opened = ResultFolder.open(result)
        parts = opened.parts()
        assert all(len(list(opened.photos(part, "path"))) == 20 for part in parts)
    assert 2 <= len(parts) < 15
    ended = started(*arguments, engine="tests.custom_engine:Slow")
    _, said = ended.communicate(timeout=120)
    assert ended.returncode == 0, said
    assert f"300 photos, {20 * len(parts)} of them done and unchanged." in said
    names = [path for (path,) in photos_of(result, "path")]
    assert len(names) == len(set(names)) == 300
    assert Counter(path for path, *_ in faces_of(result)) == Counter(names)
    assert {path.name for path in result.iterdir()} == {"photos", "faces", "run.json", "summary.json", ".lock"}


def test_ctrl_c_ends_the_shards_under_way_and_what_is_left_is_done_later(tmp_path: Path) -> None:
    links, result = linked(tmp_path / "photos", 400), tmp_path / "result"
    process = started(links, "--out", result, "--shard", 20, engine="tests.custom_engine:Slow")
    wait_for(lambda: list((result / "photos").glob("part-*")), what="the first part")
    os.killpg(process.pid, signal.SIGINT)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "are being finished" in told
    assert "Traceback" not in told
    some = len(photos_of(result, "path"))
    assert 20 <= some < 400
    assert some % 20 == 0
    assert f"{some} photos" in said


def test_a_watched_folder_is_looked_at_as_photos_become_complete(tmp_path: Path) -> None:
    root, result = tmp_path / "photos", tmp_path / "result"
    root.mkdir()
    (root / "0.jpg").write_bytes(photo(0))
    process = started(root, "--out", result, "--every", 0.2, engine="tests.custom_engine:Full", command="watch")

    def names() -> list[str]:
        return [Path(path).name for (path,) in photos_of(result, "path")] if (result / "run.json").exists() else []

    wait_for(lambda: names() == ["0.jpg"], what="the photo that was there")
    whole, growing = photo(1, (640, 480)), root / "1.jpg"
    for end in range(0, len(whole), len(whole) // 8):  # somebody copies it, slower than the looks follow each other
        growing.write_bytes(whole[:end])
        time.sleep(0.1)
    growing.write_bytes(whole)
    (root / "2.jpg").write_bytes(photo(2))
    wait_for(lambda: len(names()) == 3, what="the photos that came")
    process.send_signal(signal.SIGTERM)
    said, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "3 photos" in said
    assert dict(photos_of(result, "path", "status")) == {str(root / f"{name}.jpg"): "done" for name in range(3)}
    assert len(list(root.iterdir())) == 3


def test_progress_has_a_rate_and_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = RunProgress()
    progress.begin(1_000, 600)
    assert "1,000 photos, 400 of them done and unchanged." in capsys.readouterr().err
    progress.advance([PhotoRow({"status": "failed"})] * 150)
    assert (capsys.readouterr().err, progress.failed) == ("", 150)
    progress.advance([])
