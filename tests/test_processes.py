"""Nothing is lost when processes die, stop or end: real servers, real signals, the emulator of FaceCloud."""

import hashlib
import io
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from tests.conftest import FULL_MATRIX, MakeService, facecloud, on_database
from tests.support import Client, Service, faces_of, free_port, is_running, photo, wait_for, wait_until_equal
from tests.test_tasks import recount

KILLS = int(os.environ.get("KILLS", "4"))
"""How often all processes die at once: `make chaos` makes it a hundred."""
ROUNDS = 4 if FULL_MATRIX else 2
"""How often a server is killed while slow calls are under way."""


def done(client: Client, task: str) -> int:
    number: int = client.show(task, images=False)["progress"]["done"]
    return number


def check_complete(task: dict, images: list[bytes]) -> None:
    """Every image ended once, with its own faces once, and the statistics are those of the stored faces."""
    assert task["status"] == "completed"
    assert [len(image["faces"]) for image in task["images"]] == [len(faces_of(image)) for image in images]
    assert task["statistics"] == recount(task)
    assert task["progress"] == {"total": len(images), "pending": 0, "done": len(images), "failed": 0}


def calls(emulator: EmulatorServer) -> dict[str, int]:
    sent: dict[str, int] = emulator.emulator.counters()["images"]
    return sent


@on_database("postgresql")
def test_a_killed_process_loses_no_work(make_service: MakeService, emulator: EmulatorServer) -> None:
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(150)]
    task = client.task(*images)
    client.start(task)
    for share in (20, 80):
        wait_for(lambda share=share: done(client, task) >= share, what=f"{share} images done")
        os.kill(service.workers()[0], signal.SIGKILL)
    check_complete(client.ended(task, 60), images)
    sent = calls(emulator)
    assert set(sent) == {hashlib.sha256(image).hexdigest() for image in images}
    # What was in flight, or finished and not yet written, in the two that were killed: a call more each.
    assert sum(sent.values()) <= 150 + 2 * 8
    assert "Traceback" not in service.log.read_text()


def test_when_only_the_parent_is_killed_a_new_server_can_start_at_once(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(100)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 10, what="10 images done")
    assert service.process
    group = service.process.pid
    service.process.kill()
    service.process.wait(10)
    client = service.start()
    assert not is_running(group)
    check_complete(client.ended(task, 60), images)


@on_database("sqlite")
def test_a_killed_server_goes_on_by_itself_when_it_is_started_again(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(100)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 20, what="20 images done")
    service.kill()
    # A file that a dying upload left behind, and one that it was just writing.
    (service.files / "tasks" / task / "orphan").write_bytes(b"x")
    (service.files / "tasks" / task / ".new-orphan").write_bytes(b"x")
    client = service.start()
    check_complete(client.ended(task, 20), images)
    wait_until_equal(lambda: len(service.left_files()), 100)


@on_database("postgresql")
def test_sigterm_ends_in_order_and_repeats_no_call(make_service: MakeService, emulator: EmulatorServer) -> None:
    emulator.emulator.latency = 0.2
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(60)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 10, what="10 images done")
    begin = time.monotonic()
    service.stop()
    assert time.monotonic() - begin < 15  # what runs takes 0.2 s; the limit is 25
    sent = sum(calls(emulator).values())
    assert sent < 60
    client = service.start()
    check_complete(client.ended(task, 20), images)
    assert sum(calls(emulator).values()) == 60


def test_a_run_that_does_not_end_in_time_is_given_up_and_runs_again(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.script.set([Mood(name="ok", seconds=24, times=1)])
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1))
    client = service.start()
    image = photo(1)
    task = client.task(image)
    client.start(task)
    wait_for(lambda: calls(emulator), what="the call")
    begin = time.monotonic()
    service.stop()
    assert time.monotonic() - begin < 25
    client = service.start()
    check_complete(client.ended(task, 10), [image])


