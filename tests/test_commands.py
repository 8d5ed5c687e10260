"""The `flask …` commands as people run them: what they print, and how they end."""

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.schemas import FaceOut
from tests.conftest import facecloud
from tests.support import BIN, ROOT, Client, Service, faces_of, photo, run_program, wait_for

Ended = subprocess.CompletedProcess[str]


def without_password(settings: dict[str, object]) -> dict[str, object]:
    """Return settings without a password, in which no developer's .env takes part."""
    return {"FACECLOUD_EMAIL": "", "FACECLOUD_PASSWORD": "", **settings, "API_PASSWORD": ""}


def run(settings: dict[str, object], *arguments: object, given: str = "") -> Ended:
    """Run a command; whatever happens, there is no traceback."""
    ended = run_program("flask", *arguments, given=given, **without_password(settings))
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, shared_emulator: EmulatorServer) -> dict[str, object]:
    """Give settings for commands that need no rows; the faces come from the emulator."""
    folder = tmp_path_factory.mktemp("commands")
    stores = {"DATABASE_URL": f"sqlite:///{folder}/none.db", "STORAGE_URL": folder / "files"}
    return {**facecloud(shared_emulator), **stores}


@pytest.fixture
def folder(tmp_path: Path, shared_emulator: EmulatorServer) -> Iterator[Path]:
    """Give a folder with photos, one below, one without a suffix, and what is no photo."""
    shared_emulator.emulator.script.set([])
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    (root / "a.jpg").write_bytes(photo(1, (640, 480)))
    (root / "b.png").write_bytes(photo(2, form="PNG"))
    (root / "below" / "a").write_bytes(photo(3, (640, 480)))
    (root / "broken.jpg").write_bytes(photo(4)[:-200])
    (root / "notes.txt").write_text("no photo")
    yield root
    shared_emulator.emulator.script.set([])


def test_a_folder_becomes_rows_and_a_broken_photo_a_sentence(settings: dict[str, object], folder: Path) -> None:
    ended = run(settings, "faces", "analyze", folder, "--csv")
    assert ended.returncode == 1
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    for name, number in (("a.jpg", 1), ("below/a", 3)):
        found = [row for row in rows if row["file"] == str(folder / name)]
        expected = faces_of(photo(number, (640, 480)))
        assert [(int(row["x"]), int(row["width"]), row["gender"]) for row in found] == [
            (face.x, face.width, face.gender) for face in expected
        ]
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith(f"{folder / 'broken.jpg'}: ")
    assert "it is damaged or cut off." in sentence


