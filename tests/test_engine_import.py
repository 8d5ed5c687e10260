"""The embedded engine outside the service: with numpy, onnxruntime and Pillow alone."""

import json
import subprocess
import sys

from tests.support import ROOT

# Runs where everything but the standard library, these three packages and the service's own modules is missing.
PROGRAM = """
import importlib.util
import json
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "onnxruntime", "PIL", "service"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pi_heif" else found(name, package)

from service.features.faces.engines.local import LocalEngine

loaded = sorted(name for name in sys.modules if name.partition(".")[0] == "service")
with open("samples/group.jpg", "rb") as photo:
    faces = LocalEngine().detect(photo.read())
print(json.dumps({"loaded": loaded, "faces": len(faces.faces)}))
"""
ENGINE = "service.features.faces.engines.local"
MODULES = {
    "service",
    "service.errors",
    "service.features",
    "service.features.faces",
    "service.features.faces.engines",
    "service.features.faces.engines.engine",
    "service.imaging",
    "service.imaging.colour",
    "service.imaging.colour_spaces",
    "service.imaging.decode",
    "service.imaging.failures",
    "service.imaging.formats",
    "service.imaging.formats.coded_size",
    "service.imaging.formats.exif",
    "service.imaging.formats.heif",
    "service.imaging.formats.jpeg",
    "service.imaging.formats.jpeg_integrity",
    "service.imaging.formats.png",
    "service.imaging.formats.webp",
    "service.imaging.header",
    "service.imaging.media_types",
    "service.imaging.pixel_budget",
    "service.imaging.structure",
    "service.imaging.vips",
    "service.jobs",
    "service.jobs.operation",
    "service.once",
    "service.shortage",
}
"""What the engine loads of the service, beside its own modules: nothing of the web, the database or the settings."""


def test_the_engine_finds_faces_with_numpy_onnxruntime_and_pillow_alone():
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {name for name in found["loaded"] if name.partition(ENGINE)[0]} == MODULES
    assert found["faces"] == 4