@on_database("sqlite")
def test_a_stopped_process_is_replaced_and_cannot_overwrite_what_came_after(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.3
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, LEASE_SECONDS=2, WORKERS=4))
    other = make_service(**{**service.settings, "PORT": free_port()})
    client = service.start()
    images = [photo(number) for number in range(30)]
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) >= 4, what="the first images done")
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        second = other.start()
        ended = second.ended(task, 30)
        check_complete(ended, images)
    finally:
        os.kill(worker, signal.SIGCONT)
    # The woken process hands in its late results; wait until it has made its next turn, then nothing has changed.
    wait_for(lambda: client.get("/readyz").status_code == 200, what="the woken process")
    again = client.run(photo(1000))
    assert again["status"] == "completed"
    assert client.show(task) == ended


def test_a_live_run_of_ten_leases_runs_once(make_service: MakeService, emulator: EmulatorServer) -> None:
    emulator.emulator.script.set([Mood(name="ok", seconds=10)])
    service = make_service(**facecloud(emulator, LEASE_SECONDS=1))
    client = service.start()
    image = photo(1)
    check_complete(client.run(image, seconds=30), [image])
    assert list(calls(emulator).values()) == [1]


@on_database("postgresql")
def test_a_job_that_kills_four_processes_is_failed_and_says_so(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.script.set([Mood(name="ok", seconds=30)])
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1))
    client = service.start()
    task = client.task(photo(1))
    client.start(task)
    for number in range(1, 5):
        wait_for(lambda number=number: sum(calls(emulator).values()) == number, what=f"call {number}")
        os.kill(service.workers()[0], signal.SIGKILL)
    ended = client.ended(task, 30)
    assert ended["status"] == "error"
    assert ended["images"][0]["error"]["code"] == "worker_lost"
    emulator.emulator.script.set([])
    client.start(task)
    assert client.ended(task)["status"] == "completed"


@pytest.mark.parametrize("seconds", [0.001, 0.05])
def test_after_a_kill_no_more_calls_are_made_again_than_there_are_workers(
    make_service: MakeService, emulator: EmulatorServer, seconds: float
) -> None:
    emulator.emulator.latency = seconds
    service = make_service(**facecloud(emulator, WORKERS=8))
    for part in range(ROUNDS):
        client = service.start()
        emulator.emulator.forget()
        images = [photo(200 * part + number) for number in range(200)]
        task = client.task(*images)
        client.start(task)
        wait_for(lambda part=part: sum(calls(emulator).values()) >= 40 + 10 * part, what="40 calls")
        service.kill()
        check_complete(service.start().ended(task, 60), images)
        assert sum(calls(emulator).values()) - len(images) <= 2 * 8
        service.kill()


