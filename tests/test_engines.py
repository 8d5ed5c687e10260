"""Engines of other packages: what they may return, what they keep to, and the examples of the guide."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.contract import broken_rules
from service.features.faces.engines.custom import CustomEngine
from service.features.faces.engines.engine import Engine
from service.features.faces.engines.facecloud import FaceCloud
from service.features.faces.engines.local import LocalEngine
from service.jobs.operation import Failure
from tests.conftest import MakeService
from tests.custom_engine import Bare, Broken, Full, Nonsense
from tests.support import BIN, ROOT, photo

PORTRAIT = ROOT / "samples" / "astronaut.png"
GUIDE = ROOT / "docs" / "guides" / "engines.md"


@pytest.fixture(scope="module", params=["local", "facecloud", "custom"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Give each of the project's own engines, FaceCloud before an emulator that answers from the embedded one."""
    if request.param == "local":
        yield LocalEngine()
    elif request.param == "custom":
        yield CustomEngine(LocalEngine, "service.features.faces.engines.local:LocalEngine")
    else:
        with EmulatorServer(Emulator(LocalEngine())) as server:
            client = FaceCloud(server.url, "developer@example.com", "any")
            yield client
            client.close()


def test_the_projects_own_engines_keep_to_the_contract(engine: Engine) -> None:
    assert list(broken_rules(engine, PORTRAIT.read_bytes())) == []


def test_rules_that_are_broken_are_told() -> None:
    portrait = PORTRAIT.read_bytes()
    assert list(broken_rules(Broken(), portrait)) == ["It raises RuntimeError: a secret of the inside"]
    assert list(broken_rules(Nonsense(), portrait)) == ["It raises ValueError: gender is 'robot'"]
    assert list(broken_rules(Bare(), portrait)) == [
        "It finds 2 faces in the portrait, which must show one that it finds."
    ]
    told = " ".join(broken_rules(Full(), portrait))
    for words in ("without a face", "two faces", "no picture"):
        assert words in told


@pytest.mark.parametrize("make", [Broken, Nonsense, int])
def test_whatever_an_engine_raises_is_a_failed_attempt_without_its_words(make: type) -> None:
    with pytest.raises(Failure) as caught:
        CustomEngine(make, "theirs").detect(b"")
    assert (caught.value.code, caught.value.attempts) == ("engine_failed", 2)
    assert caught.value.detail == "The face engine theirs broke down on this image."


def test_a_bare_list_is_sorted_and_what_it_does_not_say_is_null(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="tests.custom_engine:Bare", GUNICORN_CMD_ARGS="", WEB_CONCURRENCY=1)
    task = service.start().run(photo(1), seconds=60)
    assert task["status"] == "completed"
    (image,) = task["images"]
    assert (image["searched_width"], image["rotation"]) == (None, None)
    large, small = image["faces"]
    assert [face["number"] for face in (large, small)] == [1, 2]
    assert small["bbox"] == {"x": 1, "y": 2, "width": 10, "height": 10}
    assert (small["gender"], small["age"], small["score"]) == ("female", 64.0, 0.5)
    assert [small[name] for name in ("male_probability", "age_low", "age_high", "quality")] == [None] * 4
    statistics = task["statistics"]
    assert (statistics["women"], statistics["unknown"], statistics["warnings"]) == (1, 1, [])


def test_an_entry_point_is_an_engine_and_says_how_it_looked(tmp_path: Path) -> None:
    package = tmp_path / "theirs-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[headcount.engines]\ntheirs = tests.custom_engine:Full\n")
    ended = analyze(tmp_path, "theirs")
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    assert (shown["searched_width"], shown["rotation"]) == (640, 90)
    assert shown["faces"][0]["male_probability"] == 0.75


def analyze(folder: Path, engine: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(folder),
        "FACE_ENGINE": engine,
        "DATABASE_URL": f"sqlite:///{folder}/none.db",
    }
    command = [BIN / "flask", "faces", "analyze", "--json", str(PORTRAIT)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


STAND_INS = {
    "insightface/app.py": """
class Face:
    bbox, sex, age, det_score = (10.2, 20.4, 40.0, 60.9), "F", 42, 0.8

class FaceAnalysis:
    def __init__(self, allowed_modules): pass
    def prepare(self, ctx_id, det_size): pass
    def get(self, picture): return [Face()] if picture.shape == (512, 512, 3) else []
""",
    "deepface/DeepFace.py": """
def analyze(picture, actions, detector_backend, enforce_detection):
    region = {"x": 10, "y": 20, "w": 30, "h": 40, "left_eye": None, "right_eye": None}
    gender = {"Woman": 97.0, "Man": 3.0}
    face = {"region": region, "gender": gender, "dominant_gender": "Woman", "age": 42, "face_confidence": 0.8}
    return [face, face | {"face_confidence": 0}]
""",
    "boto3.py": """
class Client:
    def detect_faces(self, Image, Attributes):
        assert Image["Bytes"].startswith(b"\\xff\\xd8")
        box = {"Left": 10 / 512, "Top": 20 / 512, "Width": 30 / 512, "Height": 40 / 512}
        face = {"BoundingBox": box, "Gender": {"Value": "Female", "Confidence": 99.0}, "Confidence": 80.0}
        return {"FaceDetails": [face | {"AgeRange": {"Low": 36, "High": 48}, "Quality": {"Sharpness": 80.0}}]}

def client(name): return Client()
""",
}
"""Packages of the guide, as far as it calls them: their own cannot be installed with the tests."""


@pytest.mark.parametrize(("number", "package"), list(enumerate(STAND_INS)))
def test_the_examples_of_the_guide_are_short_and_give_faces(number: int, package: str, tmp_path: Path) -> None:
    example = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[number]
    assert len([line for line in example.splitlines() if line.strip()]) <= 22
    (tmp_path / "example.py").write_text(example)
    (tmp_path / package).parent.mkdir(exist_ok=True)
    (tmp_path / package).write_text(STAND_INS[package])
    (name,) = re.findall(r"^class (\w+)", example, re.MULTILINE)
    asked = f"""
from pathlib import Path
import example
from service.features.faces.engines.custom import checked
(face,) = checked(example.{name}().detect(Path({str(PORTRAIT)!r}).read_bytes())).faces
assert (face.x, face.y, face.gender, face.age, round(face.score, 3)) == (10, 20, "female", 42.0, 0.8), face
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
