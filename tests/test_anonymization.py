"""Photos without recognisable faces: one over HTTP, all of a task as a zip, a folder by the command line."""

import io
import zipfile
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.anonymization import Style, anonymize
from service.features.faces.engines.engine import Detection
from service.features.faces.engines.local import LocalEngine
from service.imaging.pixel_budget import PixelBudget
from tests.support import ROOT, Client
from tests.test_outputs import ORIENTATION, face, run, upload
from tests.test_tasks import problem

STYLES: tuple[Style, ...] = get_args(Style)
SAMPLES = ROOT / "samples"


def noise(size: tuple[int, int] = (400, 300)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 120).convert("RGB").save(file, "JPEG", quality=50)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def detail_of(picture: Image.Image, left: int, top: int, right: int, bottom: int) -> float:
    """Return how much neighbouring pixels differ on average, of 255."""
    grey = np.asarray(picture.convert("L").crop((left, top, right, bottom)), float)
    return float(np.abs(np.diff(grey)).mean())


@pytest.mark.parametrize("style", STYLES)
def test_a_face_loses_its_detail_with_hair_and_chin_and_the_rest_keeps_it(style: Style) -> None:
    picture = opened(anonymize(noise(), [face(160, 110, 60, 80)], PixelBudget(), style))
    assert (picture.format, picture.size) == ("JPEG", (400, 300))
    for place in ((160, 110, 220, 190), (178, 88, 202, 110), (178, 190, 202, 212), (138, 135, 160, 165)):
        assert detail_of(picture, *place) < 6
    assert detail_of(picture, 0, 0, 120, 300) > 40


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("place", [(-20, -30), (380, 280), (900, 900), (-200, -200), (0, 0)])
def test_a_face_may_leave_the_photo(style: Style, place: tuple[int, int]) -> None:
    assert opened(anonymize(noise(), [face(*place, 50, 60)], PixelBudget(), style)).size == (400, 300)


def test_no_metadata_is_left_and_boxes_fit_the_upright_photo() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010E] = "a secret place"
    file = io.BytesIO()
    Image.effect_noise((300, 200), 120).convert("RGB").save(file, "JPEG", quality=95, exif=exif)
    data = anonymize(file.getvalue(), [face(20, 220, 60, 60)], PixelBudget())
    picture = opened(data)
    assert picture.size == (200, 300)
    assert detail_of(picture, 20, 220, 80, 280) < 6 < detail_of(picture, 0, 0, 200, 180)
    assert not picture.getexif()
    assert b"secret" not in data


@pytest.mark.parametrize("style", STYLES)
def test_the_engine_finds_none_of_the_faces_again(style: Style) -> None:
    budget = PixelBudget()
    engine = LocalEngine(pixels=budget)
    for path in (SAMPLES / "group.jpg", SAMPLES / "astronaut.png", SAMPLES / "barack_obama.jpg"):
        image = path.read_bytes()
        found = engine.detect(image).faces
        assert found
        left = engine.detect(anonymize(image, found, budget, style)).faces
        assert not [one for one in left for other in found if overlap(one, other) >= 0.3], path.name


def overlap(one: Detection, other: Detection) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(width, 0) * max(height, 0)
    return common / (one.width * one.height + other.width * other.height - common)


def test_a_photo_is_given_without_faces_in_each_style(client: Client, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.faces = [face(160, 110, 60, 80)]
    task = run(client, ("a.jpg", noise()))
    path = f"/api/v1/tasks/{task['id']}/images/{task['images'][0]['id']}/content"
    tags = set()
    for style in STYLES:
        answer = client.get(path, params={"faces": style})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert detail_of(opened(answer.content), 160, 110, 220, 190) < 6
        again = client.get(path, params={"faces": style}, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        tags.add(answer.headers["ETag"])
    assert len(tags) == len(STYLES)
    problem(client.get(path, params={"faces": "pixelated"}), 422)


def test_a_photo_whose_faces_are_not_known_is_refused_and_left_out_of_the_zip(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    task = upload(client, ("beach.jpg", noise()))
    image = client.get(f"/api/v1/tasks/{task}").json()["images"][0]["id"]
    refused = client.get(f"/api/v1/tasks/{task}/images/{image}/content?faces=blurred")
    assert "not known yet" in problem(refused, 409)
    assert refused.json()["code"] == "image_not_done"
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/tasks/{task}/blurred.zip").content))
    assert archive.namelist() == ["left-out.txt"]
    assert b"beach.jpg" in archive.read("left-out.txt")


def test_the_zip_has_every_photo_in_the_style_that_was_asked_for(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.faces = [face(160, 110, 60, 80)]
    task = run(client, ("a.jpg", noise()), ("b.jpg", noise((401, 300))), name="trip")
    for style in STYLES:
        answer = client.get(f"/api/v1/tasks/{task['id']}/blurred.zip", params={"style": style})
        assert answer.headers["Content-Type"] == "application/zip"
        assert 'filename="trip.zip"' in answer.headers["Content-Disposition"]
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        assert archive.namelist() == ["a.jpg", "b.jpg"]
        assert all(detail_of(opened(archive.read(name)), 160, 110, 220, 190) < 6 for name in archive.namelist())
    problem(client.get(f"/api/v1/tasks/{task['id']}/blurred.zip?style=boxed"), 422)
