"""Tasks of one photo, eight clients at a time: tasks a second, and milliseconds of CPU of the server for each call.

The four calls are create, upload, start, and look until it has ended; a form makes all but the last of them. The
emulator answers at once; clients, server and emulator share the cores. The limit is an empty view of Flask, called by
the same clients as often, which need not look twice.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks import stage
from benchmarks.photos import photos
from benchmarks.plain_client import PlainClient, form
from benchmarks.row import PAIRS, Bar, Row, in_turns, of
from tests.support import Client, Service

CLIENTS, TASKS, CALLS = 8, 80, 100
Way = Callable[[Client], object]


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


def four_empty_calls(client: Client) -> None:
    """Call an empty view as often as a task is made of."""
    client.post("/", json={})
    one_empty_form(client)
    client.post("/")


def one_empty_form(client: Client) -> None:
    """Send a photo in a form, and look once."""
    client.post("/", data={"start": "true"}, files=_part())
    client.get("/?bytes=900")


def rate(service: Service, way: Way) -> float:
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
    images: list[str] = []
    photo = form(photos()[:1])
    with PlainClient(service) as client:

        def upload(task: str) -> None:
            added = json.loads(client.call("POST", f"{task}/images", *photo))["items"][0]["id"]
            images.append(f"{task}/images/{added}")

        made = [json.loads(client.call("POST", "/api/v1/tasks"))["id"] for _ in range(CALLS)]
        tasks = [f"/api/v1/tasks/{task}" for task in made]
        return {
            "upload": _cost(service, upload, tasks),
            "look": _cost(service, partial(client.call, "GET"), images),
            "start": _cost(service, lambda task: client.call("POST", f"{task}/start"), tasks),
        }


def empty_costs(service: Service) -> dict[str, float]:
    """Return what such calls of an empty view cost."""
    paths, photo = ["/?bytes=600"] * CALLS, form(photos()[:1])
    with PlainClient(service) as client:
        return {
            "upload": _cost(service, lambda path: client.call("POST", path, *photo), paths),
            "look": _cost(service, partial(client.call, "GET"), paths),
            "start": _cost(service, partial(client.call, "POST"), paths),
        }


def _cost(service: Service, call: Callable[[str], object], arguments: Sequence[str]) -> float:
    before = stage.cpu(service)
    for argument in arguments:
        call(argument)
    return (stage.cpu(service) - before) / len(arguments) * 1000


def rows(peer: Path) -> Iterator[Row]:
    """Yield the rates, then the costs of the calls."""
    with stage.both(peer) as (ours, theirs, _), stage.empty_view() as empty:
        for what, way, bare, bar in (
            ("tasks of one photo, four calls", in_four_calls, four_empty_calls, 60.0),
            ("tasks of one photo, one form", in_one_form, one_empty_form, 75.0),
        ):
            measures: dict[str, tuple[Service, Way]] = {
                "ours": (ours, way),
                "peer": (theirs, way),
                "limit": (empty, bare),
            }
            found = in_turns(PAIRS, {name: partial(rate, *measure) for name, measure in measures.items()})
            yield Row(what, "tasks/s", found, bars=[Bar(bar)])
    with stage.both(peer, WEB_WORKS="false") as (ours, theirs, _), stage.empty_view() as empty:
        called = in_turns(
            PAIRS, {"ours": partial(costs, ours), "peer": partial(costs, theirs), "limit": partial(empty_costs, empty)}
        )
        for name, what, bar in (
            ("upload", "upload of one photo, in a request of its own", 2.6),
            ("look", "look at one image", 0.8),
            ("start", "start of a task of one photo", 1.5),
        ):
            yield Row(what, "ms of CPU", of(called, name), bars=[Bar(bar)])
