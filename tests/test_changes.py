"""What has changed of a task since a version, pages of its images, its name, and compressed answers."""

import gc
import gzip
import tracemalloc
from typing import Any

import orjson
import pytest
from sqlalchemy.orm import Session

from service.db.database import Database
from service.features.faces.documents import FIRST, DocumentCache, Documents
from service.features.faces.models import Image, Task
from service.http.services import provided
from tests.support import Client, Service, application, photo

TASKS = "/api/v1/tasks"


def changes(client: Client, task: str, since: int) -> dict[str, Any]:
    answer = client.get(f"{TASKS}/{task}", params={"since": str(since)})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_copy_that_takes_over_what_has_changed_is_the_task(client: Client) -> None:
    task = client.task(photo(1), photo(2), photo(3))
    told = changes(client, task, 0)
    copy = {image["id"]: image for image in told["images"]}
    assert [image["name"] for image in told["images"]] == ["0.jpg", "1.jpg", "2.jpg"]
    taken_out = told["images"][1]["id"]
    assert client.delete(f"{TASKS}/{task}/images/{taken_out}").status_code == 204
    assert client.post(f"{TASKS}/{task}/images", files={"image": ("late.jpg", photo(4))}).status_code == 201
    told = changes(client, task, told["version"])
    assert told["removed"] == [taken_out]
    assert [image["name"] for image in told["images"]] == ["late.jpg"]
    copy |= {image["id"]: image for image in told["images"]}
    del copy[taken_out]
    client.start(task)
    client.ended(task)
    told = changes(client, task, told["version"])
    copy |= {image["id"]: image for image in told["images"]}
    shown = client.show(task)
    assert list(copy.values()) == shown["images"]
    assert {name: told[name] for name in ("status", "progress", "statistics")} == {
        name: shown[name] for name in ("status", "progress", "statistics")
    }
    assert changes(client, task, told["version"])["images"] == []


def test_a_task_without_its_images_has_all_its_other_members(client: Client) -> None:
    task = client.task(photo(1))
    shown, without = client.show(task), client.get(f"{TASKS}/{task}", params={"images": "false"}).json()
    assert without == {name: value for name, value in shown.items() if name not in ("images", "images_next")}
    assert shown["images_next"] is None


def test_the_images_come_in_pages_in_the_order_of_upload(client: Client) -> None:
    task = client.task(*map(photo, range(5)))
    names, cursor = [], None
    while True:
        page = client.get(
            f"{TASKS}/{task}/images", params={"limit": "2", **({"cursor": cursor} if cursor else {})}
        ).json()
        names.append([image["name"] for image in page["items"]])
        if not (cursor := page["next"]):
            break
    assert names == [["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"], ["4.jpg"]]
    for query in ({"limit": "0"}, {"limit": "1001"}, {"cursor": "made-up"}):
        assert client.get(f"{TASKS}/{task}/images", params=query).status_code == 422
    assert client.get(f"{TASKS}/{task[:-4]}0000/images").status_code == 404


@pytest.mark.parametrize("query", [{"since": "-1"}, {"since": "x"}, {"images": "no"}, {"since": "9" * 30}])
def test_a_view_that_is_unknown_is_refused(client: Client, query: dict[str, str]) -> None:
    assert client.get(f"{TASKS}/{client.task()}", params=query).status_code == 422


def test_a_task_is_renamed_in_every_status(client: Client) -> None:
    task = client.task(photo(1), name="before")
    tag = client.get(f"{TASKS}/{task}").headers["ETag"]
    renamed = client.patch(f"{TASKS}/{task}", json={"name": "after"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "after")
    assert renamed.headers["ETag"] != tag
    client.start(task)
    client.ended(task)
    assert client.patch(f"{TASKS}/{task}", json={"name": None}).json()["name"] is None
    for body in ({}, {"name": "x" * 201}, {"status": "completed"}):
        assert client.patch(f"{TASKS}/{task}", json=body).status_code == 422
    assert client.patch(f"{TASKS}/{task[:-4]}0000", json={"name": "x"}).status_code == 404


def test_an_answer_is_compressed_for_those_who_accept_it_and_known_by_either_tag(client: Client) -> None:
    path = f"{TASKS}/{client.run(*map(photo, range(8)))['id']}"
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    small = client.get(path, headers={"Accept-Encoding": "gzip"}, stream=True)
    packed = small.raw.read(decode_content=False)
    assert (plain.headers.get("Content-Encoding"), small.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 2
    assert plain.headers["ETag"] != small.headers["ETag"]
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Accept-Encoding" in small.headers["Vary"]
    for tag in (plain.headers["ETag"], small.headers["ETag"]):
        for accepted in ("gzip", "identity"):
            known = client.get(path, headers={"If-None-Match": tag, "Accept-Encoding": accepted})
            assert (known.status_code, known.headers["ETag"]) == (304, tag)
    for refused in ("gzip;q=0", "br"):
        assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": refused}).headers


def test_tables_are_compressed_while_they_are_sent(client: Client) -> None:
    task = client.run(*map(photo, range(4)))["id"]
    for table in ("faces.csv", "photos.csv", "faces.jsonl"):
        plain = client.get(f"{TASKS}/{task}/{table}", headers={"Accept-Encoding": "identity"})
        small = client.get(f"{TASKS}/{task}/{table}", headers={"Accept-Encoding": "gzip"}, stream=True)
        assert "Content-Length" not in small.headers
        assert gzip.decompress(small.raw.read(decode_content=False)) == plain.content


def test_an_answer_holds_the_first_images_whatever_changes_behind_them(shared_service: Service) -> None:
    with application(shared_service.folder) as app:
        database, cache = provided(Database, app), DocumentCache(room=2**30)

        def answer() -> Documents:
            with database.read() as session:
                task = session.get(Task, "long")
                assert task
                return cache.first_images(session.connection(), task.id, task.version)

        with database.write() as session:
            session.add(Task(id="long", created_at="2026-01-02T03:04:05.678Z"))
            session.flush()
            _add(session, 0, FIRST, version=1)
        try:
            tracemalloc.start()
            documents = answer()
            gc.collect()
            taken, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert (len(documents.by_id), documents.next_after) == (FIRST, None)
            assert taken < documents.size() + 500_000, "the cache counts all that it keeps"
            with database.write() as session:
                _add(session, FIRST, FIRST + 3, version=2)
            assert (len(answer().by_id), answer().next_after) == (FIRST, FIRST - 1)
            with database.write() as session:
                _add(session, FIRST + 3, FIRST + 4, version=3)
                image = session.get(Image, "image 7")
                assert image
                image.name, image.version = "changed", 3
            documents = answer()
            assert (len(documents.by_id), documents.next_after) == (FIRST, FIRST - 1)
            assert list(documents.by_id) == [f"image {number}" for number in range(FIRST)]
            assert orjson.loads(documents.by_id["image 7"])["name"] == "changed"
        finally:
            with database.write() as session:
                session.delete(session.get(Task, "long"))


def _add(session: Session, begin: int, end: int, *, version: int) -> None:
    task = session.get(Task, "long")
    assert task
    task.version = version
    columns = {"task_id": "long", "name": "a", "media_type": "image/jpeg", "size": 1, "width": 1, "height": 1}
    columns |= {"version": version, "status": "pending", "attempts": 0}
    session.execute(
        Image.__table__.insert(),  # type: ignore[attr-defined]
        [
            {
                "id": f"image {number}",
                "position": number,
                "version": version,
                "status": "pending",
                "attempts": 0,
                **columns,
            }
            for number in range(begin, end)
        ],
    )
