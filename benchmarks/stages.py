"""Milliseconds of CPU that a photo of 50 KB costs the server at each stage of a large task, HTTP included.

The server's processes are read from outside. Of the work on a photo, what claims and saves is told from what calls
FaceCloud in this process, for the code here alone. The emulator answers at once. The limits are the same photos
decoded, written and synced in one thread, and calls of FaceCloud in a bare loop.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks import bare_calls, stage, upload
from benchmarks.photos import NUMBER, photos
from benchmarks.row import PAIRS, Row, in_turns, of
from service.app import create_app
from service.config import Settings
from service.http.services import provided
from service.jobs.executors import Executor
from tests.support import Client, Service, flask, wait_for

PHOTOS, LOOKS = 500, 50
STAGES = {
    "upload": "a photo of a large task: upload, 100 a request",
    "work": "start, work and save",
    "look": "its part of a look at the finished task of 500",
}
PASSWORD = "long enough"


def costs(service: Service) -> dict[str, float]:
    """Return the milliseconds of a photo at each stage of a task of many."""
    client = service.client()
    marks, task = [stage.cpu(service)], client.task()
    stages: dict[str, Callable[[], object]] = {
        "upload": partial(_upload, client, task),
        "work": partial(_work, client, task),
        "look": partial(_look, client, task),
    }
    for run in stages.values():
        run()
        marks.append(stage.cpu(service))
    client.delete(f"/api/v1/tasks/{task}")
    taken = [1000 * (after - before) / PHOTOS for before, after in pairwise(marks)]
    return dict(zip(stages, taken, strict=True)) | {"look": taken[-1] / LOOKS}


def _upload(client: Client, task: str) -> None:
    for first in range(0, PHOTOS, 100):
        parts = [("image", ("photo.jpg", photos()[number % NUMBER])) for number in range(first, first + 100)]
        assert client.post(f"/api/v1/tasks/{task}/images", files=parts).status_code == 201


def _work(client: Client, task: str) -> None:
    client.start(task)
    wait_for(lambda: _has_ended(client))


def _has_ended(client: Client) -> bool:
    shown = client.get("/api/v1/tasks", params={"limit": 1}).json()["items"][0]
    return bool(shown["status"] == "completed")


def _look(client: Client, task: str) -> None:
    for _ in range(LOOKS):
        client.get(f"/api/v1/tasks/{task}", headers={"Accept-Encoding": "identity"})


def bare_costs(url: str) -> dict[str, float]:
    """Return what cannot be left out of an upload, and of the work."""
    before = time.process_time()
    upload.bare(PHOTOS)
    uploaded = time.process_time() - before
    return {"upload": 1000 * uploaded / PHOTOS, "work": 1000 * bare_calls.run(url, PHOTOS).cpu / PHOTOS}


def costs_of_work(url: str) -> dict[str, float]:
    """Return what of the work each kind of threads takes, in an application of this process."""
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
            milliseconds: dict[str, float] = {"worker": 0.0, "dispatcher": 0.0}
            for thread in threading.enumerate():
                kind = thread.name.partition("_")[0]
                if kind in milliseconds:
                    milliseconds[kind] += 1000 * _cpu_of(thread) / PHOTOS
            return milliseconds
        finally:
            executor.stop()


def _cpu_of(thread: threading.Thread) -> float:
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0]) / 1e9


def rows(peer: Path) -> Iterator[Row]:
    """Yield the stages, then the parts of the work."""
    with stage.both(peer) as (ours, theirs, url):
        found = in_turns(
            PAIRS, {"ours": partial(costs, ours), "peer": partial(costs, theirs), "limit": partial(bare_costs, url)}
        )
        for name, what in STAGES.items():
            yield Row(what, "ms of CPU", of(found, name))
        of_work = in_turns(2, {"ours": partial(costs_of_work, url)})
        yield Row("of the work, the threads that call FaceCloud", "ms of CPU", of(of_work, "worker"))
        yield Row("of the work, claiming and saving", "ms of CPU", of(of_work, "dispatcher"))
