"""FaceCloud's bad days, through the whole service: nothing is lost, and the images say what is wrong."""

import hashlib
import itertools
import os
import random
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from devtools.facecloud_emulator.app import Emulator
from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from tests.clock import Clock
from tests.conftest import FULL_MATRIX, MakeService, facecloud, with_executor
from tests.support import faces_of, free_port, photo, wait_for
from tests.test_processes import calls, check_complete, done

OUTAGE = float(os.environ.get("OUTAGE_SECONDS", "8"))
"""How long FaceCloud is away in the middle of a task: `make chaos` makes it ten minutes, by the real clock."""

PACE = float(os.environ.get("CLOCK_PACE", "120"))
"""How many times as fast as the real clock the service's own goes while it waits for ten minutes or an hour to pass."""
IMAGES = int(os.environ.get("OUTAGE_IMAGES", "200"))
"""How many images a task has that goes through such an outage."""


def test_an_unreachable_facecloud_lets_the_service_start_and_the_images_say_what_is_wrong(
    make_service: MakeService,
) -> None:
    account = {"FACECLOUD_EMAIL": "a@example.com", "FACECLOUD_PASSWORD": "any"}
    service = make_service(FACECLOUD_URL=f"http://127.0.0.1:{free_port()}", FACECLOUD_PATIENCE=4, **account)
    client = service.start()
    task = client.task(*(photo(number) for number in range(3)))
    client.start(task)
    pending = wait_for(lambda: [i for i in client.show(task)["images"] if i["status"] == "pending" and i["error"]])
    assert pending[0]["error"]["code"] == "upstream_unavailable"
    ended = client.ended(task, 90)
    assert ended["status"] == "error"
    for image in ended["images"]:
        assert (image["status"], image["attempts"], image["error"]["code"]) == ("failed", 0, "upstream_unavailable")
        assert image["error"]["detail"] == "FaceCloud has not answered for 4 s. FaceCloud could not be reached."


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


@with_executor("threads")
@pytest.mark.timeout(120 + OUTAGE)
def test_after_an_outage_in_the_middle_of_a_task_it_goes_on_by_itself(make_service: MakeService) -> None:
    with EmulatorServer(Emulator(decode=False, latency=0.1)) as emulator:
        service = make_service(**facecloud(emulator, WORKERS=4))
        client = service.start()
        images = [photo(number) for number in range(120)]
        task = client.task(*images)
        client.start(task)
        wait_for(lambda: done(client, task) >= 20, what="20 images done")
        # First it refuses, then it cannot even be reached.
        emulator.emulator.script.set([Mood(name="html", status=502)])
        away_from = time.monotonic()
        wait_for(lambda: time.monotonic() - away_from > OUTAGE / 2, OUTAGE, "the first half of the outage")
        refused = sum(emulator.emulator.counters()["images"].values()) - done(client, task)
        assert refused <= most_refused(2, 4, OUTAGE / 2)
        emulator.close()
        wait_for(lambda: time.monotonic() - away_from > OUTAGE, OUTAGE, "the second half of the outage")
        shown = client.show(task)
        assert shown["status"] == "processing"
        assert shown["progress"]["failed"] == 0
        before = done(client, task)
    emulator.emulator.script.set([])
    with EmulatorServer(emulator.emulator, port=emulator.port):
        back = time.monotonic()
        wait_for(lambda: done(client, task) > before, 30, "the first image after the return")
        print(f"away for {OUTAGE:.0f} s, {refused} calls refused, goes on after {time.monotonic() - back:.1f} s")
        check_complete(client.ended(task, 60), images)
    assert service.inconsistencies() == []


