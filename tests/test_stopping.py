"""Tasks that wait for their engine say so, and a person can stop waiting."""

import json
import time
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from tests.browser import Visit, check_accessible, chromium
from tests.conftest import MakeService, facecloud, on_database, with_executor
from tests.support import Client, Service, photo, wait_for
from tests.test_commands import run
from tests.test_processes import calls, check_complete, done
from tests.test_tasks import problem
from tests.test_webhooks import Receiver, receiver

__all__ = ["receiver"]


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def codes(task: dict) -> list[str | None]:
    return [image["error"] and image["error"]["code"] for image in task["images"]]


@pytest.fixture
def away(emulator: EmulatorServer) -> EmulatorServer:
    emulator.emulator.script.set([Mood(name="status", status=503, message="Back soon")])
    return emulator


@on_database("sqlite")
def test_a_task_that_waits_for_its_engine_says_since_when_why_and_until_when(
    make_service: MakeService, away: EmulatorServer
) -> None:
    client = make_service(**facecloud(away)).start()
    task = client.task(photo(1))
    assert client.show(task)["waiting_for"] is None
    begun = time.time()
    client.start(task)
    waiting = wait_for(lambda: client.show(task)["waiting_for"], what="a task that waits")
    assert waiting.keys() == {"since", "reason", "next_try"}
    assert begun - 1 <= moment(waiting["since"]) <= time.time()
    assert waiting["reason"] == "FaceCloud answered 503: Back soon."
    assert begun <= moment(waiting["next_try"]) <= time.time() + 15
    (listed,) = client.get("/api/v1/tasks").json()["items"]
    assert listed["waiting_for"]["since"] == waiting["since"]

    shown = client.get(f"/api/v1/tasks/{task}")
    later = client.get(f"/api/v1/tasks/{task}?wait=30", headers={"If-None-Match": shown.headers["ETag"]})
    assert later.status_code == 200, "each probe is a change"
    before = shown.json()["waiting_for"]["next_try"]
    wait_for(lambda: client.show(task)["waiting_for"]["next_try"] > before, 30, "a later try")

    other = client.task(photo(2))
    assert client.start(other).json()["waiting_for"]["since"] == waiting["since"]
    assert client.get(f"/api/v1/tasks/{other}").json()["images"][0]["error"] is None, "it is not called yet"
    away.emulator.script.set([])
    assert client.ended(task, 30)["waiting_for"] is None
    assert client.ended(other, 30)["status"] == "completed"


@with_executor("celery")
def test_a_stopped_task_keeps_what_is_done_and_goes_on_with_a_start(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(60)]
    emulator.emulator.latency = 0.2
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 8, what="some images done")
    stopped = client.post(f"/api/v1/tasks/{task}/stop")
    told = stopped.json()
    assert stopped.status_code == 202
    assert stopped.headers["Location"] == f"/api/v1/tasks/{task}"
    assert (told["status"], told["progress"]["pending"]) == ("error", 0)
    assert told["progress"]["done"] == codes(told).count(None) >= 8
    assert codes(told).count("stopped") == told["progress"]["failed"]
    time.sleep(1)  # what was under way is answered meanwhile
    seen = sum(calls(emulator).values())
    assert client.show(task) == told, "late results are dropped"
    time.sleep(0.5)
    assert sum(calls(emulator).values()) == seen, "nothing more is sent"
    client.start(task)
    check_complete(client.ended(task, 60), images)
    assert service.inconsistencies() == []


def test_a_person_can_stop_waiting_and_start_again_at_once(make_service: MakeService, away: EmulatorServer) -> None:
    client = make_service(**facecloud(away)).start()
    images = [photo(number) for number in range(5)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: client.show(task)["waiting_for"], what="a task that waits")
    told = client.post(f"/api/v1/tasks/{task}/stop").json()
    assert (told["status"], told["waiting_for"], codes(told)) == ("error", None, ["stopped"] * 5)
    begun = time.time()
    client.start(task)
    waiting = wait_for(lambda: client.show(task)["waiting_for"], what="a task that waits")
    assert moment(waiting["since"]) >= begun - 1, "an outage that nobody waits for is forgotten"
    away.emulator.script.set([])
    check_complete(client.ended(task, 30), images)


@pytest.mark.parametrize("status", ["forming", "completed", "error"])
def test_only_a_task_that_is_processing_can_be_stopped(
    client: Client, shared_emulator: EmulatorServer, status: str
) -> None:
    task = client.task(photo(1))
    if status != "forming":
        shared_emulator.emulator.script.set([Mood(name="status", status=418)] if status == "error" else [])
        client.start(task)
        assert client.ended(task)["status"] == status
    refused = client.post(f"/api/v1/tasks/{task}/stop")
    assert status in problem(refused, 409)
    assert refused.json()["code"] == "task_not_processing"
    assert problem(client.post("/api/v1/tasks/b982acff-a46c-420b-b9be-24d137bd21e6/stop"), 404)


def test_the_webhook_is_told_of_a_stop_as_of_every_end(
    make_service: MakeService, away: EmulatorServer, receiver: Receiver
) -> None:
    client = make_service(**facecloud(away, WEBHOOK_ALLOW_PRIVATE="true")).start()
    task = client.task(photo(1), webhook_url=f"{receiver.url}/stop")
    client.start(task)
    client.post(f"/api/v1/tasks/{task}/stop")
    ((_, body),) = receiver.wait("/stop")
    told = json.loads(body)
    assert (told["type"], told["data"]["progress"]["failed"], told["data"]["waiting_for"]) == ("task.error", 1, None)


@pytest.mark.parametrize(
    ("locale", "waits", "button", "ended"),
    [
        ("en-GB", "Face detection has not been answering since", "Stop", "2 photos could not be processed"),
        ("ru-RU", "Распознавание не отвечает с", "Остановить", "2 фото не удалось обработать"),
    ],
)
def test_the_page_says_what_a_task_waits_for_and_stops_it(
    make_service: MakeService, away: EmulatorServer, locale: str, waits: str, button: str, ended: str
) -> None:
    service = make_service(**facecloud(away))
    client = service.start()
    task = client.task(photo(1), photo(2))
    client.start(task)
    with chromium() as browser:
        login = {"username": "admin", "password": service.password}
        visit = Visit(browser.new_context(http_credentials=login, locale=locale), service.url)
        page = visit.open(f"/tasks/{task}")
        expect(page.locator("#waiting-for")).to_contain_text(waits)
        check_accessible(page)
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("heading", name=ended)).to_be_visible()
        expect(page.locator("#waiting-for")).to_have_count(0)
        visit.check()
    assert codes(client.show(task)) == ["stopped", "stopped"]


def test_tasks_are_stopped_by_the_command_line_too(shared_service: Service, client: Client) -> None:
    task = client.task(photo(1))
    refused = run(shared_service.settings, "tasks", "stop", task)
    assert refused.returncode == 1
    assert f"{task}: This task is forming" in refused.stderr
