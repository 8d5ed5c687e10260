"""/metrics is right whichever of several processes answers, at work and after one was killed."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.runtime_folder import RuntimeFolder
from service.telemetry.metrics import Metrics
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, photo, wait_for

Samples = dict[str, float]


def read(client: Client) -> Samples:
    """Return what is counted now, as `name{label="value",…}` with the labels in order."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for sample in samples
    }


def readings(service: Service, number: int = 16) -> list[Samples]:
    """Read often, over a new connection each time, so that every process gets to answer."""
    return [read(service.client()) for _ in range(number)]


JOBS = "jobs_ended_total kind=face outcome=succeeded"
CALLS = "engine_calls_total engine=facecloud outcome=ok"
IN_FLIGHT = "engine_calls_in_flight engine=facecloud"
SHOWN = "http_requests_total method=GET route=/api/v1/tasks/{task_id} status=404"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def service(make_service: MakeService, emulator: EmulatorServer, folder: Path) -> Iterator[Service]:
    yield make_service(**facecloud(emulator, WORKERS=4, METRICS_FOLDER=folder))


def test_sums_are_right_from_every_process_at_work_and_after_a_kill(
    service: Service, emulator: EmulatorServer, folder: Path
) -> None:
    emulator.emulator.latency = 0.05
    client = service.start()
    for _ in range(20):
        assert service.client().get("/api/v1/tasks/none").status_code == 404
    answers = wait_for(
        lambda: (seen := readings(service)) and {one[SHOWN] for one in seen} == {20} and seen, what="20 requests"
    )
    everybody = {str(pid) for pid in service.workers()}

    def answered() -> set[str]:
        answers.extend(readings(service, 4))
        return set(re.findall(r"pid=(\d+) .*route=/metrics", service.log.read_text()))

    wait_for(lambda: answered() == everybody, what="an answer of each process")
    assert all(one["jobs kind=face status=queued"] == 0 == one["jobs kind=face status=running"] for one in answers)

    task = client.task(*(photo(number) for number in range(120)))
    client.start(task)
    first = wait_for(lambda: (one := read(client)).get(JOBS, 0) >= 20 and one, what="20 jobs")
    assert 0 < first[IN_FLIGHT] <= 8
    assert 0 < first["jobs kind=face status=queued"] < 120
    assert 0 < first["jobs_oldest_due_seconds kind=face"] < 30
    later = read(client)
    assert later[JOBS] >= first[JOBS]

    killed = service.workers()[0]
    os.kill(killed, signal.SIGKILL)
    client.ended(task, 60)
    wait_for(lambda: read(client)[IN_FLIGHT] == 0, what="no call in flight")
    # Runs and their calls are counted after the commit: what the killed process had just stored or still had to store,
    # it may not have counted.
    ended = wait_for(lambda: (one := read(client))[JOBS] == written(service) >= 120 - 4 and one, what="120 jobs")
    lost = ended.get("jobs_ended_total kind=face outcome=lost", 0)
    assert ended[SHOWN] == 20
    assert 120 - 2 * 4 <= ended[CALLS] <= 120 + lost
    assert ended["engine_call_duration_seconds_count engine=facecloud"] >= ended[CALLS]
    # The new process took the place of the killed one, and its files: two places and the parent.
    assert {re.sub(r"^\w+_\d+", "", path.stem) for path in folder.glob("*.db")} <= {"-0", "-1", ""}
    assert {one[JOBS] for one in readings(service, 8)} == {ended[JOBS]}

    wait_for(lambda: len(list(folder.glob("*.outcomes"))) == 2 * 2, what="the removal of the killed process's answers")
    service.stop()
    assert not folder.exists()


def written(service: Service) -> int:
    """Return how many runs the log says to have succeeded; each is counted just before."""
    return service.log.read_text().count("outcome=succeeded")


