"""Faces as files: boxed photos, CSV, JSON lines, the zip; and whole tasks by one request."""

import base64
import csv
import io
import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image, ImageChops

from devtools.facecloud_emulator.server import EmulatorServer
from service.features.faces.drawing import draw_boxes
from service.features.faces.engines.engine import Detection, Gender
from service.features.faces.schemas import FaceOut
from service.imaging.pixel_budget import PixelBudget
from tests.support import Client, Service, photo, wait_for
from tests.test_tasks import problem

numbers = count(900_000)
COLUMNS = (
    "image_id,name,x,y,width,height,gender,age,score,male_probability,age_low,age_high,"
    "quality_height,quality_sharpness,quality_brightness,number,corrected\r\n"
)
ROUNDS = int(os.environ.get("RACES_ROUNDS", "12"))
ORIENTATION = 0x0112


def face(x: int, y: int, width: int, height: int, gender: Gender = "male", age: float | None = 30.0) -> Detection:
    return Detection(x=x, y=y, width=width, height=height, gender=gender, age=age, score=0.5)


def plain_photo(size: tuple[int, int], form: str = "JPEG", colour: str = "#336633", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form, **options)
    return file.getvalue()


def drawn(image: bytes, *faces: Detection) -> Image.Image:
    return Image.open(io.BytesIO(draw_boxes(image, faces, PixelBudget())))


def changed(picture: Image.Image, colour: str = "#336633") -> tuple[int, int, int, int] | None:
    """Return the box of all that differs clearly from the plain photo."""
    difference = ImageChops.difference(picture.convert("RGB"), Image.new("RGB", picture.size, colour))
    return difference.convert("L").point(lambda value: 255 * (value > 40)).getbbox()


def upload(client: Client, *images: tuple[str, bytes], **members: Any) -> str:
    task: str = client.post("/api/v1/tasks", json=members).json()["id"]
    assert client.post(f"/api/v1/tasks/{task}/images", files=[("image", pair) for pair in images]).status_code == 201
    return task


def run(client: Client, *images: tuple[str, bytes], **members: Any) -> dict[str, Any]:
    task = upload(client, *images, **members)
    assert client.start(task).status_code == 202
    return client.ended(task)


def rows_of(answer: requests.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))


# --- drawing


