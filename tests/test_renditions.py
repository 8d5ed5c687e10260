"""Renditions over HTTP: on a folder against one running service with two processes, and on a real S3 server."""

import hashlib
import hmac
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import sqlalchemy as sa
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from service.config import Settings
from service.features.renditions.keys import Owner, keys_in, original_in
from service.storage.s3 import UNCHANGING
from service.storage.signed_urls import Download, SignedUrls
from service.storage.sts import policy
from tests.conftest import MakeService
from tests.object_store import ROLE, ObjectStore
from tests.support import Client, Service, files_below, photo, wait_for, wait_until_equal
from tests.test_pictures import LOSSY, corners, encoded, opened_bytes, stored, unlike, with_gps
from tests.test_tasks import problem

KINDS = ["full", "large", "medium", "small"]
MEMBERS = ["created_at", "error", "id", "name", "original", "owner_id", "owner_type", "renditions", "status"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("renditions")
    service = Service(folder, FACE_ENGINE="local", DATABASE_URL=new_database(folder))
    service.start()
    yield service
    service.kill()


@pytest.fixture
def client(service: Service) -> Client:
    return service.client()


@pytest.fixture
def owner() -> dict[str, str]:
    """Return an owner that no other test has."""
    return {"owner_type": "product", "owner_id": uuid.uuid4().hex}


def sent(client: Client, image: bytes, method: str = "POST", path: str = "/images", **more: Any) -> requests.Response:
    return client.request(method, path, files={"image": ("team photo.jpg", image)}, **more)


def accepted(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    image: dict[str, Any] = answer.json()
    assert image["status"] == "pending"
    assert answer.headers["Location"] == f"/images/{image['id']}"
    return image


def show(client: Client, image: str) -> dict[str, Any]:
    answer = client.get(f"/images/{image}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def ended(client: Client, image: str, seconds: float = 30) -> dict[str, Any]:
    wait_for(lambda: show(client, image)["status"] != "pending", seconds, "the end of an image")
    return show(client, image)


def made(client: Client, owner: dict[str, str], image: bytes | None = None) -> dict[str, Any]:
    shown = ended(client, accepted(sent(client, image or photo(1), data=owner))["id"])
    assert shown["status"] == "done", shown
    return shown


def listed(client: Client, owner: dict[str, str]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/images", params=owner).json()["items"]
    return items


def keys_of(image: dict[str, Any]) -> list[str]:
    return sorted(file["key"] for file in (image["original"], *image["renditions"]))


def keys_below(service: Service, folder: str) -> list[str]:
    return [path.relative_to(service.files).as_posix() for path in files_below(service.files / folder)]


def files_of(service: Service, owner: dict[str, str]) -> list[str]:
    return keys_below(service, f"images/{owner['owner_type']}/{owner['owner_id']}")


def pixels(file: dict[str, Any]) -> Image.Image:
    """Fetch a rendition without credentials, and hold it to what is said of it."""
    answer = requests.get(file["url"], timeout=30)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["Content-Type"], len(answer.content)) == ("image/webp", file["size"])
    picture = opened_bytes(answer.content, "image/webp")
    assert picture.size == (file["width"], file["height"])
    return picture


def noisy(size: int = 1300) -> bytes:
    """Return an image that takes a while."""
    file = io.BytesIO()
    Image.effect_noise((size, size), 90).convert("RGB").save(file, "WEBP", quality=50, method=0)
    return file.getvalue()


def at_once(*calls: Callable[[], requests.Response]) -> list[requests.Response]:
    answers: list[Any] = [None] * len(calls)

    def call(number: int) -> None:
        answers[number] = calls[number]()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_an_image_is_pending_at_once_and_done_with_four_webps(client: Client, owner: dict[str, str]) -> None:
    image = encoded(corners().resize((67, 50)), "PNG")
    answer = sent(client, image, data=owner)
    first = accepted(answer)
    assert sorted(first) == MEMBERS
    assert (first["renditions"], first["error"], first["name"]) == ([], None, "team photo.jpg")
    assert {name: first[name] for name in owner} == owner
    shown = ended(client, first["id"])
    assert shown["status"] == "done"
    assert {**shown["original"], "url": 0} == {**first["original"], "url": 0}
    assert requests.get(shown["original"]["url"], timeout=30).content == image
    assert {name: shown["original"][name] for name in ("width", "height", "size")} == {
        "width": 67,
        "height": 50,
        "size": len(image),
    }
    assert [file["kind"] for file in shown["renditions"]] == KINDS
    # 67 × 0.75 = 50.25, × 0.5 = 33.5, × 0.25 = 16.75; a half is rounded to the even side.
    assert [(file["width"], file["height"]) for file in shown["renditions"]] == [(67, 50), (50, 38), (34, 25), (17, 12)]
    for file in shown["renditions"]:
        size = (file["width"], file["height"])
        assert unlike(pixels(file), corners().resize((67, 50)).resize(size, Image.Resampling.LANCZOS)) < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_comes_out_upright_and_without_metadata(
    client: Client, owner: dict[str, str], kind: str
) -> None:
    ids = []
    for turn in range(1, 9):
        data = encoded(stored(turn, corners()), kind, exif=with_gps(turn), **LOSSY[kind])
        ids.append(accepted(sent(client, data, data=owner))["id"])
    for number in ids:
        shown = ended(client, number)
        assert (shown["original"]["width"], shown["original"]["height"]) == corners().size
        for file in shown["renditions"]:
            assert (
                unlike(pixels(file), corners().resize((file["width"], file["height"]), Image.Resampling.LANCZOS)) < 12
            )


def test_transparency_is_kept_and_the_smallest_picture_has_sides_of_one(client: Client, owner: dict[str, str]) -> None:
    glass = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    glass.paste((0, 0, 255, 255), (0, 0, 20, 40))
    for file in made(client, owner, encoded(glass, "PNG"))["renditions"]:
        alpha = pixels(file).getchannel("A")
        assert (alpha.getpixel((1, 1)), alpha.getpixel((file["width"] - 1, 1))) == (255, 0)
    dot = made(client, owner, encoded(Image.new("RGB", (1, 1)), "PNG"))
    assert [(file["width"], file["height"]) for file in dot["renditions"]] == [(1, 1)] * 4


def test_the_lists_go_by_owner_newest_first_and_page_by_page(client: Client, owner: dict[str, str]) -> None:
    ids = [accepted(sent(client, photo(number), data=owner))["id"] for number in range(5)]
    other = accepted(sent(client, photo(9), data=owner | {"owner_type": "user"}))["id"]
    assert [image["id"] for image in listed(client, owner)] == ids[::-1]
    assert [image["id"] for image in listed(client, {"user_id": owner["owner_id"]})] == [other]
    walked, cursor = [], ""
    while cursor is not None:
        page = client.get("/images", params=owner | {"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        walked += [image["id"] for image in page["items"]]
        cursor = page["next"]
        if len(walked) == 2:
            sent(client, photo(7), data=owner)  # what comes meanwhile moves nothing
    assert walked == ids[::-1]
    everything = client.get("/images", params={"limit": 100}).json()["items"]
    assert {*ids, other} <= {image["id"] for image in everything}


def test_an_owner_is_missed_where_it_belongs_and_empty_texts_do_no_harm(client: Client) -> None:
    assert problem(sent(client, photo(1)), 422).startswith("The form must name the owner")
    assert problem(sent(client, photo(1), "PUT"), 422).startswith("The query must name the owner")
    image = accepted(sent(client, photo(1), data={"user_id": "of a form", "owner_type": "", "owner_id": ""}))
    assert (image["owner_type"], image["owner_id"]) == ("user", "of a form")


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({}, "#"),
        ({"owner_type": "user"}, "#"),
        ({"owner_id": "1"}, "#"),
        ({"user_id": "1", "owner_type": "user", "owner_id": "1"}, "#"),
        ({"user_id": ""}, "#/user_id"),
        ({"user_id": "x" * 65}, "#/user_id"),
        ({"owner_type": "User", "owner_id": "1"}, "#/owner_type"),
        ({"owner_type": "1st", "owner_id": "1"}, "#/owner_type"),
        ({"owner_type": "x" * 33, "owner_id": "1"}, "#/owner_type"),
        ({"owner_type": "../user", "owner_id": "1"}, "#/owner_type"),
        ({"owner_type": "user", "owner_id": "\0"}, "#/owner_id"),
    ],
)
def test_half_an_owner_or_a_wrong_one_is_refused_everywhere(
    client: Client, given: dict[str, str], pointer: str
) -> None:
    parameter = pointer[2:] or "owner_type"
    answers = [
        sent(client, photo(1), data=given),
        sent(client, photo(1), "PUT", params=given),
        client.delete("/images", params=given),
        client.post("/images/credentials", json=given | {"actions": ["read"]}),
    ]
    if given:
        answers.append(client.get("/images", params=given))
    for answer in answers:
        problem(answer, 422)
        (fault,) = answer.json()["errors"]
        in_query = answer.request.method in ("GET", "DELETE", "PUT")
        assert fault.get("parameter" if in_query else "pointer") == (parameter if in_query else pointer)


def test_what_is_no_good_image_is_refused_and_leaves_no_file(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    image = photo(1, form="PNG")
    assert "5242880" in problem(sent(client, image + bytes(5_242_881 - len(image)), data=owner), 413)
    assert "5242880" in problem(sent(client, bytes(8_000_000), data=owner), 413)
    problem(sent(client, encoded(Image.new("1", (50_001, 1000)), "PNG"), data=owner), 413)  # over 50 megapixels
    assert "16383" in problem(sent(client, encoded(Image.new("L", (16_384, 1)), "PNG"), data=owner), 413)
    assert "image/webp" in str(sent(client, b"GIF89a" + bytes(50), data=owner).json())
    problem(sent(client, b"words", data=owner), 415)
    problem(sent(client, image[:-30], data=owner), 422)
    problem(sent(client, b"", data=owner), 422)
    problem(client.post("/images", data=owner), 422)
    problem(client.post("/images", files=[("image", ("a", image)), ("image", ("b", image))], data=owner), 422)
    problem(client.post("/images", files={"image": ("a", image), "more": ("b", image)}, data=owner), 422)
    problem(client.post("/images", json=owner), 415)
    problem(sent(client, image, "PUT", f"/images/{uuid.uuid4()}"), 404)
    assert files_of(service, owner) == []
    assert listed(client, owner) == []


def test_what_is_unknown_is_404_other_methods_405_and_nobody_comes_in_without_the_password(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    image = made(client, owner)
    path = f"/images/{image['id']}"
    for wrong in ("/images/none", f"/images/{uuid.uuid4()}", "/images/credentials"):
        problem(client.get(wrong), 404)
        problem(client.delete(wrong), 404)
    for params in ({"user_id": "nobody"}, {"url": "http://localhost/none"}, {"url": image["renditions"][0]["url"]}):
        problem(client.delete("/images", params=params), 404)
    for params in ({}, {"url": image["original"]["url"], **owner}, {"url": ""}, {"path": "x"}):
        problem(client.delete("/images", params=params), 422)
    for params in ({"limit": 0}, {"limit": 101}, {"cursor": "x"}, {"status": "done"}):
        problem(client.get("/images", params=params), 422)
    problem(client.patch("/images"), 405)
    problem(client.post(path), 405)
    calls = [("POST", "/images"), ("GET", "/images"), ("PUT", "/images"), ("DELETE", "/images")]
    calls += [(method, path) for method in ("GET", "PUT", "DELETE")] + [("POST", "/images/credentials")]
    for method, called in calls:
        problem(requests.request(method, service.url + called, timeout=30), 401)
    assert show(client, image["id"])["status"] == "done"


def test_an_image_is_deleted_by_id_by_owner_and_by_the_url_or_key_of_its_original(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    images = [made(client, owner, photo(number)) for number in range(6)]
    assert files_of(service, owner) == sorted(key for image in images for key in keys_of(image))
    url = images[1]["original"]["url"]
    which: list[dict[str, str]] = [
        {"url": url},
        {"url": images[2]["original"]["key"]},
        {"url": f"https://cdn.example.com/{images[3]['original']['key']}?X-Amz-Expires=1"},
    ]
    assert client.delete(f"/images/{images[0]['id']}").status_code == 204
    for params in which:
        assert client.delete("/images", params=params).status_code == 204
        problem(client.delete("/images", params=params), 404)
    problem(client.get(f"/images/{images[1]['id']}"), 404)
    assert requests.get(url, timeout=30).status_code == 404
    assert [image["id"] for image in listed(client, owner)] == [images[5]["id"], images[4]["id"]]
    assert files_of(service, owner) == sorted(keys_of(images[4]) + keys_of(images[5]))
    assert client.delete("/images", params=owner).status_code == 204
    problem(client.delete("/images", params=owner), 404)
    assert files_of(service, owner) == []


def test_a_link_that_has_ended_still_tells_which_image_to_delete(service: Service, client: Client) -> None:
    image = made(client, {"user_id": uuid.uuid4().hex})
    links = SignedUrls(lambda: Settings(api_password=service.password).signing_key)
    ended_link = service.url + links.make(image["original"]["key"], -10, Download("a.jpg"))
    assert requests.get(ended_link, timeout=30).status_code == 403
    forged = service.url + SignedUrls(lambda: "another key").make(image["original"]["key"], 10, Download("a.jpg"))
    problem(client.delete("/images", params={"url": forged}), 404)
    assert client.delete("/images", params={"url": ended_link}).status_code == 204
    problem(client.get(f"/images/{image['id']}"), 404)


def test_a_link_of_an_earlier_version_still_gives_the_file_and_tells_which_image_to_delete(
    service: Service, client: Client
) -> None:
    image = made(client, {"user_id": uuid.uuid4().hex})
    # Written out, so that it stays what was given out then: JSON, and HMAC-SHA1 with a key made of salt and secret.
    payload = json.dumps([image["original"]["key"], int(time.time()) + 60, "a.jpg", "image/jpeg", True]).encode()
    secret = Settings(api_password=service.password).signing_key.encode()
    key = hashlib.sha1(b"link to a file" + b"signer" + secret).digest()
    text = urlsafe_b64encode(payload).rstrip(b"=")
    signature = urlsafe_b64encode(hmac.digest(key, text, "sha1")).rstrip(b"=")
    url = f"{service.url}/files/{text.decode()}.{signature.decode()}/a.jpg"
    assert requests.get(url, timeout=30).content == photo(1)
    assert client.delete("/images", params={"url": url}).status_code == 204
    problem(client.get(f"/images/{image['id']}"), 404)


def test_a_replaced_image_keeps_its_id_and_shows_the_old_renditions_until_the_new_are_made(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    old = made(client, owner)
    path = f"/images/{old['id']}"
    pending = accepted(sent(client, noisy(), "PUT", path))
    assert (pending["id"], pending["created_at"]) == (old["id"], old["created_at"])
    assert pending["original"]["width"] == 1300
    assert keys_of(pending)[:-1] != keys_of(old)
    assert [file["key"] for file in pending["renditions"]] == [file["key"] for file in old["renditions"]]
    new = ended(client, old["id"])
    assert files_of(service, owner) == keys_of(new)
    assert (new["status"], new["renditions"][0]["width"], len(listed(client, owner))) == ("done", 1300, 1)
    problem(client.delete("/images", params={"url": old["original"]["url"]}), 404)


def test_an_image_put_for_an_owner_takes_the_place_of_all_and_is_the_first_where_there_is_none(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    first = accepted(sent(client, photo(1), "PUT", params=owner))
    assert ended(client, first["id"])["status"] == "done"
    second = made(client, owner, photo(2))
    neighbour = made(client, owner | {"owner_id": owner["owner_id"] + "0"})
    third = accepted(sent(client, noisy(), "PUT", params=owner))
    # A replacement of what is itself about to be replaced, and the replacement replaced.
    replaced = sent(client, noisy(), "PUT", f"/images/{second['id']}")
    assert replaced.status_code in (202, 404), "404 where the machine is so busy that it has been replaced already"
    accepted(sent(client, photo(4, (99, 99)), "PUT", f"/images/{third['id']}"))
    new = ended(client, third["id"])
    assert (new["status"], new["renditions"][0]["width"]) == ("done", 99)
    assert listed(client, owner)[0]["id"] == third["id"]
    wait_for(lambda: [image["id"] for image in listed(client, owner)] == [third["id"]])
    for image in (first, second):
        problem(client.get(f"/images/{image['id']}"), 404)
    wait_until_equal(lambda: files_of(service, owner), keys_of(new))
    wait_for(lambda: show(client, neighbour["id"])["status"] == "done")


def test_a_replacement_that_fails_leaves_what_was_there(make_service: MakeService, owner: dict[str, str]) -> None:
    service = make_service(FACE_ENGINE="local", WEB_WORKS="false")
    client = service.start()
    work = service.start_work()
    old = made(client, owner)
    work.terminate()
    work.wait(60)
    shown = accepted(sent(client, photo(2), "PUT", f"/images/{old['id']}"))
    (service.files / shown["original"]["key"]).write_bytes(b"no picture")
    service.start_work()
    failed = ended(client, old["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "image_rejected")
    assert failed["renditions"][0]["key"] == old["renditions"][0]["key"]
    assert [pixels(file).size for file in failed["renditions"]]
    again = accepted(sent(client, photo(3), "PUT", f"/images/{old['id']}"))
    new = ended(client, again["id"])
    assert files_of(service, owner) == keys_of(new)
    assert (new["status"], new["error"]) == ("done", None)


def test_who_sees_that_a_replacement_is_done_finds_no_old_file(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    with ThreadPoolExecutor(4) as pool:  # so many that their removal takes longer than to ask again
        list(pool.map(lambda number: accepted(sent(service.client(), photo(number), data=owner)), range(25)))
    everything = owner | {"limit": "100"}
    wait_for(lambda: {image["status"] for image in listed(client, everything)} == {"done"})
    new = accepted(sent(client, photo(99), "PUT", params=owner))["id"]
    wait_for(lambda: show(client, new)["status"] == "done")
    left = files_of(service, owner)
    assert left == keys_of(show(client, new))


def test_old_files_that_cannot_be_removed_do_not_keep_an_image_pending(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    old = made(client, owner)
    path = service.files / old["original"]["key"]
    path.unlink()
    (path / "more").mkdir(parents=True)  # what is no file cannot be deleted as one
    new = ended(client, accepted(sent(client, photo(2), "PUT", f"/images/{old['id']}"))["id"])
    assert (new["status"], new["error"]) == ("done", None)
    assert path.exists()
    shutil.rmtree(path)
    wait_for_removal(service)


def test_of_eight_puts_at_once_the_one_with_the_latest_time_stays(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    made(client, owner)
    answers = at_once(
        *[
            lambda number=number: sent(service.client(), photo(number, (200, 200)), "PUT", params=owner)  # type: ignore[misc]
            for number in range(8)
        ]
    )
    latest = max(accepted(answer)["created_at"] for answer in answers)
    wait_for(lambda: [image["status"] for image in listed(client, owner)] == ["done"])
    (left,) = listed(client, owner)
    assert left["created_at"] == latest
    # A job of one that was replaced may just have written, and removes it when it finds no row.
    wait_for(lambda: files_of(service, owner) == keys_of(left))


def test_the_deletion_of_an_owners_images_takes_what_clients_wrote_and_no_upload_under_way(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    neighbour = owner | {"owner_id": owner["owner_id"] + "0"}
    folder = service.files / "images" / owner["owner_type"] / owner["owner_id"]
    theirs = [folder / "a.png", folder / "a" / "b" / "original", folder.with_name(neighbour["owner_id"]) / "x"]
    # As an upload leaves it between the storing of the file and that of its row.
    under_way = folder / str(uuid.uuid4()) / "original"
    image = made(client, owner)
    for path in (*theirs, under_way):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert client.delete(f"/images/{image['id']}").status_code == 204
    assert [path.exists() for path in theirs] == [True, True, True], "one image's deletion is not its owner's"
    made(client, owner)
    for _ in range(2):  # with images, and without
        assert client.delete("/images", params=owner).status_code == 204
        assert [path.exists() for path in (*theirs, under_way)] == [False, False, True, True]
        theirs[0].write_bytes(b"x")
    assert client.delete("/images", params=owner).status_code == 204
    problem(client.delete("/images", params=owner), 404)
    assert theirs[2].exists()


def test_puts_and_deletes_at_once_leave_one_whole_image_or_none_and_no_file(
    client: Client, service: Service, owner: dict[str, str]
) -> None:
    dice = random.Random(5)
    for turn in range(4):
        first = accepted(sent(client, photo(turn), data=owner))["id"]
        calls: list[Callable[[], requests.Response]] = [
            lambda number=number: sent(service.client(), photo(number, (300, 300)), "PUT", params=owner)  # type: ignore[misc]
            for number in range(3)
        ]
        calls += [lambda: sent(service.client(), photo(8), "PUT", f"/images/{first}")] * 2  # noqa: B023
        calls += [lambda: service.client().delete(f"/images/{first}")] * 2  # noqa: B023
        if turn % 2:
            calls += [lambda: service.client().delete("/images", params=owner)]
        dice.shuffle(calls)
        statuses = [answer.status_code for answer in at_once(*calls)]
        assert set(statuses) <= {202, 204, 404}, statuses
        wait_for(lambda: all(image["status"] == "done" for image in listed(client, owner)))
        left = listed(client, owner)
        assert len(left) == 1 if not turn % 2 else len(left) <= 1
        expected = keys_of(left[0]) if left else []
        wait_until_equal(lambda: files_of(service, owner), expected)


def wait_for_removal(service: Service) -> None:
    engine = sa.create_engine(str(service.settings["DATABASE_URL"]))

    def rows() -> int:
        with engine.connect() as connection:
            jobs = "SELECT count(*) FROM job WHERE kind = 'file_deletion'"
            left = connection.scalar(sa.text("SELECT count(*) FROM file_deletion"))
            return int(left or 0) + int(connection.scalar(sa.text(jobs)) or 0)

    wait_for(lambda: rows() == 0, what="the end of removal")
    engine.dispose()


def test_deleting_what_is_being_made_leaves_no_file(client: Client, service: Service, owner: dict[str, str]) -> None:
    ids = [accepted(sent(client, noisy(1200), data=owner))["id"] for _ in range(3)]
    wait_for(lambda: any(name.endswith(".webp") for name in files_of(service, owner)), what="a first rendition")
    for image in ids:
        assert client.delete(f"/images/{image}").status_code == 204
    assert listed(client, owner) == []
    quiet_since = time.monotonic()

    def quiet() -> bool:
        nonlocal quiet_since
        if files_of(service, owner):
            quiet_since = time.monotonic()
        return time.monotonic() - quiet_since > 1.5

    wait_for(quiet, 30, "no file for a while")
    wait_for_removal(service)


def test_a_key_makes_one_image_of_two_requests_and_a_put_needs_none(client: Client, owner: dict[str, str]) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, again = (sent(client, photo(1), data=owner, headers=headers) for _ in range(2))
    assert accepted(first) == accepted(again)
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(sent(client, photo(2), data=owner, headers=headers), 422)
    assert len(listed(client, owner)) == 1


@pytest.mark.parametrize("strike", ["server", "worker"])
def test_a_kill_in_the_middle_loses_no_image_and_leaves_no_file(make_service: MakeService, strike: str) -> None:
    service = make_service(FACE_ENGINE="local", LEASE_SECONDS=2)
    client, owner = service.start(), {"owner_type": "user", "owner_id": "1"}
    old = made(client, owner)
    image = accepted(sent(client, noisy(1500), "PUT", params=owner))
    extra = accepted(sent(client, noisy(1000), data=owner))
    wait_for(lambda: len(files_of(service, owner)) > 7, what="a first new rendition")
    if strike == "server":
        service.kill()
        client = service.start()
    else:
        for worker in service.workers():
            os.kill(worker, signal.SIGKILL)
    images = [ended(client, number, 60) for number in (image["id"], extra["id"])]
    assert [(shown["status"], len(shown["renditions"])) for shown in images] == [("done", 4)] * 2
    problem(client.get(f"/images/{old['id']}"), 404)
    expected = sorted(key for shown in images for key in keys_of(shown))

    def whole() -> list[str]:
        """Return the files but for one that a killed worker was writing: that is the next sweep's."""
        return [key for key in files_of(service, owner) if "/.new-" not in key]

    wait_for(lambda: whole() == expected, what="the old files to go")
    assert len(files_of(service, owner)) - 10 <= (0 if strike == "server" else 2)


def test_owners_names_are_data_and_no_owners_prefix_covers_another(client: Client, service: Service) -> None:
    names = [
        "1",
        "10",
        "1/0",
        "..",
        ".",
        "../../etc",
        "a b",
        "ä",
        "日" * 64,
        "%2e",
        ".2e",
        "x" * 64,
        "😀" * 64,
        "\n",
        "~",
    ]
    folders = [Owner("user", name).folder() for name in names]
    assert all(folder.endswith("/") and folder.count("/") == 3 and ".." not in folder for folder in folders)
    assert max(len(folder.split("/")[2]) for folder in folders) <= 128
    for one in folders:
        assert [other for other in folders if other.startswith(one)] == [one]
        assert original_in(f"media/{one}{uuid.UUID(int=1)}/original") == (
            f"{one}{uuid.UUID(int=1)}/original",
            str(uuid.UUID(int=1)),
        )
    images = {name: made(client, {"owner_type": "odd", "owner_id": name}) for name in names}
    for name, image in images.items():
        assert [(shown["id"], shown["owner_id"]) for shown in listed(client, image_owner(image))] == [
            (image["id"], name)
        ]
        assert client.delete("/images", params=image_owner(image)).status_code == 204
    wait_for(lambda: not (service.files / "images" / "odd").exists(), 20, "the end of the last folder")


def image_owner(image: dict[str, Any]) -> dict[str, str]:
    return {"owner_type": image["owner_type"], "owner_id": image["owner_id"]}


def test_a_sweep_takes_orphans_and_leaves_what_clients_wrote_themselves(make_service: MakeService) -> None:
    service = make_service(FACE_ENGINE="local")
    client = service.start()
    image = made(client, {"user_id": "1"})
    service.kill()
    orphans = keys_in(f"{Owner('user', '1').folder()}{uuid.uuid4()}/")
    theirs = ["images/user/1/mine.png", "images/user/1/a/b/original", "images/user/2/x"]
    for key in orphans + theirs:
        (service.files / key).parent.mkdir(parents=True, exist_ok=True)
        (service.files / key).write_bytes(b"x")
    service.start()
    wait_until_equal(lambda: keys_below(service, "images"), sorted([*keys_of(image), *theirs]))


@pytest.mark.parametrize("scales", ["0.75,0.5", "0.75,0.5,0", "0.75,0.5,1.5", "a,b,c", "nan,1,1", "0.5"])
def test_scales_that_cannot_be_used_are_refused_at_the_start(scales: str) -> None:
    from service.config import BadSettings, Settings

    with pytest.raises(BadSettings, match="RENDITION_SCALES"):
        Settings.from_env({"API_PASSWORD": "long enough", "RENDITION_SCALES": scales})


@pytest.mark.parametrize("cdn", ["", "https://cdn.example.com"])
def test_the_tables_have_the_names_paths_and_addresses_of_all_files(make_service: MakeService, cdn: str) -> None:
    service = make_service(FACE_ENGINE="local", WEB_CONCURRENCY=1, CDN_URL=cdn)
    client = service.start()
    answer = client.post("/images", data={"user_id": 1}, files={"image": ("my cat.png", photo(1, form="PNG"))})
    image = answer.json()["id"]
    wait_for(lambda: client.get(f"/images/{image}").json()["status"] == "done", 30, "the renditions")
    shown = client.get(f"/images/{image}").json()
    with sqlite3.connect(service.folder / "service.db") as database:
        originals = database.execute("SELECT name, path, url FROM image_version").fetchall()
        made = database.execute("SELECT kind, name, path, url FROM rendition").fetchall()
    address = shown["original"]["url"] if cdn else None
    assert originals == [("my cat.png", shown["original"]["key"], address)]
    assert sorted(made) == sorted(
        (file["kind"], f"my cat_{file['kind']}.webp", file["key"], file["url"] if cdn else None)
        for file in shown["renditions"]
    )
    assert len(made) == 4


def test_credentials_of_a_folder_are_409(client: Client) -> None:
    good = {"user_id": 1, "actions": ["read"]}
    assert "folder" in problem(client.post("/images/credentials", json=good), 409)
    for change in (
        {"actions": []},
        {"actions": ["delete"]},
        {"actions": "read"},
        {"actions": None},
        {"lifetime": 899},
        {"lifetime": 43_201},
        {"lifetime": "900"},
        {"more": 1},
        {"user_id": True},
        {"user_id": -1},
    ):
        problem(client.post("/images/credentials", json=good | change), 422)


# --- on S3 ---


class Place:
    """A running service on S3, and its bucket."""

    def __init__(self, service: Service, store: ObjectStore, bucket: str) -> None:
        self.service = service
        self.client = service.start()
        self.store = store
        self.bucket = bucket

    def keys(self) -> list[str]:
        return sorted(self.store.keys_of(self.bucket))


@pytest.fixture(scope="module")
def place(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("renditions-on-s3")
    shutil.copy(migrated, folder / "service.db")
    bucket = object_store.bucket()
    settings = object_store.settings(bucket, S3_ROLE_ARN=ROLE, FACE_ENGINE="local", RENDITION_SCALES="0.6,0.4,0.2")
    place = Place(Service(folder, **settings), object_store, bucket)
    yield place
    place.service.kill()


def test_on_s3_files_are_private_typed_given_by_presigned_urls_and_go_with_their_image(place: Place) -> None:
    owner = {"owner_type": "user", "owner_id": "7"}
    image = made(place.client, owner, photo(1, (100, 50)))
    assert place.keys() == keys_of(image)
    assert all(key.startswith("media/images/user/7/") for key in keys_of(image))
    assert [file["width"] for file in image["renditions"]] == [100, 60, 40, 20]
    for file in image["renditions"]:
        pixels(file)
        assert requests.get(file["url"].partition("?")[0], timeout=30).status_code == 403
        told = place.store.client().head_object(Bucket=place.bucket, Key=file["key"])
        assert (told["ContentType"], told["CacheControl"]) == ("image/webp", UNCHANGING)
    told = place.store.client().head_object(Bucket=place.bucket, Key=image["original"]["key"])
    assert (told["ContentType"], told["CacheControl"]) == ("image/jpeg", UNCHANGING)
    new = image
    for number in range(4):
        path, params = (f"/images/{new['id']}", {}) if number % 2 else ("/images", owner)
        new = ended(place.client, accepted(sent(place.client, photo(number), "PUT", path, params=params))["id"])
        assert place.keys() == keys_of(new), "what is done stands alone"
    encoded, as_it_is = {"url": new["original"]["url"]}, f"/images?url={new['original']['url']}"
    assert "X-Amz-Signature" in as_it_is
    problem(place.client.delete(as_it_is + "&colour=1"), 422)
    assert place.client.delete(as_it_is).status_code == 204
    problem(place.client.delete("/images", params=encoded), 404)
    assert place.keys() == []


def test_with_a_cdn_the_url_is_its_address_and_the_key(place: Place, make_service: MakeService) -> None:
    settings = place.store.settings(place.store.bucket(), CDN_URL="https://cdn.example.com/", WEB_CONCURRENCY=1)
    client = make_service(FACE_ENGINE="local", **settings).start()
    image = made(client, {"user_id": "a b/ä"})
    for file in (image["original"], *image["renditions"]):
        assert file["url"] == f"https://cdn.example.com/{file['key']}"
    assert "S3_ROLE_ARN" in problem(client.post("/images/credentials", json={"user_id": 1, "actions": ["read"]}), 409)
    assert client.delete("/images", params={"url": image["original"]["url"]}).status_code == 204


def borrowed(given: dict[str, Any]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=given["endpoint_url"],
        region_name=given["region"],
        aws_access_key_id=given["access_key_id"],
        aws_secret_access_key=given["secret_access_key"],
        aws_session_token=given["session_token"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def is_allowed(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error
        return False
    return True


@pytest.mark.parametrize("actions", [["read"], ["write"], ["write", "read"]])
def test_temporary_keys_do_what_was_asked_for_below_the_owners_prefix_and_nothing_else(
    place: Place, actions: list[str]
) -> None:
    admin, bucket = place.store.client(), place.bucket
    answer = place.client.post("/images/credentials", json={"user_id": 1, "actions": actions, "lifetime": 900})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    given = answer.json()
    left = time.mktime(time.strptime(given["expires_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    assert 880 < left < 905
    assert (given["bucket"], given["prefix"]) == (bucket, "media/images/user/1/")
    assert given["actions"] == sorted(actions)
    own, others = "media/images/user/1/a", ["media/images/user/10/a", "media/tasks/x", "media/images/user/1"]
    for key in (own, *others):
        admin.put_object(Bucket=bucket, Key=key, Body=b"x")
    reads, writes, client = "read" in actions, "write" in actions, borrowed(given)
    assert is_allowed(client.get_object, Bucket=bucket, Key=own) == reads
    assert is_allowed(client.list_objects_v2, Bucket=bucket, Prefix=given["prefix"]) == reads
    assert is_allowed(client.put_object, Bucket=bucket, Key=own, Body=b"x") == writes
    assert is_allowed(client.create_multipart_upload, Bucket=bucket, Key=own) == writes
    for key in others:
        assert not is_allowed(client.get_object, Bucket=bucket, Key=key)
        assert not is_allowed(client.put_object, Bucket=bucket, Key=key, Body=b"x")
        assert not is_allowed(client.copy_object, Bucket=bucket, Key=own, CopySource=f"{bucket}/{key}")
    for prefix in ("", "media/", "media/images/user/10/", "media/images/user/1"):
        assert not is_allowed(client.list_objects_v2, Bucket=bucket, Prefix=prefix)
    assert not is_allowed(client.delete_object, Bucket=bucket, Key=own)
    assert not is_allowed(client.put_object_acl, Bucket=bucket, Key=own, ACL="public-read")
    assert not is_allowed(client.create_bucket, Bucket="another-bucket")
    forged = borrowed(given | {"session_token": given["session_token"][:-4] + "AAAA"})
    assert not is_allowed(forged.get_object, Bucket=bucket, Key=own)
    assert given["secret_access_key"] not in place.service.log.read_text()
    assert given["session_token"] not in place.service.log.read_text()
    for key in (own, *others):
        admin.delete_object(Bucket=bucket, Key=key)


def test_a_temporary_key_ends(place: Place) -> None:
    """The store's keys live three seconds where no lifetime is asked for."""
    given = place.client.post("/images/credentials", json={"user_id": 2, "actions": ["write", "read"]}).json()
    client, key = borrowed(given), f"{given['prefix']}note"
    assert is_allowed(client.put_object, Bucket=place.bucket, Key=key, Body=b"x")
    assert is_allowed(client.get_object, Bucket=place.bucket, Key=key)
    wait_for(lambda: not is_allowed(client.get_object, Bucket=place.bucket, Key=key), 10, "the end of the key")
    assert not is_allowed(client.put_object, Bucket=place.bucket, Key=key, Body=b"x")
    place.store.client().delete_object(Bucket=place.bucket, Key=key)


def test_a_lifetime_beyond_the_roles_is_422_and_a_role_that_may_not_be_assumed_503(
    place: Place, make_service: MakeService
) -> None:
    wanted = {"user_id": 1, "actions": ["read"]}
    assert "3601" in problem(place.client.post("/images/credentials", json=wanted | {"lifetime": 3601}), 422)
    wrong = place.store.settings(place.bucket, S3_ROLE_ARN="arn:aws:iam::role/Unknown", WEB_CONCURRENCY=1)
    client = make_service(FACE_ENGINE="local", **wrong).start()
    answer = requests.post(
        f"{client.url}/images/credentials",
        json=wanted,
        auth=client.auth,
        timeout=30,  # type: ignore[arg-type]
    )
    problem(answer, 503)


def test_the_longest_owner_fits_into_a_policy() -> None:
    prefix = "media/" + Owner("x" * 32, "😀" * 64).folder()
    assert len(str(policy("b" * 63, prefix, ["read", "write"]))) < 2048