def test_json_has_a_line_for_each_photo_and_boxes_are_drawn(
    settings: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    ended = run(settings, "faces", "analyze", folder, folder / "a.jpg", "--json", "--boxed", tmp_path / "out")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.jpg", "b.png", "broken.jpg", "a", "a.jpg"]
    assert (lines[0]["width"], lines[0]["height"], lines[0]["media_type"]) == (640, 480, "image/jpeg")
    assert lines[0]["error"] is None
    assert set(lines[0]["faces"][0]) == set(FaceOut.model_fields)
    assert (lines[0]["faces"][0]["number"], lines[0]["searched_width"], lines[0]["rotation"]) == (1, None, None)
    assert lines[2]["error"]["code"] == "image_rejected"
    drawn = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert drawn == ["a-2.jpg", "a.jpg", "b.png.jpg", "below/a.jpg"]
    with Image.open(tmp_path / "out" / "a.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (640, 480))


def test_photos_of_a_folder_are_written_with_their_faces_hidden(
    settings: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    ended = run(settings, "faces", "analyze", folder, "--blur", folder / "out", "--style", "solid", "--boxed", tmp_path)
    assert ended.returncode == 1
    written = sorted(path.relative_to(folder).as_posix() for path in (folder / "out").rglob("*.*"))
    assert written == ["out/a.jpg", "out/b.png.jpg", "out/below/a.jpg"]
    (face, *_) = faces_of(photo(1, (640, 480)))
    with Image.open(folder / "out" / "a.jpg") as picture:
        middle = picture.convert("RGB").getpixel((face.x + face.width // 2, face.y + face.height // 2))
    assert middle == pytest.approx((0x76, 0x76, 0x76), abs=2)
    assert run(settings, "faces", "analyze", folder, "--style", "solid").returncode == 2
    assert run(settings, "faces", "analyze", folder, "--blur", tmp_path, "--boxed", tmp_path).returncode == 2


def test_a_photo_is_never_overwritten(settings: dict[str, object], folder: Path) -> None:
    before = (folder / "a.jpg").read_bytes()
    ended = run(settings, "faces", "analyze", folder / "a.jpg", "--boxed", folder)
    assert ended.returncode == 2
    assert "another folder" in ended.stderr
    assert (folder / "a.jpg").read_bytes() == before


def test_a_table_is_shown_to_people_and_the_engine_may_fail(
    settings: dict[str, object], folder: Path, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.script.set([Mood(name="status", status=418, message="teapot")])
    ended = run(settings, "faces", "analyze", folder / "a.jpg")
    assert ended.returncode == 1
    assert "Photo" in ended.stdout
    assert "failed" in ended.stdout
    assert "FaceCloud answered 418: teapot." in ended.stderr


def test_ctrl_c_ends_with_130(settings: dict[str, object], folder: Path, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.forget()
    shared_emulator.emulator.script.set([Mood(name="ok", seconds=1)])
    command = [str(BIN / "flask"), "faces", "analyze", *[str(folder / "a.jpg")] * 40, "--json"]
    # Tests that run in the background ignore SIGINT, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {name: str(value) for name, value in without_password(settings).items()}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    wait_for(lambda: shared_emulator.emulator.counters()["calls"].get("detect"), what="the first call")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "Interrupted."
    assert shared_emulator.emulator.counters()["calls"]["detect"] <= 16


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("faces", "analyze", "nowhere.jpg"), 2, "does not exist"),
        (("faces", "analyze", "tests"), 1, "There are no photos here"),
        (("faces", "analyze", "samples", "--csv", "--json"), 2, "either --csv or --json"),
        (("tasks", "list"), 1, "Run `make migrate`"),
        (("database", "backup", "nowhere/copy.db"), 1, "There is no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    settings: dict[str, object], arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run(settings, *arguments)
    assert ended.returncode == code
    assert said in ended.stderr


def test_bad_settings_are_said_in_sentences(settings: dict[str, object]) -> None:
    ended = run(settings | {"PORT": "many"}, "tasks", "list")
    assert ended.returncode == 1
    assert "PORT is 'many', but must be a whole number." in ended.stderr


def test_the_help_names_every_command(settings: dict[str, object]) -> None:
    shown = run(settings, "--help")
    assert shown.returncode == 0
    for name in ("database", "faces", "facecloud-emulator", "tasks"):
        assert f"\n  {name} " in shown.stdout


def test_tasks_are_listed_shown_retried_and_deleted_while_a_server_runs(
    shared_service: Service, client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.script.set([Mood(name="status", status=418, times=1)])
    task = client.task(photo(1), photo(2), name="holiday")
    client.start(task)
    assert client.ended(task)["status"] == "error"
    here = shared_service.settings

    listed = json.loads(run(here, "tasks", "list", "--status", "error", "--json").stdout)
    assert [one["id"] for one in listed["items"]] == [task]
    table = run(here, "tasks", "list").stdout
    assert task in table
    assert "holiday" in table
    assert client.show(task)["created_at"][:16].replace("T", " ") in table
    assert json.loads(run(here, "tasks", "show", task, "--json").stdout) == client.show(task)
    shown = run(here, "tasks", "show", task).stdout
    assert "1 of 2 images done, 1 failed" in shown
    assert "upstream_rejected" in shown

    assert run(here, "tasks", "retry", task).returncode == 0
    assert client.ended(task)["status"] == "completed"
    again = run(here, "tasks", "retry", task)
    assert again.returncode == 1
    assert f"{task}: It is completed" in again.stderr

    refused = run(here, "tasks", "delete", task, given="n\n")
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("Nothing was deleted.")
    assert client.show(task)["status"] == "completed"
    assert run(here, "tasks", "delete", task, "--yes").returncode == 0
    assert client.get(f"/api/v1/tasks/{task}").status_code == 404
    assert not (shared_service.files / "tasks" / task).exists()
    others = [client.task(), client.task()]
    some = run(here, "tasks", "delete", others[0], task, others[1], "--yes")
    assert some.returncode == 1
    assert some.stderr.splitlines() == [
        f"{others[0]} is deleted.",
        f"Error: {task}: There is no such task. It may have been deleted.",
        f"{others[1]} is deleted.",
    ]
    gone = run(here, "tasks", "show", task)
    assert gone.returncode == 1
    assert "There is no such task" in gone.stderr


def test_the_engine_is_measured_on_labelled_photos(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    for name in ("astronaut.png", "landscape.png"):
        (tmp_path / name).write_bytes((ROOT / "samples" / name).read_bytes())
    labels.write_text("file,n_faces,gender,age\nastronaut.png,1,female,42\nlandscape.png,0,,\n")
    here = {"FACE_ENGINE": "local", "DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "STORAGE_URL": tmp_path / "files"}
    ended = run(here, "engine", "evaluate", labels)
    assert ended.returncode == 0
    for title in ("Faces found", "Gender by threshold", "Calibration of gender", "Age in years"):
        assert title in ended.stdout
    labels.write_text("photo\nastronaut.png\n")
    ended = run(here, "engine", "evaluate", labels)
    assert ended.returncode == 1
    assert "needs a header with a column named file" in ended.stderr
