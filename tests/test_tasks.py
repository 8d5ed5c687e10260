"""Face tasks over HTTP, against a running service with two processes and the emulator of FaceCloud."""

import hashlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
import requests
from PIL import Image

from devtools.facecloud_emulator.faults import Mood
from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.engines.engine import Detection
from service.features.faces.schemas import ImageOut, Limits, TaskList, TaskOut
from service.http.uploads import MAX_PARTS
from tests.conftest import in_the_matrix
from tests.support import Client, Service, faces_of, photo

pytestmark = in_the_matrix

numbers = count(1)


def photos(number: int) -> list[bytes]:
    """Return pictures that no other test uses."""
    return [photo(next(numbers)) for _ in range(number)]


def woman(age: float) -> Detection:
    return Detection(x=1, y=2, width=30, height=40, gender="female", age=age, score=0.9)


def recount(task: dict[str, Any]) -> dict[str, Any]:
    faces = [face for image in task["images"] for face in image["faces"]]
    ages = {gender: [face["age"] for face in faces if face["gender"] == gender] for gender in ("male", "female")}
    averages = {gender: pytest.approx(sum(of) / len(of)) if of else None for gender, of in ages.items()}
    return {
        "faces": len(faces),
        "men": len(ages["male"]),
        "women": len(ages["female"]),
        "unknown": len(faces) - len(ages["male"]) - len(ages["female"]),
        "men_average_age": averages["male"],
        "women_average_age": averages["female"],
        "warnings": [],
    }