def test_one_process_shows_the_long_calls_of_all(service: Service, emulator: EmulatorServer) -> None:
    emulator.emulator.latency = 3.0
    client = service.start()
    task = client.task(*(photo(number) for number in range(16)))  # for each process as many more as it works on
    client.start(task)
    # One connection, so one process answers; the other has nothing to save and is asked nothing, but has counted.
    seen = wait_for(lambda: (one := read(client)).get(IN_FLIGHT) == 8 and one, what="8 calls in flight")
    assert JOBS not in seen, "seen only when some had ended"
    emulator.emulator.latency = 0.0
    client.ended(task, 60)
    wait_for(lambda: read(client).get(JOBS) == 16, what="16 jobs")
    ended = read(client)
    assert ended[CALLS] == 16, "a job was counted before its call"
    assert ended["engine_call_duration_seconds_count engine=facecloud"] == 16
    assert ended["facecloud_answers_total outcome=200"] >= 16
    wait_for(lambda: read(client)[IN_FLIGHT] == 0, what="no call in flight")


def test_an_outage_shows_and_ends(service: Service, emulator: EmulatorServer) -> None:
    emulator.emulator.script.set([Mood(name="html", status=502, times=6)])
    service.settings["WEB_CONCURRENCY"] = 1
    client = service.start()
    task = client.task(*(photo(number) for number in range(40)))
    client.start(task)
    opened = "job_outages kind=face"
    wait_for(lambda: read(client).get(opened, 0) > 0, what="an outage")
    client.ended(task, 60)
    wait_for(lambda: read(client)[opened] == 0, what="its end")
    seen = read(client)
    assert seen["facecloud_answers_total outcome=502"] == 6
    assert seen["engine_calls_total engine=facecloud outcome=upstream_unavailable"] > 0
    ended = {name: value for name, value in seen.items() if name.startswith("jobs_ended_total")}
    assert ended[JOBS] == 40
    assert ended["jobs_ended_total kind=face outcome=backed_off"] > 0


def test_clients_cannot_make_up_labels(client: Client) -> None:
    for number in range(5):
        client.get(f"/nowhere/{number}")
        client.request(f"MADE{'UP' * number}", "/healthz")
    names = [name for name in read(client) if name.startswith("http_requests_total")]
    assert [name for name in names if "nowhere" in name or "MADE" in name] == []
    assert "http_requests_total method=GET route=other status=404" in names
    assert "http_requests_total method=other route=other status=405" in names


def test_metrics_want_credentials(shared_service: Service) -> None:
    client = shared_service.client()
    client.auth = None
    assert client.get("/metrics").status_code == 401


def test_counts_of_the_dead_are_removed_by_the_next_server_and_those_of_the_living_stay(folder: Path) -> None:
    folder.mkdir()
    (folder / "counter_4194399-0.db").touch()  # a number beyond the greatest that a process can have
    (folder / f"counter_{os.getppid()}-1.db").touch()
    (folder / "settings_4194399.db").touch()  # not this service's
    metrics = Metrics(RuntimeFolder(str(folder), "", folder, "unused"))
    metrics.join()
    assert {path.name for path in folder.iterdir()} == {f"counter_{os.getppid()}-1.db", "settings_4194399.db"}


def test_processes_on_one_database_find_each_other_without_a_setting(tmp_path: Path) -> None:
    first = RuntimeFolder("", "", tmp_path, "one").make()
    try:
        assert RuntimeFolder("", "", tmp_path, "one").make() == first
        assert first.stat().st_mode & 0o777 == 0o700
        other = RuntimeFolder("", "", tmp_path, "two").make()
        assert other != first
        other.rmdir()
    finally:
        first.rmdir()
    again = RuntimeFolder("", "", tmp_path, "one").make()
    assert again != first, "the name could be foreseen"
    again.rmdir()


def test_the_folder_of_a_session_is_taken_where_the_system_has_one(tmp_path: Path) -> None:
    assert RuntimeFolder("", str(tmp_path), tmp_path, "one").make() == tmp_path / "one"
    assert RuntimeFolder(str(tmp_path / "given"), str(tmp_path), tmp_path, "one").make() == tmp_path / "given"


def test_a_folder_that_another_user_could_have_made_or_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    for name in ("link", "open", "file"):
        with pytest.raises(OSError, match=r"METRICS_FOLDER|exists"):
            RuntimeFolder(str(tmp_path / name), "", tmp_path, "one").make()
    # A name that was kept is checked as well: somebody may have put a link there meanwhile.
    (tmp_path / ".one").write_text(str(tmp_path / "link"))
    made = RuntimeFolder("", "", tmp_path, "one").make()
    assert made.parent != tmp_path
    made.rmdir()
