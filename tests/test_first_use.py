"""The first use of what a process sets up late, by many threads at once: all come to the same."""

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image

from tests.support import ROOT, silence
from tests.test_heif import written

FORMS = ("jpeg", "png", "webp", "heic", "avif")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    """Return a folder with pictures of all types, whole and cut off, a photo of a face, a sound and a database."""
    folder = tmp_path_factory.mktemp("first use")
    picture = Image.effect_noise((160, 120), 90).convert("RGB")
    for form in FORMS:
        path = folder / f"picture.{form}"
        if form in ("heic", "avif"):
            path.write_bytes(written(form.upper(), picture))
        else:
            picture.save(path)
        data = path.read_bytes()
        (folder / f"picture_cut.{form}").write_bytes(data[: len(data) * 2 // 3])
    (folder / "sound.wav").write_bytes(silence())
    shutil.copy(ROOT / "samples" / "grace_hopper.jpg", folder / "face.jpg")
    shutil.copy(migrated, folder / "service.db")
    return folder


def outcomes(system: str, folder: Path) -> dict[str, set[object]]:
    """Return what the threads of a new process came to, by what they did."""
    command = [sys.executable, "-m", "tests.first_use", system, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    found = defaultdict[str, set[object]](set)
    for name, outcome in json.loads(ended.stdout):
        found[name].add(outcome)
    return found


def test_the_first_pictures_of_every_type_are_told_from_damaged_ones(folder: Path) -> None:
    whole = {f"picture.{form}": {f"image/{form}"} for form in FORMS}
    cut = {f"picture_cut.{form}": {"image_damaged"} for form in FORMS}
    assert outcomes("check_pictures", folder) == whole | cut


def test_the_first_copies_of_pictures_are_made(folder: Path) -> None:
    sizes = {"120x160 160x120 160x120 80x60"}
    assert outcomes("copy_pictures", folder) == {"jpeg": sizes, "png": sizes, "webp": sizes}


def test_the_first_requests_are_answered(folder: Path) -> None:
    found = outcomes("ask", folder)
    assert (found.pop("new task"), found.pop("login")) == ({201}, {401})
    assert list(found.values()) == [{200}] * 3, found


@pytest.mark.parametrize("system", ["convert_sound", "find_faces", "make_folder"])
def test_the_first_uses_of_what_is_loaded_late_come_to_the_same(folder: Path, system: str) -> None:
    ((name, found),) = outcomes(system, folder).items()
    assert len(found) == 1 and "Error" not in str(found), name
