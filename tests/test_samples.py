"""The embedded engine through the whole service, on the project's own photos, with no network."""

import io
import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import MakeService
from tests.support import ROOT, STORED

SAMPLES = ROOT / "samples"


def turned(orientation: int) -> bytes:
    """Return a portrait stored under an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    with Image.open(SAMPLES / "grace_hopper.jpg") as picture:
        way = STORED[orientation]
        stored = picture if way is None else picture.transpose(way)
        stored.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def test_all_samples_and_all_orientations_give_the_right_faces(make_service: MakeService) -> None:
    client = make_service(FACE_ENGINE="local").start()
    names = ("astronaut.png", "barack_obama.jpg", "grace_hopper.jpg", "group.jpg", "landscape.png")
    images = [(SAMPLES / name).read_bytes() for name in names] + [turned(orientation) for orientation in STORED]
    task = client.run(*images, seconds=60)
    assert task["status"] == "completed"
    astronaut, obama, hopper, group, landscape, *orientations = [image["faces"] for image in task["images"]]
    assert (len(astronaut), len(obama), len(hopper), len(group), len(landscape)) == (1, 1, 1, 4, 0)
    assert [faces[0]["gender"] for faces in (astronaut, obama, hopper)] == ["female", "male", "unknown"]
    assert not [face for face in group if face["gender"] == "male"]
    for faces, age in ((astronaut, 42), (obama, 51), (hopper, 77)):
        assert faces[0]["age_low"] < age < faces[0]["age_high"]
    for image, faces in zip(task["images"][5:], orientations, strict=True):
        assert (image["width"], image["height"]) == (512, 600)
        assert len(faces) == 1
        for side in ("x", "y", "width", "height"):
            assert faces[0]["bbox"][side] == pytest.approx(hopper[0]["bbox"][side], abs=6)


@pytest.mark.server
def test_the_demo_shows_the_faces_of_the_samples() -> None:
    environment = {"PATH": os.environ["PATH"], "FACE_ENGINE": "local", "TERM": "dumb"}
    command = [sys.executable, "-m", "samples.demo"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for name in (
        "astronaut.png",
        "grace_hopper.jpg",
        "group.jpg",
        "female",
        "unsure",
        "unknown gender",
        "corrects her: female, 77",
    ):
        assert name in " ".join(shown.stdout.split())