def test_a_task_of_three_photos_outlives_an_outage_that_began_before_it_and_a_restart(
    make_service: MakeService,
) -> None:
    with EmulatorServer(Emulator(decode=False)) as emulator:
        service = make_service(**facecloud(emulator))
        client = service.start()
        client.run(photo(0))
    service.kill()
    client = service.start()
    images = [photo(number) for number in range(3)]
    task = client.task(*images)
    client.start(task)
    begun = time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 8, what="eight seconds of it")
    shown = client.show(task)["images"]
    assert {(image["status"], image["attempts"]) for image in shown} == {("pending", 0)}
    assert {image["error"]["detail"] for image in shown if image["error"]} == {"FaceCloud could not be reached."}
    with EmulatorServer(emulator.emulator, port=emulator.port):
        check_complete(client.ended(task, 30), images)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("executor", "away"),
    [("celery", 600), ("threads", 3600), *([("threads", 600)] if FULL_MATRIX else [])],
    indirect=["executor"],
)
def test_ten_minutes_and_an_hour_without_facecloud_fail_no_image(
    make_service: MakeService, tmp_path: Path, away: int
) -> None:
    """The service's clock goes `PACE` times as fast meanwhile. Few images are the harder case: more probes for each."""
    clock = Clock(tmp_path / "clock")
    with EmulatorServer(Emulator(decode=False, latency=0.05)) as emulator:
        # At such a pace gunicorn would take its processes for dead, and they each other.
        slow = {"GUNICORN_CMD_ARGS": "--timeout 86400", "LEASE_SECONDS": 3600}
        service = make_service(clock=clock, **facecloud(emulator, WORKERS=4, **slow))
        client = service.start()
        images = [photo(number) for number in range(IMAGES)]
        task = client.task(*images)
        client.start(task)
        wait_for(lambda: done(client, task) >= 20, what="20 images done")
        emulator.emulator.script.set([Mood(name="html", status=502)])
        emulator.emulator.forget()
        pass_time(clock, away / 2)
        refused = sum(emulator.emulator.counters()["images"].values())
        assert refused <= most_refused(2, 4, away / 2)
        emulator.close()
        pass_time(clock, away / 2)
        shown = client.show(task)
        assert shown["status"] == "processing"
        assert shown["progress"]["failed"] == 0
        worn = max(image["attempts"] for image in shown["images"])
        before = shown["progress"]["done"]
    emulator.emulator.script.set([])
    with EmulatorServer(emulator.emulator, port=emulator.port):
        back = clock()
        wait_for(lambda: done(client, task) > before, 30, "the first image after the return")
        print(f"away for {away} s, {refused} calls refused, {worn} attempts at most, on after {clock() - back:.1f} s")
        check_complete(client.ended(task, 60 + IMAGES / 50), images)
    assert service.inconsistencies() == []


def most_refused(processes: int, workers: int, seconds: float) -> float:
    """Return how many calls an outage may cost: those under way, what is begun before that is known, and the probes.

    They come after half a second, then one, two, four, eight, and then every 11 to 15 s, in all processes together.
    """
    return 2 * processes * workers + 5 + seconds / 11


def pass_time(clock: Clock, seconds: float, pace: float = PACE) -> None:
    """Let so many seconds of a service's clock pass."""
    end = clock() + seconds
    clock.run(pace)
    wait_for(lambda: clock() >= end, 2 * seconds / pace + 1, f"{seconds:.0f} s of the service's clock")
    clock.run(1)


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


REJECTED = [Mood(name="status", status=status) for status in (400, 404, 413, 415, 418, 422, 302)]
REJECTED += [Mood(name="inner", status=415)]
WITHOUT_FACES = [Mood(name="no_faces"), Mood(name="data", data=None), Mood(name="missing")]
ONCE = [
    *(Mood(name="status", status=status, times=1) for status in (401, 408, 425, 500, 503)),
    *(Mood(name="html", status=status, times=1) for status in (200, 502, 504)),
    *(Mood(name=name, times=1) for name in ("text", "half", "cut", "reset", "revoke")),  # type: ignore[arg-type]
    Mood(name="inner", status=503, times=1),
    Mood(name="data", data="no faces at all", times=1),
    Mood(name="ok", seconds=3, times=1),
    Mood(name="drip", seconds=0.5, times=1),
    Mood(name="status", status=503, retry_after=1, times=1),
    Mood(name="status", status=429, times=1),
    Mood(name="status", status=429, retry_after=1, times=1),
    Mood(name="status", status=429, retry_after=2, date=True, times=1),
]