@pytest.mark.parametrize("size", [(40, 30), (640, 480), (3000, 200), (200, 3000), (2600, 2000)])
@pytest.mark.parametrize("place", [(0, 0), (0.9, 0.9), (0.4, 0.4), (-0.1, 0.8)])
def test_box_and_label_stay_inside_the_photo_and_can_be_seen(size: tuple[int, int], place: tuple[float, float]) -> None:
    shown = face(round(place[0] * size[0]), round(place[1] * size[1]), size[0] // 4, size[1] // 4)
    picture = drawn(plain_photo(size), shown)
    assert (picture.format, picture.size) == ("JPEG", size)
    box = changed(picture)
    assert box
    assert box[2] - box[0] >= size[0] // 12


def test_labels_stand_over_no_other_face_and_lines_are_thin() -> None:
    faces = [face(60 + 90 * column, 60 + 110 * row, 60, 80) for column in range(5) for row in range(3)]
    picture = drawn(plain_photo((560, 420)), *faces)
    for shown in faces:
        inside = (shown.x + 4, shown.y + 4, shown.x + shown.width - 4, shown.y + shown.height - 4)
        assert changed(picture.crop(inside)) is None
    left = [changed(picture.crop((shown.x - 9, shown.y + 40, shown.x + 9, shown.y + 44))) for shown in faces]
    assert all(box and box[2] - box[0] <= 4 for box in left)  # 3 % of 80 pixels, and what JPEG smears


def test_the_genders_colours_differ_in_lightness_too() -> None:
    def lightness(gender: Gender) -> float:
        picture = drawn(plain_photo((400, 300)), face(100, 100, 200, 150, gender, None)).convert("L")
        # The box of an unknown gender is dashed: its dashes count, not what is between them.
        return max(float(picture.getpixel((101, y))) for y in range(150, 250))  # type: ignore[arg-type]

    men, women, unknown = lightness("male"), lightness("female"), lightness("unknown")
    assert unknown - max(men, women) > 30
    assert lightness("male") > 120


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_photo_of_fifty_megapixels_is_drawn_at_a_bounded_size(form: str) -> None:
    size = (8000, 6250) if form == "JPEG" else (5000, 4000)
    picture = drawn(plain_photo(size, form), face(size[0] // 2, size[1] // 2, size[0] // 10, size[1] // 10))
    assert picture.width * picture.height <= 16_000_000
    assert abs(picture.width / picture.height - size[0] / size[1]) < 0.01
    box = changed(picture)
    assert box
    assert box[2] / picture.width == pytest.approx(0.6, abs=0.02)


def test_boxes_fit_a_photo_that_exif_turns_and_no_metadata_is_left() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010E] = "a secret place"
    image = plain_photo((300, 200), exif=exif)
    picture = drawn(image, face(20, 220, 60, 60))
    assert picture.size == (200, 300)
    box = changed(picture)
    assert box
    assert box[3] == pytest.approx(281, abs=3)
    assert not picture.getexif()
    assert b"secret" not in draw_boxes(image, [], PixelBudget())


@pytest.mark.parametrize("shown", [face(900, 900, 10, 10), face(-90, -90, 10, 10), face(5, 5, 0, 0)])
def test_a_box_outside_or_without_size_does_no_harm(shown: Detection) -> None:
    assert drawn(plain_photo((64, 48)), shown).size == (64, 48)


# --- one photo over HTTP


def test_a_boxed_photo_is_a_jpeg_with_its_faces(client: Client, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.faces = [face(100, 80, 60, 60, "female", 31.0)]
    image = plain_photo((400, 300), "PNG")
    task = run(client, ("a.png", image))
    path = f"/api/v1/tasks/{task['id']}/images/{task['images'][0]['id']}/content"
    assert client.get(path).content == image
    answer = client.get(path, params={"faces": "boxed"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert "private" in answer.headers["Cache-Control"]
    box = changed(Image.open(io.BytesIO(answer.content)))
    assert box
    assert box[2] >= 158
    again = client.get(path, params={"faces": "boxed"}, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    weak = {"If-None-Match": f'"another", W/{answer.headers["ETag"]}'}  # as proxies make them that compress
    assert client.get(path, params={"faces": "boxed"}, headers=weak).status_code == 304
    assert client.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 200


def test_without_results_the_photo_has_no_boxes_and_its_tag_changes_with_them(client: Client) -> None:
    task = upload(client, ("a.jpg", plain_photo((320, 240))))
    image = client.show(task)["images"][0]["id"]
    path = f"/api/v1/tasks/{task}/images/{image}/content?faces=boxed"
    before = client.get(path)
    assert before.status_code == 200
    assert changed(Image.open(io.BytesIO(before.content))) is None
    client.start(task)
    client.ended(task)
    after = client.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]


def test_what_cannot_be_drawn_is_told(client: Client) -> None:
    task = upload(client, ("a.jpg", photo(next(numbers))))
    image = client.show(task)["images"][0]["id"]
    path = f"/api/v1/tasks/{task}/images/{image}/content"
    assert "faces" in problem(client.get(path, params={"faces": "round"}), 422)
    assert "faces" in problem(client.get(path, params={"faces": ""}), 422)
    other = client.task()
    problem(client.get(f"/api/v1/tasks/{other}/images/{image}/content?faces=boxed"), 404)
    for name in ("faces.csv", "faces.jsonl", "boxed.zip"):
        problem(client.get(f"/api/v1/tasks/unknown/{name}"), 404)
        assert requests.get(f"{client.url}/api/v1/tasks/{task}/{name}", timeout=20).status_code == 401


def test_many_boxed_photos_at_once_are_all_drawn(client: Client) -> None:
    task = run(client, ("a.jpg", photo(next(numbers), (1600, 1200))))
    path = f"{client.url}/api/v1/tasks/{task['id']}/images/{task['images'][0]['id']}/content?faces=boxed"
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: requests.get(path, auth=client.auth, timeout=60), range(24)))
    assert {answer.status_code for answer in answers} == {200}


# --- rows


def test_the_rows_are_the_faces_in_order_of_upload_and_size(client: Client, shared_emulator: EmulatorServer) -> None:
    shared_emulator.emulator.faces = [
        face(-3, 4, 50, 60, "female", 31.0),
        face(1, 2, 30, 40),
        face(0, 0, 9, 9, "unknown", None),
    ]
    names = ["b.jpg", 'quote " comma, and Ünï.jpg', "=SUM(A1).jpg", "@x.jpg"]
    task = run(client, *((name, photo(next(numbers))) for name in names), name="Team «Ünï» 7/8")
    rows = rows_of(answer := client.get(f"/api/v1/tasks/{task['id']}/faces.csv"))
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.content.startswith(COLUMNS.encode())
    assert answer.content.endswith(b"\r\n")
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"Team Uni 7_8.csv\"; filename*=UTF-8''Team%20%C2%AB%C3%9Cn%C3%AF%C2%BB%207_8.csv"
    )
    spelled = [names[0], names[1], f"'{names[2]}", f"'{names[3]}"]
    assert [row["name"] for row in rows] == [name for name in spelled for _ in range(3)]
    first = dict(rows[0])
    assert first.pop("image_id") == task["images"][0]["id"]
    assert float(first.pop("score")) == pytest.approx(0.5)
    reach = 1.645 * 51**0.5
    assert [float(first.pop(name)) for name in ("age_low", "age_high")] == [
        pytest.approx(31.0 - reach, abs=0.1),
        pytest.approx(31.0 + reach, abs=0.1),
    ]
    assert list(first.values()) == ["b.jpg", "-3", "4", "50", "60", "female", "31.0", "", "", "", "", "1", "false"]
    assert [rows[2]["gender"], rows[2]["age"]] == ["unknown", ""]

    lines = client.get(f"/api/v1/tasks/{task['id']}/faces.jsonl").content.decode().splitlines()
    expected = [
        {"image_id": image["id"], "name": image["name"]} | shown for image in task["images"] for shown in image["faces"]
    ]
    assert [json.loads(line) for line in lines] == expected
    assert set(json.loads(lines[0])) == {"image_id", "name", *FaceOut.model_fields}


def test_rows_of_more_than_one_page_are_whole_and_a_task_without_faces_has_none(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    empty = client.task()
    assert client.get(f"/api/v1/tasks/{empty}/faces.csv").text.count("\r\n") == 1
    assert client.get(f"/api/v1/tasks/{empty}/faces.jsonl").content == b""
    assert zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/tasks/{empty}/boxed.zip").content)).namelist() == []
    task = client.run(*(photo(next(numbers)) for _ in range(200)))
    rows = rows_of(client.get(f"/api/v1/tasks/{task['id']}/faces.csv"))
    assert [row["image_id"] for row in rows] == [
        image["id"] for image in task["images"] for _ in range(len(image["faces"]))
    ]
    assert len(rows) == task["statistics"]["faces"]


# --- the zip


def test_the_zip_has_every_photo_drawn_under_a_safe_name_of_its_own(
    client: Client, shared_emulator: EmulatorServer
) -> None:
    shared_emulator.emulator.faces = [face(10, 30, 30, 30)]
    names = ["a.jpg", "a.png", "../../up.jpg", "con.webp", "A.JPG", "notes.txt", "..", "."]
    task = run(client, *((name, plain_photo((120, 100))) for name in names), name="trip")
    answer = client.get(f"/api/v1/tasks/{task['id']}/boxed.zip")
    assert answer.headers["Content-Type"] == "application/zip"
    assert 'filename="trip.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        nameless = ["image.jpg", "image (2).jpg"]
        assert archive.namelist() == [
            "a.jpg",
            "a (2).jpg",
            "__up.jpg",
            "_con.jpg",
            "A (3).jpg",
            "notes.txt.jpg",
            *nameless,
        ]
        for name in archive.namelist():
            picture = Image.open(io.BytesIO(archive.read(name)))
            assert (picture.format, picture.size) == ("JPEG", (120, 100))
            assert changed(picture)


def ticks(service: Service) -> int:
    """Return the processor time that the service's workers have taken, in clock ticks."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in service.workers()]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats)


@pytest.fixture
def long_zip(client: Client) -> Iterator[tuple[str, requests.Response, Iterator[bytes]]]:
    """Give a task whose zip takes many seconds to draw, and the zip with what comes of it after a little was read."""
    picture = io.BytesIO()
    Image.effect_noise((500, 375), 60).convert("RGB").resize((3000, 2250)).save(picture, "JPEG", quality=1)
    task = upload(client, *((f"{number}.jpg", picture.getvalue()) for number in range(100)))
    with client.get(f"/api/v1/tasks/{task}/boxed.zip", stream=True) as answer:
        pieces = answer.iter_content(1000)
        assert next(pieces).startswith(b"PK")
        yield task, answer, pieces


def test_a_client_that_goes_away_stops_the_drawing(
    long_zip: tuple[str, requests.Response, Iterator[bytes]], shared_service: Service
) -> None:
    _, answer, _ = long_zip
    begin = ticks(shared_service)
    wait_for(lambda: ticks(shared_service) > begin + 10, 20, "drawing")
    answer.close()

    def idle() -> bool:
        before = ticks(shared_service)
        time.sleep(0.5)  # the span over which the processor time is measured
        return ticks(shared_service) - before < 0.1 * os.sysconf("SC_CLK_TCK")

    wait_for(idle, 10, "the end of the drawing")


def test_a_task_deleted_meanwhile_breaks_the_zip_off(
    long_zip: tuple[str, requests.Response, Iterator[bytes]], client: Client, shared_service: Service
) -> None:
    task, answer, pieces = long_zip
    assert requests.delete(f"{client.url}/api/v1/tasks/{task}", auth=client.auth, timeout=20).status_code == 204
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        sum(map(len, pieces))
    assert_told_once(shared_service, answer.headers["X-Request-Id"])


def assert_told_once(service: Service, request_id: str) -> None:
    """The log has one line that says that the answer broke off, and no traceback."""

    def lines() -> list[str]:
        return [line for line in service.log.read_text().splitlines() if f"request_id={request_id}" in line]

    wait_for(lambda: any(" request " in line for line in lines()), 10, "the request's line")
    (told,) = (line for line in lines() if "answer broke off" in line)
    assert " INFO " in told
    assert "There is no such task." in told
    assert "Traceback" not in service.log.read_text()


@pytest.fixture
def many_rows(client: Client, shared_emulator: EmulatorServer) -> str:
    """Return a task of one page of images whose rows are more than a connection takes that nobody reads."""
    shared_emulator.emulator.faces = [face(number, number, 9, 9) for number in range(100)]
    parts = [("image", (f"{number}{'x' * 240}.jpg", photo(next(numbers)))) for number in range(200)]
    created = client.post("/api/v1/tasks", data={"start": "true"}, files=parts)
    assert created.status_code == 201, created.text
    return str(client.ended(created.json()["id"])["id"])


@pytest.mark.parametrize("name", ["faces.csv", "faces.jsonl"])
def test_a_task_deleted_meanwhile_breaks_its_rows_off(
    name: str, many_rows: str, client: Client, shared_service: Service
) -> None:
    path = f"/api/v1/tasks/{many_rows}"
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", int(str(shared_service.settings["PORT"]))))
        credentials = base64.b64encode(f"admin:{shared_service.password}".encode()).decode()
        head = f"GET {path}/{name} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {many_rows}\r\n"
        reader.sendall(f"{head}Authorization: Basic {credentials}\r\n\r\n".encode())
        answer = reader.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert client.delete(path).status_code == 204
        while piece := reader.recv(1 << 16):
            answer = answer[-10:] + piece
    assert not answer.endswith(b"\r\n0\r\n\r\n")
    assert_told_once(shared_service, many_rows)


def test_an_export_that_races_with_a_deletion_is_whole_or_404_or_breaks_off(
    client: Client, shared_service: Service
) -> None:
    def export(name: str, task: str) -> int:
        try:
            return requests.get(f"{client.url}/api/v1/tasks/{task}/{name}", auth=client.auth, timeout=20).status_code
        except requests.exceptions.ChunkedEncodingError:
            return 0

    answers = set()
    with ThreadPoolExecutor(7) as pool:
        for _ in range(ROUNDS):
            task = client.task(photo(1))
            asked = [pool.submit(export, name, task) for name in ("faces.csv", "faces.jsonl", "boxed.zip") * 2]
            deleted = pool.submit(requests.delete, f"{client.url}/api/v1/tasks/{task}", auth=client.auth, timeout=20)
            answers |= {answer.result() for answer in asked}
            assert deleted.result().status_code == 204
    assert answers <= {0, 200, 404}
    assert not re.search(r" ERROR |Traceback", shared_service.log.read_text())


# --- a whole task by one request


def test_a_form_creates_a_whole_task_and_starts_it(client: Client) -> None:
    images = [photo(next(numbers)) for _ in range(3)]
    parts = [("image", (f"{number}.jpg", image)) for number, image in enumerate(images)]
    created = client.post("/api/v1/tasks", data={"name": "team", "start": "true"}, files=parts)
    assert created.status_code == 201
    task = created.json()
    assert created.headers["Location"] == f"/api/v1/tasks/{task['id']}"
    assert created.headers["Retry-After"] == "1"
    assert "Retry-After" not in client.post("/api/v1/tasks").headers
    assert (task["name"], task["status"], task["progress"]["total"]) == ("team", "processing", 3)
    assert [image["name"] for image in task["images"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert task["started_at"]
    ended = client.ended(task["id"])
    assert ended["status"] == "completed"
    assert [image["id"] for image in ended["images"]] == [image["id"] for image in task["images"]]
    content = client.get(f"/api/v1/tasks/{task['id']}/images/{task['images'][2]['id']}/content").content
    assert content == images[2]


def test_a_form_without_start_creates_a_task_that_forms(client: Client) -> None:
    created = client.post("/api/v1/tasks", data={"start": "false"}, files={"image": ("a.jpg", photo(next(numbers)))})
    assert (created.status_code, created.json()["status"]) == (201, "forming")
    more = client.post(f"/api/v1/tasks/{created.json()['id']}/images", files={"image": ("b.jpg", photo(1))})
    assert more.status_code == 201
    empty = client.post("/api/v1/tasks", files={"name": (None, "empty")})
    assert (empty.status_code, empty.json()["name"], empty.json()["images"]) == (201, "empty", [])


@pytest.mark.parametrize(
    ("data", "image", "status", "named"),
    [
        ({}, b"%PDF-1.7", 415, "bad.jpg"),
        ({}, photo(1)[:-500], 422, "bad.jpg"),
        ({}, b"", 422, "bad.jpg"),
        ({}, b"\xff\xd8\xff" + bytes(200_001), 413, "bad.jpg"),
        ({"start": "yes"}, photo(1), 422, "start"),
        ({"colour": "red"}, photo(1), 422, "colour"),
        ({"name": "x" * 201}, photo(1), 422, "name"),
        ({"name": ["a", "b"]}, photo(1), 422, "name"),
        ({"webhook_url": "ftp://example.com"}, photo(1), 422, "http"),
    ],
)
def test_a_form_that_is_refused_leaves_nothing(
    client: Client, shared_service: Service, data: dict[str, Any], image: bytes, status: int, named: str
) -> None:
    newest = client.get("/api/v1/tasks?limit=1").json()["items"]
    files = set(shared_service.left_files())
    parts = [("image", ("good.jpg", photo(next(numbers)))), ("image", ("bad.jpg", image))]
    assert named in problem(client.post("/api/v1/tasks", data=data, files=parts), status)
    assert client.get("/api/v1/tasks?limit=1").json()["items"] == newest
    assert set(shared_service.left_files()) == files


def test_a_start_without_images_is_refused(client: Client) -> None:
    assert "image" in problem(client.post("/api/v1/tasks", files={"start": (None, "true")}), 422)
    assert "image" in problem(client.post("/api/v1/tasks", data={"image": "text"}, files={"x": ""}), 422)
