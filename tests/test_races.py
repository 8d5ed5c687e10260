"""Calls that race for one task: only the documented answers, and nothing left behind."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from service.faces.emulator_server import EmulatorServer
from tests.conftest import MakeService, facecloud, on_both_databases, with_both_executors
from tests.support import Client, photo

ROUNDS = 60
ALLOWED = {"start": {202, 404, 409}, "delete": {204, 404}, "upload": {201, 404, 409}}


@with_both_executors
@on_both_databases
def test_start_delete_and_upload_raced_in_any_order_give_no_fault_and_no_orphan(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.005
    service = make_service(**facecloud(emulator))
    client = service.start()
    image = photo(1)
    chance = random.Random(5)
    calls: dict[str, Callable[[Client, str], requests.Response]] = {
        "start": Client.start,
        "delete": lambda client, task: client.delete(f"/api/v1/tasks/{task}"),
        "upload": lambda client, task: client.post(f"/api/v1/tasks/{task}/images", files={"image": image}),
    }
    clients = [service.client() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(ROUNDS):
            task = client.task(image, image)
            names = chance.choices(list(calls), k=4)
            answers = list(pool.map(lambda name, client, task=task: calls[name](client, task), names, clients))
            for name, answer in zip(names, answers, strict=True):
                assert answer.status_code in ALLOWED[name], answer.text
            if "delete" in names:
                assert client.get(f"/api/v1/tasks/{task}").status_code == 404
                assert not (service.files / "tasks" / task).exists()
            elif "start" in names:
                shown = client.ended(task)
                assert shown["status"] == "completed"
                assert len(shown["images"]) == 2 + sum(
                    name == "upload" and answer.status_code == 201 for name, answer in zip(names, answers, strict=True)
                )
    kept = [
        image["id"]
        for task in client.get("/api/v1/tasks?limit=100").json()["items"]
        for image in client.show(task["id"])["images"]
    ]
    assert sorted(service.left_files()) == sorted(kept)
    assert "Traceback" not in service.log.read_text()
