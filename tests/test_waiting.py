"""Requests that wait for a task's change or end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService
from tests.support import Client, photo, wait_for

TASKS = "/api/v1/tasks"


def test_waiting_for_a_task_ends_with_it(client: Client, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.latency = 1.0
    task = client.task(photo(1))
    client.start(task)
    begin = time.monotonic()
    answer = client.get(f"{TASKS}/{task}", params={"wait": "30"})
    assert answer.json()["status"] == "completed"
    assert 0.5 < time.monotonic() - begin < 20


def test_waiting_ends_with_any_change_of_the_version_that_the_client_has(client: Client) -> None:
    task = client.task()
    tag = client.get(f"{TASKS}/{task}").headers["ETag"]
    later = threading.Timer(1, client.post, [f"{TASKS}/{task}/images"], {"files": {"image": ("a.jpg", photo(1))}})
    later.start()
    answer = client.get(f"{TASKS}/{task}", params={"wait": "30"}, headers={"If-None-Match": tag})
    later.join()
    assert (answer.status_code, answer.json()["progress"]["total"]) == (200, 1)
    assert answer.headers["ETag"] != tag


def test_waiting_ends_when_its_time_is_over(client: Client) -> None:
    task = client.task()
    tag = client.get(f"{TASKS}/{task}").headers["ETag"]
    begin = time.monotonic()
    assert client.get(f"{TASKS}/{task}", params={"wait": "1"}).status_code == 200
    waited = client.get(f"{TASKS}/{task}", params={"wait": "1"}, headers={"If-None-Match": tag})
    assert waited.status_code == 304
    assert 2 <= time.monotonic() - begin < 15
    for seconds in ("61", "-1", "1.5", ""):
        refused = client.get(f"{TASKS}/{task}", params={"wait": seconds})
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "wait")


def test_of_too_many_that_wait_some_are_answered_at_once(make_service: MakeService) -> None:
    service = make_service(WEB_CONCURRENCY=1)
    client = service.start()
    task = client.task()

    def waited(_: int) -> tuple[float, int, bool]:
        begin = time.monotonic()
        answer = service.client().get(f"{TASKS}/{task}", params={"wait": "4"})
        return time.monotonic() - begin, answer.status_code, "Retry-After" in answer.headers

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(waited, range(8)))
    assert [status for _, status, _ in answers] == [200] * 8
    assert sum(seconds >= 3.9 for seconds, _, _ in answers) == 4
    assert sum(told for _, _, told in answers) == 4


def test_nobody_who_waits_holds_the_end_of_the_server_up(make_service: MakeService) -> None:
    service = make_service(WEB_CONCURRENCY=1)
    client = service.start()
    path = f"{TASKS}/{client.task()}"

    def held() -> int:
        while "Retry-After" in (answer := service.client().get(path, params={"wait": "60"})).headers:
            time.sleep(0.05)  # the request that looks whether all four wait held the place
        return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(held) for _ in range(4)]
        wait_for(lambda: "Retry-After" in client.get(path, params={"wait": "1"}).headers, 20, "four that wait")
        service.stop(12)
        assert [answer.result() for answer in answers] == [200] * 4
