"""A program: the first use of what a process sets up late, by many threads at once.

It prints what each of them came to, as JSON. Between any two lines of the service other threads may run, and here they
do.
"""

import hashlib
import io
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from service.errors import Problem
from service.imaging.pixel_budget import PixelBudget, own_folder
from service.storage.spools import SpoolFolder

THREADS = 16
"""So many do each of the uses of a system, but for requests, of which there are many kinds."""
Use = Callable[[], object]


_reached: set[tuple[int, str, int]] = set()


def interrupted(frame: FrameType, event: str, arg: object) -> Any:
    """Let other threads run before each line of the service that a thread reaches for the first time."""
    if "/service/" not in frame.f_code.co_filename:
        return None
    line = threading.get_ident(), frame.f_code.co_filename, frame.f_lineno
    if line not in _reached:
        _reached.add(line)
        time.sleep(random.random() / 2_000)
    return interrupted


def at_once(uses: dict[str, Use], threads: int) -> list[tuple[str, object]]:
    """Return the name of each use, and what became of it: all begin at once, each in so many threads."""
    named = [*uses] * threads
    begin, outcomes = threading.Barrier(len(named)), list[tuple[str, object]]()

    def run(name: str) -> None:
        begin.wait()
        try:
            outcome = uses[name]()
        except Problem as problem:
            outcome = problem.code
        except Exception as error:  # noqa: BLE001 - it is shown
            outcome = repr(error)
        outcomes.append((name, outcome))

    threading.settrace(interrupted)
    made = [threading.Thread(target=run, args=[name]) for name in named]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    return outcomes


def tagged(pieces: Iterator[bytes]) -> str:
    return " ".join(hashlib.sha256(piece).hexdigest()[:8] for piece in pieces)


def check_pictures(folder: Path) -> Iterator[tuple[str, Use]]:
    """Check each file as an upload, some times, since others may still be at their first."""
    from service.imaging.validate import Limits, check

    limits, budget = Limits(10**7, 10**7), PixelBudget()

    def use(data: bytes) -> str:
        return [check(io.BytesIO(data), "photo", limits, budget).media_type for _ in range(3)][-1]

    for path in folder.glob("picture*"):
        yield path.name, partial(use, path.read_bytes())


def copy_pictures(folder: Path) -> Iterator[tuple[str, Use]]:
    """Make copies and renditions."""
    from service.imaging.transform import copies, gray, renditions, rotate

    budget, spools = PixelBudget(), SpoolFolder(folder, 10**8)

    def use(data: bytes) -> str:
        made = (*copies(data, [rotate(), gray()], budget, spools), *renditions(data, [1.0, 0.5], budget, spools))
        return " ".join(f"{one.width}x{one.height}" for one in made)

    for form in ("jpeg", "png", "webp"):
        yield form, partial(use, (folder / f"picture.{form}").read_bytes())


def convert_sound(folder: Path) -> Iterator[tuple[str, Use]]:
    """Cut a WAV into an MP3."""

    def use() -> str:
        from service.features.recordings import audio

        with (folder / "sound.wav").open("rb") as stream, io.BytesIO() as file:
            wave, _ = audio.read_header(stream, 60)
            audio.convert(stream, wave, file, 128, None)
            return tagged(iter([file.getvalue()]))

    yield "sound", use


def find_faces(folder: Path) -> Iterator[tuple[str, Use]]:
    """Find faces, and draw them."""
    from service.features.faces.drawing import draw_boxes
    from service.features.faces.engines.local import LocalEngine

    engine, budget, photo = LocalEngine(search="fast"), PixelBudget(), (folder / "face.jpg").read_bytes()

    def use() -> str:
        faces = engine.detect(photo).faces
        return f"{faces} {tagged(iter([draw_boxes(photo, faces, budget)]))}"

    yield "faces", use


def ask(folder: Path) -> Iterator[tuple[str, Use]]:
    """Ask an application what needs a model, a template or a table."""
    from service.app import create_app
    from service.config import Settings

    database = f"sqlite:///{folder}/service.db"
    app = create_app(Settings(api_password="unused", database_url=database, storage_url=f"{folder}/files"))
    basic, user = {"auth": ("admin", "unused")}, {"email": "a@example.com", "password": "a long password"}

    def use(method: str, path: str, options: dict[str, Any]) -> int:
        return app.test_client().open(path, method=method, **options).status_code

    for path in ("/openapi.json", "/tasks", "/api/v1/tasks?limit=2"):
        yield path, partial(use, "GET", path, basic)
    yield "new task", partial(use, "POST", "/api/v1/tasks", basic | {"json": {"name": "one"}})
    yield "login", partial(use, "POST", "/login", {"json": user})


def make_folder(folder: Path) -> Iterator[tuple[str, Use]]:
    """Make what a process without a service has one of."""
    yield "folder", lambda: str(own_folder())


if __name__ == "__main__":
    systems = (check_pictures, copy_pictures, convert_sound, find_faces, ask, make_folder)
    system = next(system for system in systems if system.__name__ == sys.argv[1])
    print(json.dumps(at_once(dict(system(Path(sys.argv[2]))), 2 if system is ask else THREADS)))
