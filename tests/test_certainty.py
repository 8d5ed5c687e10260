"""How sure the embedded engine is, through the whole service: tasks, statistics, files, pictures, commands."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import MakeService, on_both_databases
from tests.support import ROOT, Client, Service, inconsistencies, run_program

ASTRONAUT, HOPPER = (ROOT / "samples" / name for name in ("astronaut.png", "grace_hopper.jpg"))


@pytest.fixture
def service(make_service: MakeService) -> Iterator[Service]:
    return make_service(FACE_ENGINE="local")


def small_astronaut() -> bytes:
    """Return a photo whose face is less than 40 pixels high."""
    file = io.BytesIO()
    with Image.open(ASTRONAUT) as picture:
        picture.convert("RGB").resize((160, 160)).save(file, "JPEG", quality=95)
    return file.getvalue()


def rows_of(client: Client, task: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(f"/api/v1/tasks/{task['id']}/faces.csv").text, newline="")))


@on_both_databases
def test_a_task_says_how_sure_it_is_and_counts_whom_it_is_not_sure_of(service: Service) -> None:
    client = service.start()
    task = client.run(ASTRONAUT.read_bytes(), HOPPER.read_bytes(), small_astronaut(), seconds=60)
    collins, hopper, small = (image["faces"][0] for image in task["images"])
    assert [image["rotation"] for image in task["images"]] == [0, 0, 0]
    assert all(image["searched_width"] >= image["width"] for image in task["images"])
    assert (collins["number"], collins["gender"], collins["corrected"], collins["detected"]) == (
        1,
        "female",
        False,
        None,
    )
    assert collins["male_probability"] < 0.2
    assert collins["age_low"] <= collins["age"] <= collins["age_high"]
    assert collins["quality"]["height"] == collins["bbox"]["height"]
    assert 0 < collins["quality"]["brightness"] < 1
    assert hopper["gender"] == "unknown"
    assert 0.2 < hopper["male_probability"] < 0.5
    assert hopper["age_low"] < 77 < hopper["age_high"]
    assert (small["gender"], small["quality"]["height"] < 40) == ("unknown", True)

    statistics = task["statistics"]
    assert [statistics[name] for name in ("faces", "men", "women", "unknown")] == [3, 0, 1, 2]
    assert [warning["code"] for warning in statistics["warnings"]] == [
        "age_bias_over_60",
        "small_faces",
        "many_unknown",
    ]
    assert all(warning["detail"].endswith(".") for warning in statistics["warnings"])
    listed = client.get("/api/v1/tasks").json()["items"][0]
    assert listed["statistics"] == statistics

    rows = rows_of(client, task)
    assert [row["number"] for row in rows] == ["1", "1", "1"]
    assert float(rows[1]["male_probability"]) == hopper["male_probability"]
    assert [float(rows[0][f"quality_{name}"]) for name in ("height", "sharpness", "brightness")] == [
        *collins["quality"].values()
    ]
    assert inconsistencies(service.folder, service.settings["DATABASE_URL"]) == []


def test_a_face_that_the_engine_is_not_sure_of_has_a_dashed_box(service: Service) -> None:
    client = service.start()
    task = client.run(ASTRONAUT.read_bytes(), HOPPER.read_bytes(), seconds=60)
    light = [edge_lightness(client, task, image) for image in task["images"]]
    assert len(set(light[0])) == 1, "a line without gaps"
    assert {value > 128 for value in light[1]} == {True, False}


def edge_lightness(client: Client, task: dict[str, Any], image: dict[str, Any]) -> list[int]:
    """Return how light the left edge of the first box is, from top to bottom in steps, in four shades."""
    path = f"/api/v1/tasks/{task['id']}/images/{image['id']}/content?faces=boxed"
    box = image["faces"][0]["bbox"]
    with Image.open(io.BytesIO(client.get(path).content)) as picture:
        grey = picture.convert("L")
        return [
            int(grey.getpixel((box["x"] + 1, y))) // 64 * 64 for y in range(box["y"] + 3, box["y"] + box["height"] - 3)
        ]


def test_the_command_line_says_it_too(tmp_path: Path) -> None:
    settings = {"FACE_ENGINE": "local", "DATABASE_URL": f"sqlite:///{tmp_path}/none.db"}

    def run(*options: str) -> str:
        ended = run_program("flask", "faces", "analyze", HOPPER, *options, **settings)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    (line,) = run("--json").splitlines()
    photo = json.loads(line)
    (face,) = photo["faces"]
    assert (face["number"], face["gender"], photo["rotation"]) == (1, "unknown", 0)
    assert photo["searched_width"] >= photo["width"]
    (row,) = csv.DictReader(io.StringIO(run("--csv")))
    assert (row["number"], float(row["age_high"])) == ("1", face["age_high"])
    table = run()
    assert "?" in table
    assert f"{face['age_low']:.0f}–{face['age_high']:.0f}" in table