def problem(answer: requests.Response, status: int) -> str:
    """Return the detail of a problem document of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["type"]
    detail: str = body["detail"]
    assert detail.strip()
    return detail


def test_a_task_lives_from_creation_to_deletion(client: Client, shared_service: Service) -> None:
    created = client.post("/api/v1/tasks", json={"name": "team"})
    assert created.status_code == 201
    task = created.json()
    assert created.headers["Location"] == f"/api/v1/tasks/{task['id']}"
    assert (task["name"], task["status"], task["images"]) == ("team", "forming", [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", task["created_at"])

    images = photos(12)
    parts = [("image", (f"{number}.jpg", image)) for number, image in enumerate(images)]
    uploaded = client.post(f"/api/v1/tasks/{task['id']}/images", files=parts)
    assert uploaded.status_code == 201
    assert [image["name"] for image in uploaded.json()["items"]] == [f"{number}.jpg" for number in range(12)]

    started = client.start(task["id"])
    assert started.status_code == 202
    assert started.headers["Location"] == f"/api/v1/tasks/{task['id']}"
    assert int(started.headers["Retry-After"]) >= 1
    assert started.json()["status"] == "processing"

    ended = client.ended(task["id"])
    TaskOut.model_validate(ended)
    assert ended["status"] == "completed"
    assert ended["progress"] == {"total": 12, "pending": 0, "done": 12, "failed": 0}
    assert ended["statistics"] == recount(ended)
    for image, stored in zip(images, ended["images"], strict=True):
        assert (stored["status"], stored["attempts"], stored["error"]) == ("done", 1, None)
        assert [(face["bbox"]["x"], face["age"]) for face in stored["faces"]] == [(f.x, f.age) for f in faces_of(image)]
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]

    assert client.delete(f"/api/v1/tasks/{task['id']}").status_code == 204
    problem(client.delete(f"/api/v1/tasks/{task['id']}"), 404)
    problem(client.get(f"/api/v1/tasks/{task['id']}"), 404)
    assert not {image["id"] for image in ended["images"]} & set(shared_service.left_files())


def test_three_women_of_40_50_and_60_average_50(client: Client, shared_emulator: EmulatorServer) -> None:
    images = photos(3)
    for image, age in zip(images, (40, 50, 60), strict=True):
        shared_emulator.emulator.faces_of[hashlib.sha256(image).hexdigest()] = [woman(age)]
    statistics = client.run(*images)["statistics"]
    assert statistics == {
        "faces": 3,
        "men": 0,
        "women": 3,
        "unknown": 0,
        "men_average_age": None,
        "women_average_age": 50.0,
        "warnings": [],
    }


def test_a_photo_without_faces_is_done_and_an_unknown_gender_counts_as_a_face_only(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    empty, unknown = photos(2)
    somebody = Detection(x=0, y=0, width=9, height=9, gender="unknown", age=None, score=None)
    by_hash = shared_emulator.emulator.faces_of
    by_hash[hashlib.sha256(empty).hexdigest()] = []
    by_hash[hashlib.sha256(unknown).hexdigest()] = [somebody]
    task = client.run(empty, unknown)
    assert task["status"] == "completed"
    assert task["statistics"] == {
        "faces": 1,
        "men": 0,
        "women": 0,
        "unknown": 1,
        "men_average_age": None,
        "women_average_age": None,
        "warnings": [],
    }


def test_the_state_machine_refuses_each_wrong_step(client: Client) -> None:
    task = client.task()
    assert "no images" in problem(client.start(task), 409)
    image = client.post(f"/api/v1/tasks/{task}/images", files={"image": photos(1)[0]}).json()["items"][0]
    assert client.start(task).status_code == 202
    problem(client.start(task), 409)
    assert client.ended(task)["status"] == "completed"
    problem(client.start(task), 409)
    problem(client.post(f"/api/v1/tasks/{task}/images", files={"image": photos(1)[0]}), 409)
    problem(client.delete(f"/api/v1/tasks/{task}/images/{image['id']}"), 409)


def test_a_start_after_an_error_touches_only_the_failed_images(client: Client, shared_emulator: EmulatorServer) -> None:
    good, faceless, bad = photos(3)
    hashes = [hashlib.sha256(image).hexdigest() for image in (good, faceless, bad)]
    shared_emulator.emulator.faces_of[hashes[1]] = []
    shared_emulator.emulator.script.set([Mood(name="status", status=400, message="broken", sha256=hashes[2])])
    task = client.run(good, faceless, bad)
    assert task["status"] == "error"
    assert task["progress"] == {"total": 3, "pending": 0, "done": 2, "failed": 1}
    assert [image["status"] for image in task["images"]] == ["done", "done", "failed"]
    failed = task["images"][2]
    assert failed["error"]["code"] == "upstream_rejected"
    assert failed["error"]["detail"]

    shared_emulator.emulator.script.set([])
    shared_emulator.emulator.forget()
    again = client.start(task["id"])
    assert again.status_code == 202
    assert again.json()["progress"] == {"total": 3, "pending": 1, "done": 2, "failed": 0}
    task = client.ended(task["id"])
    assert task["status"] == "completed"
    assert task["statistics"] == recount(task)
    assert set(shared_emulator.emulator.counters()["images"]) == {hashes[2]}


def test_a_start_after_a_refusal_of_facecloud_asks_it_again(client: Client, shared_emulator: EmulatorServer) -> None:
    for status, code in ((402, "upstream_quota"), (403, "upstream_unauthorized")):
        shared_emulator.emulator.script.set([Mood(name="status", status=status)])
        task = client.run(*photos(3))
        assert (task["status"], task["images"][0]["error"]["code"]) == ("error", code)
        shared_emulator.emulator.script.set([])
        assert client.start(task["id"]).status_code == 202
        assert client.ended(task["id"])["status"] == "completed"
        shared_emulator.emulator.script.set([Mood(name="status", status=status)])
        assert client.run(*photos(3))["status"] == "error"
        shared_emulator.emulator.script.set([])
        assert client.run(*photos(3))["status"] == "completed", "another task is not refused from memory"


def test_of_four_starts_at_once_one_wins_and_no_image_is_sent_twice(
    client: Client, shared_service: Service, shared_emulator: EmulatorServer
) -> None:
    for _ in range(5):
        shared_emulator.emulator.forget()
        task = client.task(*photos(10))
        clients = [shared_service.client() for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            codes = sorted(answer.status_code for answer in pool.map(Client.start, clients, [task] * 4))
        assert codes == [202, 409, 409, 409]
        assert client.ended(task)["status"] == "completed"
        sent = shared_emulator.emulator.counters()["images"]
        assert len(sent) == 10
        assert sum(sent.values()) == 10


def test_forty_uploads_by_eight_clients_lose_nothing(client: Client, shared_service: Service) -> None:
    task = client.task()
    images = photos(40)

    def upload(number: int) -> int:
        files = {"image": (f"{number}.jpg", images[number])}
        return shared_service.client().post(f"/api/v1/tasks/{task}/images", files=files).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(upload, range(40))) == {201}
    shown = client.show(task)
    assert sorted(image["name"] for image in shown["images"]) == sorted(f"{number}.jpg" for number in range(40))
    assert shown["progress"]["total"] == 40


def test_names_come_from_name_fields_or_file_names_and_bare_bytes_have_a_query(client: Client) -> None:
    task = client.task()
    path = f"/api/v1/tasks/{task}/images"
    one, two, three = photos(3)
    parts = [("image", ("a.jpg", one)), ("image", ("b.jpg", two))]
    named = client.post(path, files=parts, data={"name": ["Anna", "Ян.jpg"]})
    assert [image["name"] for image in named.json()["items"]] == ["Anna", "Ян.jpg"]
    unnamed = client.post(f"/api/v1/tasks/{client.task()}/images", files=parts, data={"name": ["", "Ян.jpg"]})
    assert [image["name"] for image in unnamed.json()["items"]] == ["a.jpg", "Ян.jpg"]
    bare = client.post(path + "?name=bare.jpg", data=three, headers={"Content-Type": "image/jpeg"})
    assert bare.status_code == 201
    assert bare.json()["items"][0]["name"] == "bare.jpg"
    jpg = client.post(path, data=three, headers={"Content-Type": "image/jpg"})
    assert (jpg.status_code, jpg.json()["items"][0]["media_type"]) == (201, "image/jpeg")
    assert "GIF" in problem(client.post(path, data=b"GIF89a" + bytes(99), headers={"Content-Type": "image/gif"}), 415)
    assert "Images: 2, names: 1" in problem(client.post(path, files=parts, data={"name": ["one"]}), 422)
    problem(client.post(path, files={"photo": one}), 422)
    problem(client.post(path, data={"name": "x"}, files={"name": b""}), 422)
    problem(client.post(path, data=one, headers={"Content-Type": "text/plain"}), 415)
    problem(client.post(path, data=b"x", headers={"Content-Type": "multipart/form-data"}), 400)
    empty = client.post(path, data=b"", headers={"Content-Type": "image/jpeg"})
    assert problem(empty, 422).startswith("The body is empty")
    assert len(client.show(task)["images"]) == 4


def test_a_name_that_is_too_long_is_cut_before_its_extension(client: Client) -> None:
    path = f"/api/v1/tasks/{client.task()}/images"
    (image,) = photos(1)
    given = {"x" * 300 + ".png": "x" * 251 + ".png", "x" * 255: "x" * 255, "x" * 256: "x" * 255}
    given |= {"x" * 251 + ".jpeg": "x" * 250 + ".jpeg", "x." + "y" * 300: "x." + "y" * 253}
    named = client.post(path, files=[("image", ("a.jpg", image))] * len(given), data={"name": list(given)})
    assert [stored["name"] for stored in named.json()["items"]] == list(given.values())
    bare = client.post(path, params={"name": "ж" * 300 + ".JPG"}, data=image, headers={"Content-Type": "image/jpeg"})
    assert bare.json()["items"][0]["name"] == "ж" * 251 + ".JPG"


def _png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    return file.getvalue()


BAD = {
    "empty": (b"", 422),
    "text": (b"hello, world", 415),
    "gif": (b"GIF89a" + bytes(100), 415),
    "pdf": (b"%PDF-1.7 and more", 415),
    "cut off": (photo(0, (200, 200))[:-500], 422),
    "only a beginning": (b"\xff\xd8\xff\xe0" + bytes(50), 422),
    "too many bytes": (photo(0) + bytes(200_000), 413),
    "too many pixels": (_png((8_000, 6_251)), 413),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_name_and_nothing_of_the_request_is_kept(
    case: str, client: Client, shared_service: Service
) -> None:
    content, status = BAD[case]
    task = client.task()
    before = sorted(shared_service.left_files())
    parts = [("image", ("fine.jpg", photos(1)[0])), ("image", ("bad photo.jpg", content))]
    detail = problem(client.post(f"/api/v1/tasks/{task}/images", files=parts), status)
    assert "bad photo.jpg" in detail
    refused = client.post(f"/api/v1/tasks/{task}/images", files=parts)
    if status == 413:
        assert refused.json()["limit"] == (200_000 if "bytes" in case else 50_000_000)
    if status == 415:
        assert "image/webp" in detail or "WebP" in detail
        assert refused.json()["accepted_types"] == ["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"]
    if case != "too many bytes":  # which is told before all of it has come
        assert refused.json()["errors"] == [{"detail": detail, "pointer": "#/image/1"}]
    problem(
        client.post(f"/api/v1/tasks/{task}/images?name=b", data=content, headers={"Content-Type": "image/png"}), status
    )
    assert client.show(task)["images"] == []
    assert sorted(shared_service.left_files()) == before


def test_png_and_webp_are_taken_whatever_their_name_says_and_come_back_unchanged(client: Client) -> None:
    images = [photo(next(numbers), form=form) for form in ("PNG", "WEBP")]
    task = client.run(*images)
    assert [image["media_type"] for image in task["images"]] == ["image/png", "image/webp"]
    assert task["status"] == "completed"
    for image, stored in zip(images, task["images"], strict=True):
        content = client.get(f"/api/v1/tasks/{task['id']}/images/{stored['id']}/content")
        assert content.content == image
        assert content.headers["Content-Type"] == stored["media_type"]


def test_an_image_has_content_with_a_tag_and_ranges(client: Client) -> None:
    (image,) = photos(1)
    task = client.task(image)
    stored = client.show(task)["images"][0]
    path = f"/api/v1/tasks/{task}/images/{stored['id']}"
    assert ImageOut.model_validate(client.get(path).json()).id == stored["id"]
    content = client.get(path + "/content")
    assert content.content == image
    assert "private" in content.headers["Cache-Control"]
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    same = client.get(path + "/content", headers={"If-None-Match": content.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    part = client.get(path + "/content", headers={"Range": "bytes=2-9"})
    assert (part.status_code, part.content) == (206, image[2:10])
    other = client.task()
    problem(client.get(f"/api/v1/tasks/{other}/images/{stored['id']}"), 404)
    problem(client.get(f"/api/v1/tasks/{other}/images/{stored['id']}/content"), 404)
    problem(client.delete(f"/api/v1/tasks/{other}/images/{stored['id']}"), 404)
    assert client.delete(path).status_code == 204
    problem(client.get(path + "/content"), 404)
    assert client.show(task)["progress"]["total"] == 0


def test_a_range_counts_where_it_is_one_part_in_bytes_and_else_all_is_sent(client: Client) -> None:
    task = client.show(client.task(image := photos(1)[0]))
    path = f"/api/v1/tasks/{task['id']}/images/{task['images'][0]['id']}/content"
    size, tag = len(image), client.get(path).headers["ETag"]
    for ignored in ("items=0-5", "bytes=abc", "bytes=", "bytes=5-2", "bytes=0-0,5-6", "bytes=0-0,-1", "nonsense"):
        answer = client.get(path, headers={"Range": ignored})
        assert (answer.status_code, answer.content) == (200, image), ignored
        assert "Content-Range" not in answer.headers
    for wanted, part in (("-4", image[-4:]), (f"-{size + 9}", image), ("3-", image[3:]), (f"1-{size * 9}", image[1:])):
        answer = client.get(path, headers={"Range": f"bytes={wanted}", "If-Range": tag})
        assert (answer.status_code, answer.content) == (206, part), wanted
        assert answer.headers["Content-Range"] == f"bytes {size - len(part)}-{size - 1}/{size}"
    beyond = client.get(path, headers={"Range": f"bytes={size}-"})
    assert str(size) in problem(beyond, 416)
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    assert client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"another"'}).content == image


def test_ids_may_be_in_capitals(client: Client) -> None:
    task = client.show(client.task(*photos(1)))
    path = f"/api/v1/tasks/{task['id'].upper()}"
    assert client.get(path).json() == task
    assert client.get(f"{path}/images/{task['images'][0]['id'].upper()}").json() == task["images"][0]


def test_an_unchanged_task_is_304_and_a_changed_one_is_not(client: Client) -> None:
    task = client.task()
    path = f"/api/v1/tasks/{task}"
    tag = client.get(path).headers["ETag"]
    same = client.get(path, headers={"If-None-Match": tag})
    assert (same.status_code, same.headers["ETag"]) == (304, tag)
    for weak in (f"W/{tag}", f'"another", W/{tag}', f'W/"another", {tag}', "*"):
        assert client.get(path, headers={"If-None-Match": weak}).status_code == 304, weak
    assert client.get(path, headers={"If-None-Match": 'W/"another"'}).status_code == 200
    client.post(path + "/images", files={"image": photos(1)[0]})
    changed = client.get(path, headers={"If-None-Match": f"{tag}, W/{tag}"})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_a_walk_over_the_list_neither_skips_nor_repeats(client: Client) -> None:
    tasks = [client.task() for _ in range(7)]
    walked: list[str] = []
    cursor = None
    while True:
        page = client.get("/api/v1/tasks", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        TaskList.model_validate(page)
        walked += [task["id"] for task in page["items"]]
        client.task()  # newer ones come meanwhile, and do not disturb
        cursor = page["next"]
        if not cursor:
            break
    assert len(walked) == len(set(walked))
    assert [task for task in walked if task in tasks] == tasks[::-1]
    assert all("images" not in task for task in page["items"])


def test_the_list_filters_by_status_and_refuses_what_it_does_not_know(client: Client) -> None:
    done = client.run(*photos(1))["id"]
    listed = client.get("/api/v1/tasks", params={"status": "completed", "limit": 1}).json()["items"]
    assert listed[0]["id"] == done
    for query in (
        "limit=0",
        "limit=101",
        "limit=x",
        *(f"limit={text}" for text in ("1.0", "1_0", "%2B5", "%205", "5%20", "-0", "")),
        "status=lost",
        "cursor=abc",
        "cursor=",
        "colour=red",
        "limit=1&limit=2",
    ):
        refused = client.get(f"/api/v1/tasks?{query}")
        problem(refused, 422)
        assert [error["parameter"] for error in refused.json()["errors"]] == [query.partition("=")[0]]
    refused = client.get("/api/v1/tasks?limit=a&status=lost&cursor=x")
    problem(refused, 422)
    assert {error["parameter"] for error in refused.json()["errors"]} == {"limit", "status", "cursor"}


def test_a_broken_body_is_400_and_a_wrong_one_422_with_each_fault_named(client: Client) -> None:
    problem(client.post("/api/v1/tasks", data=b"{", headers={"Content-Type": "application/json"}), 400)
    problem(client.post("/api/v1/tasks", data=b"\xff", headers={"Content-Type": "application/json"}), 400)
    for body in ([], "x", 1, None):
        problem(client.post("/api/v1/tasks", json=body, data=None if body is not None else b"null"), 422)
    wrong = client.post("/api/v1/tasks", json={"name": 5, "colour": "red"})
    problem(wrong, 422)
    assert wrong.json()["errors"] == [
        {"detail": "must be a text", "pointer": "#/name"},
        {"detail": "is unknown here", "pointer": "#/colour"},
    ]
    problem(client.post("/api/v1/tasks", data=b'{"name": "' + b"x" * 2_000_000 + b'"}'), 413)


def test_what_is_not_json_is_told_what_to_send(client: Client) -> None:
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}):
        detail = problem(client.post("/api/v1/tasks", data="name=team", headers=headers), 400)
        assert "application/json or multipart/form-data" in detail
        assert client.post("/api/v1/tasks", data='{"name": "x"}', headers=headers).json()["name"] == "x"
    login = problem(client.post("/login", data={"email": "ada@example.com", "password": "long enough"}), 400)
    assert "application/json" in login
    assert "multipart" not in login


def test_a_start_takes_no_body_but_an_empty_one(client: Client) -> None:
    task = client.task(*photos(1))
    path = f"/api/v1/tasks/{task}/start"
    json = {"Content-Type": "application/json"}
    problem(client.post(path, data=b"{", headers=json), 400)
    for body, pointer in ((b'{"colour": 1}', "#/colour"), (b"[]", "#"), (b"null", "#")):
        refused = client.post(path, data=body, headers=json)
        problem(refused, 422)
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert client.show(task)["status"] == "forming"
    assert client.post(path, data=b"{}", headers=json).status_code == 202
    for body, headers in ((b"", json), (b"go", {"Content-Type": "text/plain"})):
        another = f"/api/v1/tasks/{client.task(*photos(1))}/start"
        assert client.post(another, data=body, headers=headers).status_code == 202


def test_what_is_wrong_is_told_in_whole_sentences(client: Client) -> None:
    form = {"image": ("a.jpg", photo(1))}
    order = {"file_ids": [1], "algorithm": "rotate", "params": {"direction": "left", "by": 90}}
    resize = {"file_ids": [1.5], "algorithm": "resize", "params": []}
    told = {
        "`name` in the body must be a text. `colour` in the body is unknown here. "
        "Known are: `name`, `webhook_url`.": client.post("/api/v1/tasks", json={"name": 5, "colour": "red"}),
        "`name` in the body must have at most 200 characters.": client.post("/api/v1/tasks", json={"name": "x" * 201}),
        "`limit` in the query must be at most 100.": client.get("/api/v1/tasks?limit=101"),
        "`limit` in the query must be a whole number.": client.get("/api/v1/tasks?limit=x"),
        "`start` in the form must be 'true' or 'false'.": client.post(
            "/api/v1/tasks", data={"start": "yes"}, files=form
        ),
        "`direction` in the params must be 'clockwise' or 'counterclockwise'. `by` in the params is unknown here. "
        "Known are: `direction`.": (client.post("/api/image-processing/", json=order)),
        "`file_ids/0` in the body must be a whole number. `params` in the body must be an object.": client.post(
            "/api/image-processing/", json=resize
        ),
        "`password` in the body must be sent.": client.post("/login", json={"email": "ada@example.com"}),
        "The form must have both `owner_type` and `owner_id`, or `user_id` alone.": client.post(
            "/images", data={"owner_type": "user"}, files=form
        ),
    }
    assert {expected: problem(answer, 422) for expected, answer in told.items()} == {text: text for text in told}


def test_every_422_names_what_is_wrong_whatever_it_is(client: Client) -> None:
    task = client.task()
    images = f"/api/v1/tasks/{task}/images"
    file = ("a.jpg", photo(0))
    for refused, pointer in (
        (client.post(images, files=[("image", ("a.jpg", b""))]), "#/image/0"),
        (client.post(images, files=[("image", file), ("image", file), ("image", ("a.jpg", b""))]), "#/image/2"),
        (client.post("/api/v1/tasks", files=[("image", file), ("image", ("a.jpg", b""))]), "#/image/1"),
        (client.post(images, data=photo(0)[:-50], headers={"Content-Type": "image/jpeg"}), "#"),
        (client.post("/images?user_id=1", files=[("image", ("a.jpg", b""))]), "#/image"),
        (client.post(images, files=[("photo", file)]), "#/photo"),
        (client.post(images, files=[("image", file)], data={"name": ["a", "b"]}), "#/name"),
        (client.post(images, files=[("name", file)]), "#/name"),
        (client.post("/api/v1/tasks", files=[("start", (None, "true"))]), "#/image"),
        (client.post("/api/v1/tasks", files=[("start", (None, "yes"))]), "#/start"),
        (client.post("/api/v1/tasks", headers={"Idempotency-Key": "x" * 300}), "#"),
    ):
        detail = problem(refused, 422)
        (error,) = refused.json()["errors"]
        assert error["pointer"] == pointer, refused.text
        assert error["detail"] in detail


def test_wrong_credentials_are_told_from_none(client: Client) -> None:
    client.auth = None
    assert "wrong" not in problem(client.get("/api/v1/limits"), 401)
    client.auth = ("admin", "no")
    assert "wrong" in problem(client.get("/api/v1/limits"), 401)


def test_every_documented_call_wants_credentials_and_the_open_ones_do_not(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    client.auth = None
    wanted = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = client.request(method, re.sub(r"\{\w+\}", "x", path), allow_redirects=False)
            if operation["security"]:
                problem(answer, 401)
                scheme = "Bearer" if "bearer" in operation["security"][0] else "Basic"
                assert answer.headers["WWW-Authenticate"].startswith(scheme)
                wanted += 1
            else:
                assert str(answer.status_code) in set(operation["responses"]) - {"401"}
    assert wanted >= 11
    client.auth = ("admin", "wrong")
    problem(client.get("/api/v1/limits"), 401)
    client.auth = ("ádmin".encode(), "wröng".encode())  # type: ignore[assignment]
    problem(client.get("/api/v1/limits"), 401)


def test_unknown_paths_and_methods_are_problems_too(client: Client) -> None:
    assert problem(client.get("/nowhere"), 404) == "There is no such address. /docs shows those that there are."
    refused = client.put("/api/v1/tasks")
    detail = "This address does not take PUT; it takes GET, HEAD, OPTIONS, POST."
    assert problem(refused, 405) == detail
    assert {"GET", "POST"} <= set(refused.headers["Allow"].replace(" ", "").split(","))
    for path in ("", "/start", "/images/x", "/images/x/content"):
        method = "POST" if path == "/start" else "GET"
        problem(client.request(method, f"/api/v1/tasks/00000000-0000-0000-0000-000000000000{path}"), 404)


def test_limits_tell_what_is_enforced(client: Client) -> None:
    limits = client.get("/api/v1/limits").json()
    Limits.model_validate(limits)
    assert limits["accepted_types"] == ["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"]
    assert (limits["max_image_bytes"], limits["max_images_per_task"]) == (200_000, 200)
    assert limits["max_parts_per_request"] == MAX_PARTS
    task = client.task(*photos(199))
    parts = [("image", ("a.jpg", image)) for image in photos(2)]
    refused = client.post(f"/api/v1/tasks/{task}/images", files=parts)
    assert "200" in problem(refused, 413)
    assert refused.json()["limit"] == 200
    assert client.show(task)["progress"]["total"] == 199


def test_the_pages_to_try_the_interface_work_without_the_internet(client: Client) -> None:
    client.auth = None
    page = client.get("/docs").text
    assert "://" not in page
    for asset in re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(/[^"]+)"', page):
        assert client.get(asset).status_code == 200
    assert client.get("/", allow_redirects=False).headers["Location"] == "/tasks"


ORIENTED = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""For each EXIF orientation the transposition that stores an upright picture that way, as Pillow numbers them."""


@pytest.mark.parametrize("orientation", ORIENTED)
def test_width_and_height_are_the_upright_pictures(client: Client, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photo(next(numbers), (60, 40), exif=exif)
    task = client.task(image)
    stored = client.show(task)["images"][0]
    assert (stored["width"], stored["height"]) == ((60, 40) if orientation < 5 else (40, 60))


def test_a_photo_goes_to_facecloud_with_its_pixels_and_nothing_else(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    number = next(numbers)
    bare = photo(number)
    with_place = photo(number, exif=exif, comment=b"at home", xmp=b"<x:xmpmeta/>")
    assert len(with_place) > len(bare) + 50
    shown = client.run(with_place, bare)
    assert [image["status"] for image in shown["images"]] == ["done", "done"]
    assert shared_emulator.emulator.counters()["images"] == {hashlib.sha256(bare).hexdigest(): 2}
    content = client.get(f"/api/v1/tasks/{shown['id']}/images/{shown['images'][0]['id']}/content").content
    assert content == with_place
