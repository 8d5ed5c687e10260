"""Tasks of one photo, eight clients at a time: tasks a second, and milliseconds of CPU of the server for each call.

In four calls (create, upload, start, look until it has ended) the bar is 60 tasks a second, in one form 75. Of the
calls, the look at one image has 0.8 ms, the upload of a photo of 50 KB 2.6, its start 1.5. The emulator answers at
once, and clients, server and emulator share the cores.

`--against DIR` takes turns with the code of another checkout: each round runs both.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks import stage
from benchmarks.photos import photos
from tests.support import ROOT, Client, Service

CLIENTS, TASKS, CALLS = 8, 80, 100
BARS = {"four calls": 60.0, "one form": 75.0, "look": 0.8, "upload": 2.6, "start": 1.5}
"""Tasks a second at least, milliseconds a call at most."""


def _part() -> dict[str, tuple[str, bytes, str]]:
    return {"image": ("photo.jpg", photos()[0], "image/jpeg")}


def in_four_calls(client: Client) -> None:
    """Create a task, upload, start, and look until it has ended."""
    task = client.post("/api/v1/tasks", json={}).json()["id"]
    client.post(f"/api/v1/tasks/{task}/images", files=_part())
    client.start(task)
    _await(client, task)


def in_one_form(client: Client) -> None:
    """Send all of it in a form, and look until it has ended."""
    _await(client, client.post("/api/v1/tasks", data={"start": "true"}, files=_part()).json()["id"])


def _await(client: Client, task: str) -> None:
    while client.get(f"/api/v1/tasks/{task}").json()["status"] == "processing":
        time.sleep(0.02)


def rate(service: Service, way: Callable[[Client], None]) -> float:
    """Return the tasks a second of all clients together."""
    clients = [service.client() for _ in range(CLIENTS)]

    def work(client: Client) -> None:
        for _ in range(TASKS // CLIENTS):
            way(client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        begin = time.perf_counter()
        list(pool.map(work, clients))
        return TASKS / (time.perf_counter() - begin)


def costs(service: Service) -> dict[str, float]:
    """Return the milliseconds of CPU of a call of each kind; nobody works on the images, which would count too."""
    client = service.client()
    tasks = [client.post("/api/v1/tasks", json={}).json()["id"] for _ in range(CALLS)]
    images: list[str] = []

    def upload(task: str) -> None:
        answer = client.post(f"/api/v1/tasks/{task}/images", files=_part())
        images.append(f"/api/v1/tasks/{task}/images/{answer.json()['items'][0]['id']}")

    return {
        "upload": _cost(service, upload, tasks),
        "look": _cost(service, client.get, images),
        "start": _cost(service, client.start, tasks),
    }


def _cost(service: Service, call: Callable[[str], object], arguments: Sequence[str]) -> float:
    before = cpu(service)
    for argument in arguments:
        call(argument)
    return (cpu(service) - before) / len(arguments) * 1000


def cpu(service: Service) -> float:
    """Return the seconds of CPU that the server's processes have taken."""
    ticks = 0
    for pid in service.workers():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rates(service: Service) -> dict[str, float]:
    """Return the tasks a second in both ways."""
    return {"four calls": rate(service, in_four_calls), "one form": rate(service, in_one_form)}


def measured(
    roots: Sequence[Path], rounds: int, measure: Callable[[Service], dict[str, float]], **settings: object
) -> list[list[dict[str, float]]]:
    """Return in each round the figures of the code in each folder, which take turns."""
    with ExitStack() as stack:
        services = [stack.enter_context(stage.service(root=root, **settings)) for root in roots]
        for service in services:
            measure(service)  # the first round is slower
        return [[measure(service) for service in services] for _ in range(rounds)]


def main() -> None:
    """Print the median of each figure, beside it the other checkout's, and the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    roots = [ROOT, *([given.against.resolve()] if given.against else [])]
    with stage.emulator(0.0) as url:
        settings = stage.facecloud(url)
        found = [
            *measured(roots, given.rounds, rates, **settings),
            *measured(roots, given.rounds, costs, WEB_WORKS="false", **settings),
        ]
    for name, bar in BARS.items():
        of_each = zip(*([figures[name] for figures in row] for row in found if name in row[0]), strict=True)
        print(f"{name}: {', against '.join(f'{statistics.median(each):.2f}' for each in of_each)} (bar {bar:g})")


if __name__ == "__main__":
    main()
