"""Uploads that are sent again: the digests of images, and what is left out by them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from service.features.faces.models import Image
from tests.support import Client, Service, photo

TASKS = "/api/v1/tasks"


def digest(content: bytes) -> str:
    return f"sha-256:{hashlib.sha256(content).hexdigest()}"


def test_an_upload_that_broke_off_can_be_sent_again_without_doubles(client: Client) -> None:
    task = client.task(photo(1), photo(2))
    before = client.show(task)["images"]
    assert [image["digest"] for image in before] == [digest(photo(1)), digest(photo(2))]
    parts = [("image", (f"{number}.jpg", photo(number))) for number in (1, 2, 3, 3)]
    answer = client.post(f"{TASKS}/{task}/images", params={"skip_existing": "true"}, files=parts)
    items = answer.json()["items"]
    assert answer.status_code == 201, answer.text
    assert [item["digest"] for item in items] == [digest(photo(number)) for number in (1, 2, 3, 3)]
    assert [item.get("skipped", False) for item in items] == [True, True, False, True]
    assert items[0] == before[0] | {"skipped": True}
    assert [image["id"] for image in client.show(task)["images"]] == [items[0]["id"], items[1]["id"], items[2]["id"]]
    again = client.post(f"{TASKS}/{task}/images", params={"skip_existing": "true"}, files=parts)
    assert all(item["skipped"] for item in again.json()["items"])
    doubled = client.post(f"{TASKS}/{task}/images", files=parts[:1])
    assert doubled.json()["items"][0]["id"] != items[0]["id"]
    bare = {"data": photo(3), "headers": {"Content-Type": "image/jpeg"}}
    (one,) = client.post(f"{TASKS}/{task}/images", params={"skip_existing": "true"}, **bare).json()["items"]
    assert one["skipped"]


def test_two_that_send_the_same_at_once_add_it_once(client: Client, shared_service: Service) -> None:
    task = client.task()
    parts = [("image", (f"{number}.jpg", photo(number))) for number in range(10)]

    def send_all(_: int) -> int:
        path = f"{TASKS}/{task}/images"
        return shared_service.client().post(path, params={"skip_existing": "true"}, files=parts).status_code

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(send_all, range(3))) == [201, 201, 201]
    assert client.show(task)["progress"]["total"] == 10


def test_a_digest_of_an_earlier_version_is_read_when_it_is_needed(client: Client, shared_service: Service) -> None:
    task = client.task(photo(1))
    engine = sa.create_engine(str(shared_service.settings["DATABASE_URL"]))
    with engine.begin() as connection:
        connection.execute(sa.update(Image).where(Image.task_id == task).values(digest=None))
    engine.dispose()
    assert client.show(task)["images"][0]["digest"] is None
    part = {"image": ("a.jpg", photo(1))}
    (item,) = client.post(f"{TASKS}/{task}/images", params={"skip_existing": "true"}, files=part).json()["items"]
    assert (item["skipped"], item["digest"]) == (True, digest(photo(1)))
    assert client.show(task)["progress"]["total"] == 1
