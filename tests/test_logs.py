"""The log: one line a request and a job, in both forms, and nobody can write a line of their own into it."""

import json
import logging
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.telemetry.logging import JsonFormatter, TextFormatter
from tests.conftest import facecloud
from tests.support import Service, photo, wait_for

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) pid=\d+ [a-z._]+ \S")
FORGED = 'x\n2026-01-01T00:00:00.000Z INFO pid=1 root forged=1\r\x1b[31m\u2028\x85 a="b" \\'


@pytest.fixture(scope="module", params=["text", "json"])
def logged(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    migrated: Any,
    shared_emulator: EmulatorServer,
) -> Iterator[Service]:
    """Give a running service that logs in this form."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "service.db").write_bytes(migrated.read_bytes())
    shared_emulator.emulator.reset()
    service = Service(folder, **facecloud(shared_emulator, LOG_FORMAT=request.param, LEASE_SECONDS=5))
    service.start()
    yield service
    service.kill()


def is_json(service: Service) -> bool:
    return service.settings["LOG_FORMAT"] == "json"


def fields(line: str) -> dict[str, str]:
    """Return the fields of a line as texts, whichever form it has."""
    if line.startswith("{"):
        return {name: str(value) for name, value in json.loads(line).items()}
    pairs = re.findall(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)', line)
    message = re.match(r"\S+ \S+ pid=\d+ \S+ ([^=]*?)(?= [a-z_]+=|$)", line)
    return {"message": message[1] if message else "", **dict(pairs)}


def found(service: Service, message: str, **wanted: str) -> list[dict[str, str]]:
    """Return the lines of this message that have these fields."""
    lines = [fields(line) for line in service.log.read_text("utf-8").splitlines()]
    return [line for line in lines if line["message"] == message and wanted.items() <= line.items()]


def test_a_request_has_one_line_with_its_route_and_ids(logged: Service) -> None:
    client = logged.client()
    task = client.task(photo(1))
    given = f"test-{uuid.uuid4()}"
    answer = client.get(f"/api/v1/tasks/{task}", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == given
    (line,) = wait_for(lambda: found(logged, "request", request_id=given), what="the request's line")
    assert (line["method"], line["route"], line["task"]) == ("GET", "/api/v1/tasks/{task_id}", task)
    assert (line["status"], line["bytes"], line["address"]) == ("200", str(len(answer.content)), "127.0.0.1")
    assert 0 < float(line["ms"]) < 60_000


def test_a_streamed_answer_is_counted_to_its_last_byte(logged: Service) -> None:
    client = logged.client()
    task = client.show(client.task(photo(2)))
    path = f"/api/v1/tasks/{task['id']}/images/{task['images'][0]['id']}/content"
    answer = client.get(path)
    request_id = answer.headers["X-Request-Id"]
    (line,) = wait_for(lambda: found(logged, "request", request_id=request_id), what="the request's line")
    assert (line["image"], line["bytes"]) == (task["images"][0]["id"], str(len(answer.content)))


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "ä", "a=b"])
def test_an_id_that_is_not_well_formed_is_replaced(logged: Service, given: str) -> None:
    answer = logged.client().get("/healthz", headers={"X-Request-Id": given.encode()})
    assert answer.headers["X-Request-Id"] != given
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])


def test_a_job_has_one_line_for_each_way_in_which_it_ends(logged: Service, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.script.set(
        [Mood(name="status", status=500, times=1), Mood(name="status", status=418, times=1)]
    )
    client = logged.client()
    ended = client.run(photo(1), photo(2), photo(3))
    wait_for(lambda: len(found(logged, "job", task=ended["id"])) >= 4, what="the lines of four runs")
    lines = found(logged, "job", task=ended["id"])
    outcomes = sorted((line["outcome"], line.get("error", "")) for line in lines)
    assert outcomes == [
        ("backed_off", "upstream_unavailable"),
        ("failed", "upstream_rejected"),
        ("succeeded", ""),
        ("succeeded", ""),
    ]
    assert {line["subject"] for line in lines} == {image["id"] for image in ended["images"]}
    assert {line["kind"] for line in lines} == {"face"}
    assert sorted(line["attempt"] for line in lines) == ["1", "1", "1", "2"]


def test_names_and_headers_forge_no_line(logged: Service) -> None:
    client = logged.client()
    marker = f"forged-{uuid.uuid4().hex}"
    task = client.post("/api/v1/tasks", json={"name": f"a\n{marker}"}).json()["id"]
    client.post(f"/api/v1/tasks/{task}/images", files=[("image", (f"{marker}\r\n.jpg", b"none"))])
    for path in (f"/api/v1/tasks/%0A{marker}%0D%1B[31m", f"/{marker}%0a{marker}"):
        assert client.get(path).status_code == 404
    last = client.get("/healthz").headers["X-Request-Id"]
    wait_for(lambda: found(logged, "request", request_id=last), what="the last line")
    text = logged.log.read_text("utf-8")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    for line in text.splitlines():
        if line == f"Headcount is ready at http://localhost:{logged.settings['PORT']}. Stop it with Ctrl-C.":
            assert not is_json(logged)
            continue
        assert json.loads(line) if is_json(logged) else LINE.match(line), line
        assert not line.startswith(marker)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_nothing_that_is_logged_ends_a_line(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        trace = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("test", logging.ERROR, "", 0, "%s", (FORGED,), trace)
    record.lines = ({"name": FORGED, "half": "\ud800"}, {"name": None})
    lines = formatter.format(record).split("\n")
    if isinstance(formatter, JsonFormatter):
        first, second = map(json.loads, lines)
        assert first["message"] == second["message"] == FORGED
        assert "ValueError" in first["traceback"]
    else:
        assert [line for line in lines if not line.startswith("    ")] == lines[:2]
        assert all(line.isascii() and line.isprintable() for line in lines)
