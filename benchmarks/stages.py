"""Milliseconds of CPU that a photo of 50 KB costs the server at each stage, HTTP included.

The server's processes are read from outside, so that the code of another checkout can take turns (`--against DIR`).
Of the work on a photo, what claims and saves is told from what calls FaceCloud in this process, for the code here
alone. The emulator answers at once.
"""

import argparse
import statistics
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks import small_tasks, stage
from benchmarks.photos import NUMBER, photos
from service.app import create_app
from service.config import Settings
from service.http.services import provided
from service.jobs.executors import Executor
from tests.support import ROOT, Client, Service, flask, wait_for

PHOTOS, LOOKS, ROUNDS = 500, 50, 5
STAGES = {
    "many": "upload, 100 photos a request",
    "upload": "upload, one photo a request",
    "start of many": "start of a task of 500",
    "start": "start of a task of one",
    "work": "work and save",
    "look at many": "look at a task of 500",
    "look": "look at one photo",
}
PASSWORD = "long enough"


def of_many(service: Service) -> dict[str, float]:
    """Return the figures of a task of many photos, which is worked on."""
    client = service.client()
    marks, task = [small_tasks.cpu(service)], client.task()
    stages = {
        "many": partial(_upload, client, task),
        "start of many": partial(client.start, task),
        "work": partial(wait_for, partial(_has_ended, client)),
        "look at many": partial(_look, client, task),
    }
    for run in stages.values():
        run()
        marks.append(small_tasks.cpu(service))
    client.delete(f"/api/v1/tasks/{task}")
    taken = [1000 * (after - before) / PHOTOS for before, after in pairwise(marks)]
    return dict(zip(stages, taken, strict=True)) | {"look at many": taken[-1] / LOOKS}


def _upload(client: Client, task: str) -> None:
    for first in range(0, PHOTOS, 100):
        parts = [("image", ("photo.jpg", photos()[number % NUMBER])) for number in range(first, first + 100)]
        assert client.post(f"/api/v1/tasks/{task}/images", files=parts).status_code == 201


def _has_ended(client: Client) -> bool:
    shown = client.get("/api/v1/tasks", params={"limit": 1}).json()["items"][0]
    return bool(shown["status"] == "completed")


def _look(client: Client, task: str) -> None:
    for _ in range(LOOKS):
        client.get(f"/api/v1/tasks/{task}", headers={"Accept-Encoding": "identity"})


def of_work(url: str) -> str:
    """Return what of the work on a photo each kind of threads takes, in an application of this process."""
    with tempfile.TemporaryDirectory() as name:
        database = f"sqlite:///{name}/service.db"
        flask(database, "database", "upgrade")
        given = {name.lower(): value for name, value in stage.facecloud(url).items()}
        settings = {"api_password": PASSWORD, "database_url": database, "storage_url": f"{name}/files", **given}
        app = create_app(Settings.model_validate(settings))
        Path(name, "files").mkdir()
        client, executor = app.test_client(), provided(Executor, app)
        auth = ("admin", PASSWORD)
        task = client.post("/api/v1/tasks", auth=auth).get_json()["id"]
        for number in range(PHOTOS):
            sent = {"data": photos()[number % NUMBER], "content_type": "image/jpeg"}
            assert client.post(f"/api/v1/tasks/{task}/images", auth=auth, **sent).status_code == 201
        assert client.post(f"/api/v1/tasks/{task}/start", auth=auth).status_code == 202
        executor.start()
        try:
            path = f"/api/v1/tasks/{task}?images=false"
            wait_for(lambda: client.get(path, auth=auth).get_json()["status"] == "completed")
            seconds: dict[str, float] = {"worker": 0.0, "dispatcher": 0.0}
            for thread in threading.enumerate():
                kind = thread.name.partition("_")[0]
                if kind in seconds:
                    seconds[kind] += _cpu_of(thread)
        finally:
            executor.stop()
        calls, saving = (1000 * taken / PHOTOS for taken in seconds.values())
        return f"Of work and save, the calls take {calls:.2f} ms, claiming and saving {saving:.2f}."


def _cpu_of(thread: threading.Thread) -> float:
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e9


def table(roots: Sequence[Path], url: str, rounds: int = ROUNDS) -> list[str]:
    """Return the rows of the table: the code in each folder takes turns, and the first is the one here."""
    settings = stage.facecloud(url)
    found = [
        *small_tasks.measured(roots, rounds, of_many, **settings),
        *small_tasks.measured(roots, rounds, small_tasks.costs, WEB_WORKS="false", **settings),
    ]
    rows = []
    for name, text in STAGES.items():
        each = [statistics.fmean(costs) for costs in zip(*_figures(found, name), strict=True)]
        ratio = f"{each[1] / each[0]:.2f}" if len(each) > 1 else ""
        rows.append(f"| {text} | {' | '.join(f'{cost:.3g}' for cost in each)} | {ratio} |")
    return rows


def _figures(found: Sequence[Sequence[dict[str, float]]], name: str) -> list[list[float]]:
    return [[figures[name] for figures in row] for row in found if name in row[0]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    roots = [ROOT, *([given.against.resolve()] if given.against else [])]
    with stage.emulator(0.0) as url:
        print("\n".join(table(roots, url, given.rounds)))
        print(of_work(url))


if __name__ == "__main__":
    main()