@pytest.mark.timeout(60 + 10 * KILLS)
def test_the_death_of_all_processes_counts_against_no_photo(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.script.set([Mood(name="ok", seconds=600)])
    service = make_service(**facecloud(emulator, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(3)]
    task = client.task(*images)
    client.start(task)
    for number in range(KILLS):
        emulator.emulator.forget()
        if number:
            client = service.start()
        wait_for(lambda: len(calls(emulator)) == len(images), what="a call for each photo")
        service.kill()
    emulator.emulator.script.set([])
    check_complete(service.start().ended(task, 30), images)


class Poison:
    """An engine behind the emulator that kills the one server process whenever it is asked about one photo."""

    def __init__(self, service: Service, image: bytes) -> None:
        self.service = service
        self.image = image
        self.deaths = 0

    def detect(self, image: bytes, *_: object) -> list[Detection]:
        if image == self.image:
            self.deaths += 1
            for worker in self.service.workers():
                os.kill(worker, signal.SIGKILL)
        return faces_of(image)

    def close(self) -> None: ...


@on_database("sqlite")
def test_a_photo_that_kills_its_process_fails_alone_and_none_of_its_neighbours(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, WORKERS=4))
    client = service.start()
    images = [photo(number) for number in range(40)]
    emulator.emulator.engine = poison = Poison(service, images[5])
    ended = client.run(*images, seconds=60)
    errors = [image["error"] and image["error"]["code"] for image in ended["images"]]
    assert errors == [None] * 5 + ["worker_lost"] + [None] * 34
    assert poison.deaths == 4
    assert service.inconsistencies() == []


@pytest.fixture
def pair(make_service: MakeService, emulator: EmulatorServer) -> tuple[Service, Service]:
    """Give two servers on one database and one folder, so that a test can choose which process is asked."""
    first = make_service(**facecloud(emulator, WEB_CONCURRENCY=1, WORKERS=4))
    second = make_service(**{**first.settings, "PORT": free_port()})
    first.start()
    second.start()
    return first, second


@on_database("postgresql")
def test_a_deletion_in_the_other_process_stops_all_calls_within_a_second(
    pair: tuple[Service, Service], emulator: EmulatorServer
) -> None:
    emulator.emulator.latency = 0.1
    first, second = (service.client() for service in pair)
    for deleting in (first, second):
        emulator.emulator.forget()
        images = [photo(number) for number in range(200)]
        task = first.task(*images)
        first.start(task)
        wait_for(lambda task=task: done(first, task) >= 16, what="16 images done")
        assert deleting.delete(f"/api/v1/tasks/{task}").status_code == 204
        deleted_at = time.time()
        # The next task is not disturbed.
        following = [photo(number) for number in range(300, 310)]
        check_complete(first.run(*following), following)
        ours = {hashlib.sha256(image).hexdigest() for image in images}
        wait_for(lambda deleted_at=deleted_at: time.time() > deleted_at + 2, 3, "two seconds")
        seen = emulator.emulator.counters()
        late = [begin for begin in seen["begins"] if begin > deleted_at + 1]
        assert len(late) <= 10  # at most the following task's own
        assert sum(calls for image, calls in seen["images"].items() if image in ours) < 100
        assert first.get(f"/api/v1/tasks/{task}").status_code == 404
        assert not (pair[0].files / "tasks" / task).exists()


def test_both_processes_share_a_task(pair: tuple[Service, Service], emulator: EmulatorServer) -> None:
    emulator.emulator.latency = 0.1
    client = pair[0].client()
    images = [photo(number) for number in range(64)]
    check_complete(client.run(*images), images)
    assert emulator.emulator.counters()["max_in_flight"] == 8
    assert sum(calls(emulator).values()) == 64


def test_a_large_task_does_not_hold_up_a_single_image(pair: tuple[Service, Service], emulator: EmulatorServer) -> None:
    emulator.emulator.latency = 0.1
    client = pair[0].client()
    large = client.task(*(photo(number) for number in range(600)))
    client.start(large)
    wait_for(lambda: done(client, large) >= 8, what="the large task under way")
    begin = time.monotonic()
    assert client.run(photo(1000))["status"] == "completed"
    assert time.monotonic() - begin < 5  # the large one takes 7.5
    assert client.show(large)["status"] == "processing"


def large(number: int, kind: str, **options: object) -> bytes:
    """Make a photo of 12 megapixels."""
    picture = Image.effect_noise((400, 300), 90).resize((4000, 3000)).convert("RGB")
    picture.putpixel((0, 0), (number, number, number))
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def test_large_photos_leave_no_memory_behind(make_service: MakeService, emulator: EmulatorServer) -> None:
    service = make_service(**facecloud(emulator, WORKERS=8))
    task = service.start().task()
    kinds = [("PNG", {"compress_level": 1}), ("WEBP", {"method": 0}), ("JPEG", {"progressive": True})]
    images = [large(number, kind, **options) for number, (kind, options) in enumerate(kinds * 3)]

    def upload(image: bytes) -> int:
        files = {"image": ("large", image)}
        return service.client().post(f"/api/v1/tasks/{task}/images", files=files, timeout=120).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(upload, images)) == {201}
    client = service.client()
    client.start(task)
    assert client.ended(task, 120)["status"] == "completed"
    for pid in service.workers():
        status = Path(f"/proc/{pid}/status").read_text()
        held, most = (int(status.split(f"{name}:")[1].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
        assert held < 150, "MB; left to itself the C library kept 400"
        assert most < 500, "MB; a WebP takes 16 bytes a pixel while it is decoded"