@with_executor("celery")
def test_each_row_of_the_table_of_failures_costs_its_own_image_at_most(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    """Every way to fail falls on an image of its own, in the middle of one task."""
    moods = [*REJECTED, *WITHOUT_FACES, *ONCE, Mood(name="status", status=500)]
    images = [photo(number) for number in range(2 * len(moods))]
    hit = dict(zip(images[1::2], moods, strict=True))
    emulator.emulator.script.set([replace(mood, sha256=sha256(image)) for image, mood in hit.items()])
    service = make_service(**facecloud(emulator, FACECLOUD_TIMEOUT=2))
    client = service.start()
    ended = client.run(*images, seconds=60)
    assert ended["status"] == "error"
    for image, shown in zip(images, ended["images"], strict=True):
        mood = hit.get(image)
        code = shown["error"] and shown["error"]["code"]
        if mood in REJECTED:
            assert (shown["status"], code, shown["attempts"]) == ("failed", "upstream_rejected", 1), mood
        elif mood == Mood(name="status", status=500):
            assert (shown["status"], code, shown["attempts"]) == ("failed", "upstream_unavailable", 2), mood
        else:
            assert (shown["status"], code) == ("done", None), mood
            assert len(shown["faces"]) == (0 if mood in WITHOUT_FACES else len(faces_of(image))), mood
    assert service.inconsistencies() == []


def test_images_that_are_never_served_fail_when_their_patience_is_over_and_hold_nobody_up(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    images = [photo(number) for number in range(240)]
    bad = {sha256(image) for image in images[:120:2]}
    moods = (Mood(name="status", status=502), Mood(name="half"), Mood(name="reset"))
    emulator.emulator.script.set([replace(moods[place % 3], sha256=name) for place, name in enumerate(sorted(bad))])
    emulator.emulator.latency = 0.05
    service = make_service(**facecloud(emulator, FACECLOUD_PATIENCE=6))
    client = service.start()
    task = client.task(*images)
    client.start(task)
    wait_for(lambda: done(client, task) == 180, 20, "all that are served")
    ended = client.ended(task, 60)
    failed = [image for image in ended["images"] if image["status"] == "failed"]
    assert ended["progress"] == {"total": 240, "pending": 0, "done": 180, "failed": 60}
    assert {(image["error"]["code"], image["attempts"]) for image in failed} == {("upstream_unavailable", 0)}
    assert service.inconsistencies() == []


UNSERVED = {
    "refused": None,
    "hanging": Mood(name="ok", seconds=3600),
    **{name: Mood(name=name) for name in ("reset", "cut", "half", "text")},
    "html": Mood(name="html", status=200),
    **{str(status): Mood(name="status", status=status) for status in (408, 425, 429, 502, 503, 504)},
}
"""The ways not to serve a call; None is that nobody listens."""
CASES = list(itertools.product((1, 2, 3, 8, 200), (1, 2, 4), UNSERVED, (8, 60, 600)))
CHOSEN = random.Random(os.environ.get("OUTAGE_SEED", "1")).sample(
    CASES, min(len(CASES), int(os.environ.get("OUTAGE_CASES", "4")))
)
"""Numbers of photos and processes, the fault, and the seconds that it lasts: `make chaos` takes all there are."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("photos", "processes", "fault", "away"), CHOSEN)
def test_an_outage_loses_no_photo_and_all_are_done_within_half_a_minute_of_the_return(
    make_service: MakeService, tmp_path: Path, photos: int, processes: int, fault: str, away: int
) -> None:
    """The service's clock goes faster in the outage, and as the real one again before the return."""
    clock = Clock(tmp_path / "clock")
    with EmulatorServer(Emulator(decode=False)) as emulator:
        slow = {"GUNICORN_CMD_ARGS": "--timeout 86400", "LEASE_SECONDS": 3600, "FACECLOUD_TIMEOUT": 2}
        service = make_service(clock=clock, **facecloud(emulator, WEB_CONCURRENCY=processes, **slow))
        client = service.start()
        images = [photo(number) for number in range(photos)]
        task = client.task(*images)
        mood = UNSERVED[fault]
        if mood:
            emulator.emulator.script.set([mood])
        else:
            emulator.close()
        client.start(task)
        pass_time(clock, away, pace=away / 4)
        shown = client.show(task)
        assert shown["status"] == "processing"
        assert shown["progress"]["done"] == shown["progress"]["failed"] == 0
        emulator.emulator.script.set([])
        back = clock()
        with nullcontext() if mood else EmulatorServer(emulator.emulator, port=emulator.port):
            check_complete(client.ended(task, 90), images)
        took = clock() - back
    print(f"{photos} photos, {processes} processes, {fault} for {away} s: all done {took:.1f} s after the return")
    assert took < 30


def test_who_asks_for_calls_not_to_come_is_left_alone_until_then(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    emulator.emulator.script.set([Mood(name="status", status=503, retry_after=6, times=1)])
    service = make_service(**facecloud(emulator, WEB_CONCURRENCY=4))
    client = service.start()
    images = [photo(number) for number in range(30)]
    task = client.task(*images)
    emulator.emulator.latency = 0.5
    client.start(task)
    wait_for(lambda: sum(calls(emulator).values()) >= 1, what="the first call")
    check_complete(client.ended(task, 60), images)
    begins = sorted(emulator.emulator.counters()["begins"])
    pause = max(later - earlier for earlier, later in itertools.pairwise(begins))
    assert pause >= 4.5, "what was under way at the answer ends; nothing is begun for six seconds"


def test_a_spent_quota_stops_the_calls_and_says_so(make_service: MakeService, emulator: EmulatorServer) -> None:
    emulator.emulator.script.set([Mood(name="status", status=402)])
    service = make_service(**facecloud(emulator))
    ended = service.start().run(*(photo(number) for number in range(200)))
    assert {image["error"]["code"] for image in ended["images"]} == {"upstream_quota"}
    assert emulator.emulator.counters()["calls"]["detect"] <= 16, "those that were under way at the first answer"


def test_moods_mixed_at_random_and_changing_in_mid_task_lose_nothing(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    """Never more calls at once than workers × processes; a late answer is still under way at FaceCloud, so none is."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed={seed}")  # shown when it fails, to repeat it
    chance = random.Random(seed)
    mixed = [mood for mood in ONCE if mood.status != 500 and mood.name not in ("ok", "drip")]
    service = make_service(**facecloud(emulator, WORKERS=6))
    client = service.start()
    emulator.emulator.latency = 0.05
    images = [photo(number) for number in range(300)]
    task = client.task(*images)
    over = threading.Event()

    def change() -> None:
        while not over.wait(0.2):
            moods = [replace(mood, share=0.03, times=1) for mood in chance.sample(mixed, 4)]
            emulator.emulator.script.set(moods, seed=chance.randrange(10**6))

    changing = threading.Thread(target=change)
    changing.start()
    try:
        client.start(task)
        wait_for(lambda: done(client, task) >= 250, 60, "most images done")
    finally:
        over.set()
        changing.join()
        emulator.emulator.script.set([])
    failed = [image for image in client.ended(task, 60)["images"] if image["status"] == "failed"]
    # Of two tokens in a row that were revoked an image dies, as the table says; the next start takes it up again.
    assert all(image["error"]["code"] == "upstream_unauthorized" for image in failed), failed
    assert len(failed) <= 10
    client.start(task)
    check_complete(client.ended(task, 60), images)
    assert emulator.emulator.counters()["max_in_flight"] <= 6 * 2
    assert service.inconsistencies() == []


def sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


@with_executor("threads")
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
