"""Processing over HTTP, against one running service with two processes."""

import io
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.conftest import MakeService, with_both_executors
from tests.support import Client, Service, photo, wait_for
from tests.test_pictures import EDITS, TYPES, corners, encoded, opened_bytes, stored, unlike, with_gps
from tests.test_tasks import problem

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}"
TASKS = "/api/image-processing/"
ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "horizontal": ("flip", {"orientation": "horizontal"}),
    "vertical": ("flip", {"orientation": "vertical"}),
    "resize": ("resize", {"width": 30, "height": 70}),
    "clockwise": ("rotate", {"direction": "clockwise"}),
    "counterclockwise": ("rotate", {"direction": "counterclockwise"}),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated: Path, executor: dict[str, object]) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("processing")
    shutil.copy(migrated, folder / "service.db")
    service = Service(folder, FACE_ENGINE="local", MAX_IMAGE_BYTES=200_000, MAX_IMAGE_PIXELS=1_000_000, **executor)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def client(service: Service) -> Client:
    return service.client()


def upload(client: Client, *files: bytes) -> list[int]:
    answer = client.post("/api/files/", files=[("file", (f"{number}.png", file)) for number, file in enumerate(files)])
    assert answer.status_code == 201, answer.text
    ids: list[int] = answer.json()["file_ids"]
    assert len(ids) == len(files) and list(answer.json()) == ["file_ids"]
    return ids


def order(client: Client, file_ids: list[int], algorithm: str = "flip", **params: Any) -> list[int]:
    params = params or {"orientation": "horizontal"}
    answer = client.post(TASKS, json={"file_ids": file_ids, "algorithm": algorithm, "params": params})
    assert answer.status_code == 200, answer.text
    ids: list[int] = answer.json()["task_ids"]
    assert len(ids) == len(file_ids) and list(answer.json()) == ["task_ids"]
    return ids


