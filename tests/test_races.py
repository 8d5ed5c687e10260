"""Calls that race for one task in two processes: only the documented answers, and nothing left behind.

`make chaos` makes a thousand rounds of each pair.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, free_port, photo, wait_for

ROUNDS = int(os.environ.get("RACES_ROUNDS", "12"))
IMAGE = photo(1)
ALLOWED = {"start": {202, 404, 409}, "delete": {204, 404}, "upload": {201, 404, 409}, "remove": {204, 404, 409}}


def remove(client: Client, task: str) -> requests.Response:
    images = client.get(f"/api/v1/tasks/{task}").json().get("images") or [{"id": "none"}]
    return client.delete(f"/api/v1/tasks/{task}/images/{images[0]['id']}")


CALLS: dict[str, Callable[[Client, str], requests.Response]] = {
    "start": Client.start,
    "delete": lambda client, task: client.delete(f"/api/v1/tasks/{task}"),
    "upload": lambda client, task: client.post(f"/api/v1/tasks/{task}/images", files={"image": IMAGE}),
    "remove": remove,
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[list[Service]]:
    """Give two servers of one process each on one database and one folder, so that a race is between processes."""
    folder = tmp_path_factory.mktemp("races")
    with EmulatorServer(Emulator(decode=False, latency=0.005)) as emulator:
        shutil.copy(migrated, folder / "service.db")
        first = Service(folder, **facecloud(emulator, WEB_CONCURRENCY=1))
        second = Service(folder, **{**first.settings, "PORT": free_port()})
        for service in (first, second):
            service.start()
        yield [first, second]
        for service in (first, second):
            service.kill()


def race(clients: list[Client], names: list[str], task: str, chance: random.Random) -> list[int]:
    """Make the calls at the same moment, give or take the time that one of them needs; return the answers."""

    def call(name: str, client: Client, delay: float) -> int:
        time.sleep(delay)
        answer = CALLS[name](client, task)
        assert answer.status_code in ALLOWED[name], answer.text
        return answer.status_code

    with ThreadPoolExecutor(len(names)) as pool:
        delays = [chance.random() * 0.01 for _ in names]
        return list(pool.map(call, names, clients, delays))


def check(client: Client, folder: Path, task: str, names: list[str], answers: list[int]) -> None:
    """What was answered is what is stored."""
    given = list(zip(names, answers, strict=True))
    if "delete" in names:
        assert given.count(("delete", 204)) == 1, "one deletion finds the task"
        assert client.get(f"/api/v1/tasks/{task}").status_code == 404
        assert not (folder / "files" / "tasks" / task).exists()
        return
    expected = 2 + given.count(("upload", 201)) - given.count(("remove", 204))
    if "start" in names and expected:
        assert given.count(("start", 202)) == 1, "one start finds the task forming"
        shown = client.ended(task)
        assert shown["status"] == "completed"
    else:
        shown = client.show(task)
    assert len(shown["images"]) == expected
    client.delete(f"/api/v1/tasks/{task}")


RACES = [
    ["start", "start"],
    ["start", "delete"],
    ["upload", "start"],
    ["upload", "delete"],
    ["delete", "delete"],
    ["start", "start", "start", "start"],
    ["upload", "remove", "start", "delete"],
]


@pytest.mark.timeout(60 + ROUNDS)
@pytest.mark.parametrize("names", RACES, ids=" x ".join)
def test_calls_that_race_get_only_documented_answers_and_leave_no_orphan(
    servers: list[Service], names: list[str]
) -> None:
    chance = random.Random(5)
    clients = [servers[number % 2].client() for number in range(len(names))]
    for number in range(ROUNDS):
        task = clients[0].task(IMAGE, IMAGE)
        order = chance.sample(names, len(names))
        answers = race(clients, order, task, chance)
        check(clients[number % 2], servers[0].folder, task, order, answers)
    assert servers[0].inconsistencies() == []
    assert servers[0].left_files() == []
    assert "Traceback" not in servers[0].log.read_text()


@pytest.mark.timeout(60 + ROUNDS)
def test_a_deletion_that_meets_the_end_of_its_task_leaves_nothing(servers: list[Service]) -> None:
    chance = random.Random(6)
    clients = [service.client() for service in servers]
    for number in range(ROUNDS):
        task = clients[0].task(*[IMAGE] * 8)
        assert clients[number % 2].start(task).status_code == 202
        time.sleep(chance.random() * 0.03)  # eight images at 5 ms on sixteen threads: before, at and after the end
        assert clients[chance.randrange(2)].delete(f"/api/v1/tasks/{task}").status_code == 204
        assert clients[0].get(f"/api/v1/tasks/{task}").status_code == 404
    wait_for(lambda: servers[0].inconsistencies() == [], 5, "the last late results")
    assert servers[0].left_files() == []
    assert "Traceback" not in servers[0].log.read_text()


def test_of_uploads_that_race_for_the_last_place_of_a_task_one_gets_it(make_service: MakeService) -> None:
    service = make_service(MAX_IMAGES_PER_TASK=3)
    client = service.start()
    clients = [service.client() for _ in range(4)]
    for _ in range(5):
        task = client.task(IMAGE, IMAGE)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda one, task=task: CALLS["upload"](one, task).status_code, clients))
        assert sorted(answers) == [201, 413, 413, 413]
        assert len(client.show(task)["images"]) == 3
    assert service.inconsistencies() == []
