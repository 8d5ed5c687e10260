"""FaceCloud's bad days, through the whole service: nothing is lost, and the images say what is wrong."""

import time

from service.faces.emulator import Emulator
from service.faces.emulator_server import EmulatorServer
from service.faces.moods import Mood
from tests.conftest import MakeService, facecloud, with_both_executors
from tests.support import free_port, photo, wait_for
from tests.test_processes import check_complete, done


def test_an_unreachable_facecloud_lets_the_service_start_and_the_images_say_what_is_wrong(
    make_service: MakeService,
) -> None:
    account = {"FACECLOUD_EMAIL": "a@example.com", "FACECLOUD_PASSWORD": "any"}
    service = make_service(FACECLOUD_URL=f"http://127.0.0.1:{free_port()}", **account)
    client = service.start()
    task = client.task(*(photo(number) for number in range(3)))
    client.start(task)
    pending = wait_for(lambda: [i for i in client.show(task)["images"] if i["status"] == "pending" and i["error"]])
    assert pending[0]["error"]["code"] == "upstream_unavailable"
    ended = client.ended(task, 90)
    assert ended["status"] == "error"
    for image in ended["images"]:
        assert (image["status"], image["error"]["code"]) == ("failed", "upstream_unavailable")
        assert "FaceCloud" in image["error"]["detail"]


def test_a_wrong_account_is_told_at_the_images_and_the_login_is_not_hammered(make_service: MakeService) -> None:
    with EmulatorServer(Emulator(decode=False, password="right-" + str(time.time()))) as emulator:
        service = make_service(**facecloud(emulator))
        client = service.start()
        ended = client.run(*(photo(number) for number in range(40)))
        assert ended["status"] == "error"
        assert {image["error"]["code"] for image in ended["images"]} == {"upstream_unauthorized"}
        seen = emulator.emulator.counters()
        assert seen["calls"]["login"] <= 2  # one a process
        assert "detect" not in seen["calls"]


@with_both_executors
def test_after_an_outage_in_the_middle_of_a_task_it_goes_on_by_itself(make_service: MakeService) -> None:
    with EmulatorServer(Emulator(decode=False, latency=0.1)) as emulator:
        service = make_service(**facecloud(emulator, WORKERS=4))
        client = service.start()
        images = [photo(number) for number in range(120)]
        task = client.task(*images)
        client.start(task)
        wait_for(lambda: done(client, task) >= 20, what="20 images done")
        away_from = time.monotonic()
        emulator.close()
        wait_for(lambda: time.monotonic() - away_from > 12, 15, "twelve seconds of outage")
        shown = client.show(task)
        assert shown["status"] == "processing"
        assert shown["progress"]["failed"] == 0
    with EmulatorServer(emulator.emulator, port=emulator.port):
        check_complete(client.ended(task, 30), images)


def test_tokens_revoked_in_the_middle_cost_one_login_a_process(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, WORKERS=8))
    client = service.start()
    images = [photo(number) for number in range(150)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 40, what="40 images done")
    assert emulator.emulator.counters()["logins"] == 2
    emulator.emulator.revoke()
    check_complete(client.ended(task), images)
    assert emulator.emulator.counters()["logins"] == 4


def test_too_many_requests_are_waited_out(make_service: MakeService, emulator: EmulatorServer) -> None:
    emulator.emulator.script.set([Mood(name="status", status=429, retry_after=2, times=3)])
    service = make_service(**facecloud(emulator))
    client = service.start()
    images = [photo(number) for number in range(40)]
    begin = time.monotonic()
    check_complete(client.run(*images), images)
    assert time.monotonic() - begin >= 2


@with_both_executors
def test_moods_mixed_at_random_lose_nothing(make_service: MakeService, emulator: EmulatorServer) -> None:
    emulator.emulator.script.set(
        [
            Mood(name="reset", share=0.04),
            Mood(name="html", status=502, share=0.04),
            Mood(name="half", share=0.04),
            Mood(name="cut", share=0.04),
            Mood(name="status", status=503, retry_after=1, share=0.02),
            Mood(name="ok", seconds=1.5, share=0.02),
            Mood(name="revoke", share=0.01),
        ],
        seed=7,
    )
    service = make_service(**facecloud(emulator, FACECLOUD_TIMEOUT=1))
    client = service.start()
    images = [photo(number) for number in range(300)]
    check_complete(client.run(*images, seconds=60), images)
    assert emulator.emulator.counters()["max_in_flight"] <= 16


@with_both_executors
def test_of_a_thousand_images_the_broken_ones_fail_alone(make_service: MakeService, emulator: EmulatorServer) -> None:
    images = [photo(number) for number in range(1000)]
    by_size = [
        Mood(name="status", status=400, message="broken", share=0.05),
        Mood(name="status", status=500, share=0.05),
    ]
    emulator.emulator.script.set(by_size, seed=3)
    service = make_service(**facecloud(emulator))
    client = service.start()
    first = client.run(*images, seconds=60)
    assert first["status"] == "error"
    failed = [image for image in first["images"] if image["status"] == "failed"]
    assert 20 < len(failed) < 100
    assert all(image["error"]["code"] and image["error"]["detail"].endswith(".") for image in failed)
    assert first["progress"]["done"] == 1000 - len(failed)
    emulator.emulator.script.set([])
    emulator.emulator.forget()
    assert client.start(first["id"]).status_code == 202
    check_complete(client.ended(first["id"]), images)
    assert sum(emulator.emulator.counters()["images"].values()) == len(failed)