def show(client: Client, task: int) -> dict[str, Any]:
    answer = client.get(f"{TASKS}{task}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def ended(client: Client, task: int, seconds: float = 30) -> dict[str, Any]:
    wait_for(lambda: show(client, task)["status"] in ("finished", "error"), seconds, f"the end of task {task}")
    return show(client, task)


def content(client: Client, file: int) -> Image.Image:
    answer = client.get(f"/api/files/{file}")
    assert answer.status_code == 200, answer.text
    return opened_bytes(answer.content, answer.headers["Content-Type"])


@with_both_executors
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_algorithm_gives_the_upright_picture_edited_in_its_sources_type(client: Client, kind: str) -> None:
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    originals = [encoded(stored(turn, corners()), kind, exif=with_gps(turn), **options) for turn in (1, 6, 7)]
    files = upload(client, *originals)
    for file, original in zip(files, originals, strict=True):
        answer = client.get(f"/api/files/{file}")
        assert (answer.content, answer.headers["Content-Type"]) == (original, TYPES[kind])
    for name, (algorithm, params) in ORDERS.items():
        for file, task in zip(files, order(client, files, algorithm, **params), strict=True):
            shown = ended(client, task)
            assert shown["status"] == "finished"
            assert (shown["source_id"], shown["algorithm"], shown["params"]) == (file, algorithm, params)
            assert unlike(content(client, shown["result_id"]), EDITS[name][1](corners())) < 5, name


def test_a_task_is_shown_with_its_eight_members_and_its_times(client: Client) -> None:
    (file,) = upload(client, photo(1))
    (task,) = order(client, [file])
    shown = ended(client, task)
    members = ["algorithm", "created_at", "id", "params", "result_id", "source_id", "status", "updated_at"]
    assert sorted(shown) == members
    assert re.fullmatch(MOMENT, shown["created_at"])
    assert re.fullmatch(MOMENT, shown["updated_at"])
    assert shown["created_at"] < shown["updated_at"]
    assert type(shown["id"]) is type(shown["result_id"]) is int
    listed = client.get(TASKS).json()
    assert isinstance(listed, list)
    assert shown in listed
    assert [item["id"] for item in listed] == sorted(item["id"] for item in listed)


def test_a_result_can_be_the_next_source(client: Client) -> None:
    (file,) = upload(client, encoded(corners(), "PNG"))
    first = ended(client, order(client, [file], "rotate", direction="clockwise")[0])
    second = ended(client, order(client, [first["result_id"]], "rotate", direction="counterclockwise")[0])
    assert unlike(content(client, second["result_id"]), corners()) == 0


GOOD = {"file_ids": [1], "algorithm": "flip", "params": {"orientation": "vertical"}}


@pytest.mark.parametrize(
    ("change", "status", "detail"),
    [
        ({"file_ids": None}, 400, "[file_ids] field is missing"),
        ({"algorithm": None}, 400, "[algorithm] field is missing"),
        ({"params": None}, 400, "[params] field is missing"),
        ({"file_ids": []}, 400, "specify at least one task"),
        ({"params": {}}, 400, "[orientation] parameter is missing"),
        ({"algorithm": "rotate", "params": {}}, 400, "[direction] parameter is missing"),
        ({"algorithm": "resize", "params": {"height": 3}}, 400, "[width] parameter is missing"),
        ({"algorithm": "resize", "params": {"width": 3}}, 400, "[height] parameter is missing"),
        ({"algorithm": "blur"}, 422, None),
        ({"algorithm": 7}, 422, None),
        ({"params": []}, 422, None),
        ({"params": {"orientation": "sideways"}}, 422, None),
        ({"params": {"orientation": "vertical", "more": 1}}, 422, None),
        ({"algorithm": "rotate", "params": {"direction": 90}}, 422, None),
        ({"algorithm": "resize", "params": {"width": 0, "height": 3}}, 422, None),
        ({"algorithm": "resize", "params": {"width": -1, "height": 3}}, 422, None),
        ({"algorithm": "resize", "params": {"width": "3", "height": 3}}, 422, None),
        ({"algorithm": "resize", "params": {"width": 3.5, "height": 3}}, 422, None),
        ({"algorithm": "resize", "params": {"width": True, "height": 3}}, 422, None),
        ({"algorithm": "resize", "params": {"width": 1001, "height": 1000}}, 422, None),
        ({"algorithm": "resize", "params": {"width": 65_501, "height": 1}}, 422, None),
        ({"algorithm": "resize", "params": {"width": 10**30, "height": 1}}, 422, None),
        ({"file_ids": 1}, 422, None),
        ({"file_ids": ["1"]}, 422, None),
        ({"file_ids": [1, True]}, 422, None),
        ({"file_ids": [1] * 10_001}, 422, None),
        ({"more": 1}, 422, None),
        ({"file_ids": [1, 999_999]}, 404, None),
        ({"file_ids": [0]}, 404, None),
        ({"file_ids": [-1]}, 404, None),
        ({"file_ids": [2**63]}, 404, None),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_as_agreed(
    client: Client, change: dict[str, Any], status: int, detail: str | None
) -> None:
    good = GOOD | {"file_ids": upload(client, photo(2))}
    if isinstance(ids := change.get("file_ids"), list):
        change = change | {
            "file_ids": [good["file_ids"][0] if number == 1 and number is not True else number for number in ids]
        }
    before = client.get(TASKS).json()
    body = {name: value for name, value in (good | change).items() if value is not None}
    told = problem(client.post(TASKS, json=body), status)
    assert detail in (None, told)
    assert [item["id"] for item in client.get(TASKS).json()] == [item["id"] for item in before]


def test_a_body_that_is_no_object_is_refused(client: Client) -> None:
    problem(client.post(TASKS, data=b"{"), 400)
    problem(client.post(TASKS, json=[]), 422)
    assert problem(client.post(TASKS), 400) == "[file_ids] field is missing"


def test_uploads_are_all_or_nothing_and_bad_ones_named(client: Client, service: Service) -> None:
    def sent(*files: tuple[str, bytes]) -> requests.Response:
        return client.post("/api/files/", files=[("file", file) for file in files])

    before = sorted(service.left_files())
    good = ("good.jpg", photo(3))
    assert "words.png" in problem(sent(good, ("words.png", b"words")), 415)
    cut = sent(good, ("cut.png", photo(3, form="PNG")[:-40]))
    assert "cut.png" in problem(cut, 422)
    assert [error["pointer"] for error in cut.json()["errors"]] == ["#/file/1"]
    assert "200000" in problem(sent(good, ("big.png", photo(3) + bytes(200_000))), 413)
    problem(sent(("wide.png", encoded(Image.new("L", (1001, 1000)), "PNG"))), 413)
    problem(client.post("/api/files/", files=[("image", good)]), 422)
    problem(client.post("/api/files/", files={}), 422)
    problem(client.post("/api/files/", data=b"x", headers={"Content-Type": "multipart/form-data"}), 400)
    assert sorted(service.left_files()) == before


def test_what_is_unknown_is_404_and_other_methods_405(client: Client) -> None:
    for path in ("/api/files/", TASKS):
        for number in ("999999", "0", str(2**70), "-1", "x"):
            problem(client.get(path + number), 404)
    problem(client.delete("/api/files/999999"), 404)
    problem(client.post(f"{TASKS}999999/restart"), 404)
    for method, path in (("PUT", TASKS), ("GET", "/api/files/"), ("DELETE", f"{TASKS}1"), ("GET", f"{TASKS}1/restart")):
        answer = client.request(method, path)
        problem(answer, 405)
        assert answer.headers["Allow"]


def test_every_call_needs_the_password(service: Service) -> None:
    for method, path in (
        ("POST", "/api/files/"),
        ("GET", "/api/files/1"),
        ("DELETE", "/api/files/1"),
        ("GET", TASKS),
        ("POST", TASKS),
        ("GET", f"{TASKS}1"),
        ("POST", f"{TASKS}1/restart"),
    ):
        answer = requests.request(method, service.url + path, timeout=60)
        problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_a_deleted_file_is_gone_and_the_tasks_stay(client: Client, service: Service) -> None:
    (file,) = upload(client, photo(4))
    shown = ended(client, order(client, [file])[0])
    files = len(service.left_files())
    for number in (file, shown["result_id"]):
        assert client.delete(f"/api/files/{number}").status_code == 204
        problem(client.delete(f"/api/files/{number}"), 404)
        problem(client.get(f"/api/files/{number}"), 404)
    assert len(service.left_files()) == files - 2
    assert show(client, shown["id"]) == shown | {"result_id": None}
    assert problem(client.post(f"{TASKS}{shown['id']}/restart"), 405) == "task hasn't failed"


def test_a_file_is_kept_while_a_task_needs_it(client: Client) -> None:
    file, *others = upload(client, photo(5), *(photo(n, (500, 500)) for n in range(6, 9)))
    tasks = order(client, others * 6 + [file], "resize", width=990, height=1000)
    problem(client.delete(f"/api/files/{file}"), 409)
    assert show(client, tasks[-1])["status"] in ("pending", "processing")
    assert ended(client, tasks[-1], 60)["status"] == "finished"
    assert client.delete(f"/api/files/{file}").status_code == 204


def source(service: Service, file: int) -> Path:
    """Return where a file's bytes are."""
    with sqlite3.connect(service.folder / "service.db") as database:
        (key,) = database.execute("SELECT key FROM processing_file WHERE id = ?", (file,)).fetchone()
    return service.files / key


@with_both_executors
def test_a_task_fails_with_its_source_and_finishes_when_that_is_mended(client: Client, service: Service) -> None:
    missing, broken = upload(client, photo(9), photo(10))
    originals = {file: source(service, file).read_bytes() for file in (missing, broken)}
    source(service, missing).unlink()
    source(service, broken).write_bytes(originals[broken][:-50])
    tasks = order(client, [missing, broken])
    failed = [ended(client, task) for task in tasks]
    assert [(shown["status"], shown["result_id"]) for shown in failed] == [("error", None)] * 2

    again = client.post(f"{TASKS}{tasks[0]}/restart")
    assert (again.status_code, again.json()["status"], again.json()["id"]) == (200, "pending", tasks[0])
    assert again.json()["updated_at"] > failed[0]["updated_at"]
    assert ended(client, tasks[0])["status"] == "error"

    path, json = f"{TASKS}{tasks[0]}/restart", {"Content-Type": "application/json"}
    problem(client.post(path, data=b"{", headers=json), 400)
    assert "`colour`" in problem(client.post(path, json={"colour": 1}), 422)
    problem(client.post(path, json=[1]), 422)

    for file, original in originals.items():
        source(service, file).write_bytes(original)
    for task in tasks:
        assert client.post(f"{TASKS}{task}/restart").json()["status"] == "pending"
        assert ended(client, task)["status"] == "finished"
        told = client.post(f"{TASKS}{task}/restart")
        assert problem(told, 405) == "task hasn't failed"
        assert told.headers["Allow"]


def test_a_failed_task_needs_its_source_no_more_and_fails_again_without_it(client: Client, service: Service) -> None:
    (file,) = upload(client, photo(11))
    source(service, file).write_bytes(b"no picture")
    (task,) = order(client, [file])
    assert ended(client, task)["status"] == "error"
    assert client.delete(f"/api/files/{file}").status_code == 204
    assert client.post(f"{TASKS}{task}/restart").status_code == 200
    assert ended(client, task) == show(client, task) | {"status": "error", "source_id": file, "result_id": None}


def test_of_restarts_at_once_one_is_accepted(client: Client, service: Service) -> None:
    (file,) = upload(client, photo(12))
    good = source(service, file).read_bytes()
    source(service, file).unlink()
    (task,) = order(client, [file])
    assert ended(client, task)["status"] == "error"
    source(service, file).write_bytes(good)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(service.client().post(f"{TASKS}{task}/restart").status_code))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [200, 405, 405, 405]
    assert ended(client, task)["status"] == "finished"


def test_a_killed_service_loses_no_task_and_leaves_no_half_result(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="local")
    client = service.start()
    noisy = io.BytesIO()
    Image.effect_noise((700, 700), 90).convert("RGB").save(noisy, "PNG")
    files = upload(client, *[noisy.getvalue()] * 4)
    tasks = order(client, files, "resize", width=2500, height=2500)
    wait_for(lambda: any(item["status"] == "processing" for item in client.get(TASKS).json()))
    service.kill()
    client = service.start()
    for task in tasks:
        assert ended(client, task, 60)["status"] == "finished"
    assert len(service.left_files()) == len(files) + len(tasks)
    with sqlite3.connect(service.folder / "service.db") as database:
        assert database.execute("SELECT count(*) FROM processing_file").fetchone() == (len(files) + len(tasks),)


def test_the_list_of_tasks_is_whole_or_in_pages(client: Client) -> None:
    (file,) = client.post("/api/files/", files={"file": photo(1)}).json()["file_ids"]
    order = {"file_ids": [file] * 7, "algorithm": "rotate", "params": {"direction": "clockwise"}}
    assert client.post(TASKS, json=order).status_code == 200
    whole = [task["id"] for task in client.get(TASKS).json()]
    assert whole == sorted(whole)
    walked, path = [], f"{TASKS}?limit=3"
    while path:
        answer = client.get(path)
        assert answer.status_code == 200
        walked += [task["id"] for task in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
    assert walked == whole
    problem(client.get(f"{TASKS}?limit=0"), 422)
    problem(client.get(f"{TASKS}?cursor=x"), 422)


def test_a_list_of_a_hundred_thousand_tasks_begins_at_once_and_takes_little_memory(
    make_service: MakeService,
) -> None:
    service = make_service(FACE_ENGINE="local", WEB_CONCURRENCY=1)
    now = "2026-01-02 03:04:05.000006"
    with closing(sqlite3.connect(service.folder / "service.db")) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(processing_task)")]
        known = {"algorithm": "flip", "params": "{}", "source_id": 1, "status": "error"}
        known |= {"created_at": now, "updated_at": now}
        named = [name for name in columns if name in known]
        marks = ", ".join("?" for _ in named)
        row = tuple(known[name] for name in named)
        database.executemany(f"INSERT INTO processing_task ({', '.join(named)}) VALUES ({marks})", [row] * 100_000)
        database.commit()
    client = service.start()
    start = memory(service.workers()[0])
    assert client.get(TASKS, headers={"Accept-Encoding": "identity"}).status_code == 200
    before = memory(service.workers()[0])
    assert before - start < 25  # also what the first request needs
    begin = time.perf_counter()
    with client.get(TASKS, stream=True, headers={"Accept-Encoding": "identity"}) as answer:
        pieces = answer.iter_content(1024)
        size = len(next(pieces))
        first = time.perf_counter() - begin
        size += sum(map(len, pieces))
    assert size > 10_000_000
    assert memory(service.workers()[0]) - before < 3
    assert first < 0.25  # 0.05 on a quiet machine


def memory(pid: int) -> float:
    """Return the most memory that a process has had, in megabytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
