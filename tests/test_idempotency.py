"""`Idempotency-Key` over HTTP: the first answer again, nothing twice, through kills and over processes."""

import hashlib
import json
import os
import signal
import sqlite3
import time
import uuid
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
import requests

from devtools.facecloud_emulator.server import EmulatorServer
from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, photo, wait_for
from tests.test_recordings import wav
from tests.test_tasks import problem

TASKS = "/api/v1/tasks"


def fresh() -> dict[str, str]:
    """Return the header with a new key."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def same(first: requests.Response, again: requests.Response) -> bool:
    """Tell whether an answer is the first one again, and says so."""
    names = ("Content-Type", "Location", "Retry-After", "Content-Length")
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers.get("Idempotency-Replayed") == "true", again.text
    return (first.status_code, first.content, [first.headers.get(name) for name in names]) == (
        again.status_code,
        again.content,
        [again.headers.get(name) for name in names],
    )


def rows(service: Service, query: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(service.folder / "service.db", timeout=10)) as database, database:
        return database.execute(query, values).fetchall()


def named(service: Service, name: str) -> int:
    """Return how many tasks have this name."""
    return int(rows(service, "SELECT count(*) FROM task WHERE name = ?", name)[0][0])


def test_a_creation_sent_again_gives_the_first_answer_and_no_second_task(
    client: Client, shared_service: Service
) -> None:
    key, name = fresh(), str(uuid.uuid4())
    first = client.post(TASKS, json={"name": name}, headers=key)
    assert first.status_code == 201
    assert same(first, client.post(TASKS, json={"name": name}, headers=key))
    # The order of members and spaces in JSON do not matter, nor the quotes of a structured field.
    quoted = {"Idempotency-Key": f'"{key["Idempotency-Key"]}"', "Content-Type": "application/json"}
    assert same(first, client.post(TASKS, data=f'{{ "name" :"{name}"}}', headers=quoted))
    assert named(shared_service, name) == 1
    # Also after the task has gone, and from another client.
    client.delete(first.headers["Location"])
    assert same(first, shared_service.client().post(TASKS, json={"name": name}, headers=key))
    assert named(shared_service, name) == 0


def test_another_body_path_or_query_with_the_same_key_is_422(client: Client) -> None:
    key = fresh()
    task = client.task(photo(1))
    assert client.post(TASKS, json={"name": "a"}, headers=key).status_code == 201
    for path, body in (
        (TASKS, {"name": "b"}),
        (f"{TASKS}/{task}/start", {"name": "a"}),
        (f"{TASKS}?x=1", {"name": "a"}),
    ):
        assert "another request" in problem(client.post(path, json=body, headers=key), 422)
    assert client.show(task)["status"] == "forming"


@pytest.mark.parametrize("key", ["", '""', "é", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_422(client: Client, key: str) -> None:
    problem(client.post(TASKS, headers={"Idempotency-Key": key.encode("latin-1")}), 422)


def test_keys_of_any_printable_characters_and_255_of_them_are_taken(client: Client) -> None:
    suffix = uuid.uuid4().hex
    for key in (suffix.ljust(255, "x"), f"!#$%&'()*+,-./:;<=>?@[]^_`{{|}}~ {suffix}", f'a"b\\{suffix}'):
        first = client.post(TASKS, headers={"Idempotency-Key": key})
        assert same(first, client.post(TASKS, headers={"Idempotency-Key": key}))


def test_a_start_sent_again_gives_the_first_answer_whatever_has_become_of_the_task(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.latency = 0.05
    task, key = client.task(*(photo(number) for number in range(8))), fresh()
    first = client.post(f"{TASKS}/{task}/start", headers=key)
    assert first.status_code == 202
    assert first.json()["status"] == "processing"
    assert len(first.json()["images"]) == 8
    assert same(first, client.post(f"{TASKS}/{task}/start", headers=key))
    assert client.ended(task)["status"] == "completed"
    assert same(first, client.post(f"{TASKS}/{task}/start", headers=key))
    problem(client.post(f"{TASKS}/{task}/start", headers=fresh()), 409)


def test_an_upload_sent_again_adds_nothing_whatever_its_boundary(client: Client) -> None:
    task, key = client.task(), fresh()
    path = f"{TASKS}/{task}/images"
    one, two = photo(1), photo(2, (200, 200), "PNG")
    parts = [("image", ("a.jpg", one)), ("image", ("b.png", two))]
    first = client.post(path, files=parts, data={"name": ["A", "B"]}, headers=key)
    assert first.status_code == 201
    assert same(first, client.post(path, files=parts, data={"name": ["A", "B"]}, headers=key))
    others: list[tuple[Any, Any]] = [
        (parts, {"name": ["B", "A"]}),
        (parts, {}),
        (parts[::-1], {"name": ["A", "B"]}),
        ([("image", ("other.jpg", one)), parts[1]], {"name": ["A", "B"]}),
        ([parts[0], ("image", ("b.png", two + b"\0"))], {"name": ["A", "B"]}),
    ]
    for files, data in others:
        problem(client.post(path, files=files, data=data, headers=key), 422)
    assert len(client.show(task)["images"]) == 2


def test_bare_bytes_sent_again_add_nothing(client: Client) -> None:
    task, key = client.task(), fresh()
    path = f"{TASKS}/{task}/images?name="
    headers = {"Content-Type": "image/jpeg", **key}
    first = client.post(path + "a", data=photo(1), headers=headers)
    assert same(first, client.post(path + "a", data=photo(1), headers=headers))
    problem(client.post(path + "a", data=photo(2), headers=headers), 422)
    problem(client.post(path + "b", data=photo(1), headers=headers), 422)
    assert len(client.show(task)["images"]) == 1


def test_a_refusal_is_not_kept_so_the_same_request_may_succeed_later(client: Client) -> None:
    task, key = client.task(), fresh()
    problem(client.post(f"{TASKS}/{task}/start", headers=key), 409)
    client.post(f"{TASKS}/{task}/images", files={"image": photo(1)})
    assert client.post(f"{TASKS}/{task}/start", headers=key).status_code == 202
    broken = fresh()
    for _ in range(2):
        problem(client.post(TASKS, data=b"{", headers=broken), 400)
    problem(client.post(TASKS, json={"colour": 1}, headers=broken), 422)
    assert client.post(TASKS, json={}, headers=broken).status_code == 201


def test_questions_and_recordings_obey_keys_and_those_of_two_users_are_two(
    client: Client, shared_service: Service
) -> None:
    key = fresh()
    first = client.post("/questions", json={"questions_num": 2}, headers=key)
    assert same(first, client.post("/questions", json={"questions_num": 2}, headers=key))
    assert len(client.get("/questions").json()["items"]) == 2

    sound = wav([0.1] * 8_000, 8_000)
    users = [client.post("/users", json={"name": "Ada"}, headers=key).json() for _ in range(2)]
    assert users[0] != users[1]  # this answer has a secret, which is not kept: a key does nothing here

    def send(user: dict[str, str], **more: str) -> requests.Response:
        form = {"user": user["id"], "token": user["token"]} | more
        return requests.post(
            f"{shared_service.url}/records", data=form, files={"audio": ("a.wav", sound)}, headers=key, timeout=60
        )

    first = send(users[0])
    assert first.status_code == 201
    assert same(first, send(users[0]))
    problem(send(users[0], token=str(uuid.uuid4())), 401)
    assert send(users[1]).status_code == 201
    assert rows(shared_service, "SELECT count(*) FROM recording") == [(2,)]


def test_a_registration_sent_again_gives_the_same_token_and_the_database_knows_no_secret(
    client: Client, shared_service: Service
) -> None:
    key, password = fresh(), "correct horse battery"
    body = {"email": f"{uuid.uuid4()}@example.com", "password": password, "first_name": "Ada"}

    def register(**change: str) -> requests.Response:
        return requests.post(f"{client.url}/registration", json=body | change, headers=key, timeout=60)

    first = register()
    assert first.status_code == 201
    time.sleep(1.1 - time.time() % 1)  # a token made anew would have another second in it
    again = register()
    assert same(first, again)
    assert again.headers["Cache-Control"] == first.headers["Cache-Control"] == "no-store"
    bearer = {"Authorization": f"Bearer {again.json()['access_token']}"}
    assert requests.get(f"{client.url}/history/{again.json()['user_id']}", headers=bearer, timeout=60).ok
    for change in ({"password": password + "!"}, {"email": "other@example.com"}, {"first_name": "Eve"}):
        assert "another request" in problem(register(**change), 422)
    assert rows(shared_service, 'SELECT count(*) FROM "User" WHERE email = ?', body["email"]) == [(1,)]

    query = "SELECT id, fingerprint, headers, body FROM idempotency_key ORDER BY expires_at DESC LIMIT 1"
    row, fingerprint, headers, kept = rows(shared_service, query)[0]
    kept = zlib.decompress(kept)
    assert sorted(json.loads(kept)) == ["generation", "moment", "token_id", "user_id"] and headers == "[]"
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    plain = json.dumps(("POST", "/registration", "", ("json", canonical)))
    assert fingerprint != hashlib.sha256(plain.encode()).hexdigest()
    database = b"".join(path.read_bytes() for path in shared_service.folder.glob("service.db*"))
    for secret in (password, first.json()["access_token"], first.json()["access_token"].rpartition(".")[2]):
        assert secret.encode() not in database

    running = "UPDATE idempotency_key SET status = NULL, lease_expires_at = ? WHERE id = ?"
    rows(shared_service, running, time.time() + 60, row)
    assert "still" in problem(register(), 409)
    # The key of a run that died is free again; had it settled nothing, the e-mail would not be known either.
    rows(shared_service, running, 0, row)
    assert "already a user" in problem(register(), 409)


def test_other_bodies_with_a_known_key_are_no_way_to_try_passwords(make_service: MakeService) -> None:
    service = make_service(MAX_FAILED_TRIES=3, WEB_CONCURRENCY=1)
    service.start()
    key, body = fresh(), {"email": "ada@example.com", "password": "correct horse battery"}

    def register(password: str) -> requests.Response:
        sent = body | {"password": password}
        return requests.post(f"{service.url}/registration", json=sent, headers=key, timeout=60)

    assert register(body["password"]).status_code == 201
    for number in range(3):
        problem(register(f"password {number}"), 422)
    for password in ("password 3", body["password"]):
        assert int(register(password).headers["Retry-After"]) >= 1


def test_fifty_at_once_over_two_processes_make_one_task(client: Client, shared_service: Service) -> None:
    assert len(shared_service.workers()) == 2
    for _ in range(3):
        key, name = fresh(), str(uuid.uuid4())

        def create(_: int, key: dict[str, str] = key, name: str = name) -> requests.Response:
            return shared_service.client().post(TASKS, json={"name": name}, headers=key)

        with ThreadPoolExecutor(25) as pool:
            answers = list(pool.map(create, range(50)))
        first = [
            answer for answer in answers if answer.status_code == 201 and "Idempotency-Replayed" not in answer.headers
        ]
        assert len(first) == 1
        for answer in answers:
            if answer.status_code == 409:
                assert int(answer.headers["Retry-After"]) >= 1
            elif answer is not first[0]:
                assert same(first[0], answer)
        assert named(shared_service, name) == 1


def test_while_the_first_is_being_carried_out_the_second_is_409(client: Client, shared_service: Service) -> None:
    user = client.post("/users", json={"name": "Ada"}).json()
    key, sound = fresh(), wav([0.1] * 48_000 * 90, 48_000)

    def send() -> requests.Response:
        files = {"audio": ("a.wav", sound)}
        form = {"user": user["id"], "token": user["token"]}
        return requests.post(f"{shared_service.url}/records", data=form, files=files, headers=key, timeout=60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send)
        running = "SELECT count(*) FROM idempotency_key WHERE status IS NULL"
        wait_for(lambda: rows(shared_service, running) == [(1,)], what="the first under way")
        assert "still" in problem(send(), 409)
        assert first.result().status_code == 201
    assert same(first.result(), send())


def effects(service: Service, name: str, task: str) -> dict[str, int]:
    """Return how often each kind of request had its effect in a round."""
    count = "SELECT count(*) FROM {} WHERE task_id = ?"
    (jobs,) = rows(service, "SELECT count(*) FROM job WHERE task = ?", task)[0]
    return {
        "create": named(service, name),
        "upload": rows(service, count.format("image"), task)[0][0] - 1,
        "start": jobs,
    }


def test_a_kill_at_any_moment_neither_loses_nor_doubles_a_request(
    make_service: MakeService, emulator: EmulatorServer
) -> None:
    service = make_service(**facecloud(emulator))
    client = service.start()
    outcomes: Counter[str] = Counter()
    begin = time.monotonic()
    for _ in range(10):
        assert service.client().post(TASKS, headers=fresh()).status_code == 201
    usual = (time.monotonic() - begin) / 10
    for round_ in range(18):
        kind, key, name, task = (
            ("create", "upload", "start")[round_ % 3],
            fresh(),
            f"round {round_}",
            service.client().task(photo(1)),  # a kept connection may lead to a process that was killed
        )
        path = TASKS if kind == "create" else f"{TASKS}/{task}/" + ("start" if kind == "start" else "images")
        body: dict[str, Any] = {"json": {"name": name}} if kind == "create" else {}
        body = {"files": {"image": ("a.jpg", photo(2))}} if kind == "upload" else body

        def send(path: str = path, body: dict[str, Any] = body, key: dict[str, str] = key) -> requests.Response | None:
            with suppress(requests.RequestException):
                return service.client().post(path, headers=key, **body)
            return None

        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send)
            time.sleep(usual * 2 * (round_ // 3) / 5)  # from before the request is read to after its answer
            for worker in service.workers():
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            first = sending.result()

        def again(send: Any = send) -> requests.Response | None:
            answer: requests.Response | None = send()
            return answer if answer is not None and answer.status_code in (201, 202) else None

        answer = wait_for(again, 20, "the answer to the repeated request")
        assert effects(service, name, task)[kind] == 1
        if first is not None:
            assert first.content == answer.content
        outcomes["replayed" if "Idempotency-Replayed" in answer.headers else "carried out anew"] += 1
        outcomes["lost"] += first is None and "Idempotency-Replayed" in answer.headers
    print(outcomes)
    assert outcomes["replayed"]
    assert outcomes["carried out anew"]  # so the moments fell on both sides of the commit
    assert len(client.get(TASKS, params={"limit": 100}).json()["items"]) == 10 + 18 + 6
    assert "Traceback" not in service.log.read_text()


def test_a_key_is_free_again_when_its_process_has_died_or_fallen_silent(
    client: Client, shared_service: Service
) -> None:
    key = fresh()
    first = client.post(TASKS, json={"name": "silent"}, headers=key)
    unsettle = "UPDATE idempotency_key SET status = NULL, owner = 'gone:1', lease_expires_at = ? WHERE status = 201"
    rows(shared_service, unsettle, time.time() + 60)
    problem(client.post(TASKS, json={"name": "silent"}, headers=key), 409)
    rows(shared_service, "UPDATE idempotency_key SET lease_expires_at = ?", time.time() - 1)
    again = client.post(TASKS, json={"name": "silent"}, headers=key)
    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]


def test_a_process_that_dies_while_the_database_fails_ends_no_server_and_its_keys_are_free_when_it_works(
    make_service: MakeService,
) -> None:
    service = make_service(FACE_ENGINE="local")
    client, key = service.start(), fresh()
    first = client.post(TASKS, headers=key)
    died = service.workers()[0]
    named = "SELECT rtrim(owner, '0123456789') FROM share WHERE owner LIKE '%:%:%'"
    family = wait_for(lambda: rows(service, named), what="a row with a process's name")[0][0]
    rows(service, "UPDATE idempotency_key SET status = NULL, owner = ?", f"{family}{died}")
    problem(service.client().post(TASKS, headers=key), 409)
    rows(service, "ALTER TABLE idempotency_key RENAME TO elsewhere")
    os.kill(died, signal.SIGKILL)
    wait_for(lambda: 'of="dead processes"' in service.log.read_text(), 20, "a try to free the keys")
    rows(service, "ALTER TABLE elsewhere RENAME TO idempotency_key")

    def carried_out() -> requests.Response | None:
        with suppress(requests.ConnectionError):
            answer = service.client().post(TASKS, headers=key)
            return answer if answer.status_code == 201 else None
        return None

    assert wait_for(carried_out, 20, "the key").json()["id"] != first.json()["id"]
    assert service.process and service.process.poll() is None


def test_after_a_day_a_key_is_new_again_and_old_ones_are_removed(client: Client, shared_service: Service) -> None:
    key = fresh()
    first = client.post(TASKS, headers=key)
    rows(shared_service, "UPDATE idempotency_key SET expires_at = ?", time.time() + 23 * 3600)
    assert same(first, client.post(TASKS, headers=key))
    rows(shared_service, "UPDATE idempotency_key SET expires_at = ?", time.time() - 1)
    again = client.post(TASKS, headers=key)
    assert again.json()["id"] != first.json()["id"]
    count = "SELECT count(*) FROM idempotency_key WHERE expires_at < ?"
    for _ in range(10):
        client.post(TASKS, headers=fresh())
    assert rows(shared_service, count, time.time()) == [(0,)]


def test_the_document_tells_of_the_key_where_it_is_obeyed(client: Client) -> None:
    told = {
        path
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for operation in operations.values()
        if "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
        and {"409", "422"} <= set(operation["responses"])
    }
    assert {TASKS, TASKS + "/{task_id}/images", TASKS + "/{task_id}/start", "/records", "/questions"} <= told
    assert {"/registration", "/upload", "/images", "/api/files/", "/api/image-processing/"} <= told
    assert told.isdisjoint({"/users", "/images/credentials", "/login"})
