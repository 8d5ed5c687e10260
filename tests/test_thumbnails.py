"""Thumbnails: upright, small, made once, and gone with their image."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, ImageDraw

from tests.conftest import MakeService, facecloud
from tests.support import Client, Service, photo, wait_until_equal

SECRET = "the garden behind the house"  # in the EXIF of the photos here


def marked(size: tuple[int, int], orientation: int = 1, form: str = "JPEG") -> bytes:
    """Return a grey picture with a red corner, top left as it is stored, and a text in its EXIF."""
    picture = Image.new("RGB", size, "grey")
    ImageDraw.Draw(picture).rectangle((0, 0, size[0] // 2, size[1] // 2), "red")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, SECRET
    file = io.BytesIO()
    picture.save(file, form, exif=exif)
    return file.getvalue()


def address(task: str, image: str) -> str:
    return f"/api/v1/tasks/{task}/images/{image}/thumbnail"


def first(client: Client, *images: bytes) -> str:
    """Return the address of the thumbnail of a new task's first image."""
    task = client.task(*images)
    return address(task, client.show(task)["images"][0]["id"])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_thumbnail_is_a_small_upright_jpeg_without_metadata(client: Client, form: str) -> None:
    answer = client.get(first(client, marked((1200, 800), orientation=6, form=form)))
    assert answer.headers["Content-Type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (320, 480)
    red, green, _ = picture.convert("RGB").getpixel((300, 20))  # type: ignore[misc]
    assert red > 200, "turned clockwise, the corner is at the top right"
    assert green < 80
    assert SECRET.encode() not in answer.content
    assert not picture.getexif()


def test_a_small_picture_is_not_made_larger(client: Client) -> None:
    answer = client.get(first(client, photo(1)))
    assert Image.open(io.BytesIO(answer.content)).size == (64, 48)


def test_a_browser_may_keep_it_and_asks_with_its_tag(client: Client) -> None:
    path = first(client, photo(1))
    answer = client.get(path)
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_it_is_made_once_also_when_many_ask_at_once(client: Client, shared_service: Service) -> None:
    path = first(client, marked((1600, 1200)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shared_service.client().get(path).content, range(8)))
    assert len(set(answers)) == 1
    _, _, _, _, task, _, image, _ = path.split("/")
    stored = shared_service.files / "tasks" / task / f"{image}.thumbnail"
    assert stored.read_bytes() == answers[0]
    stored.write_bytes(b"kept")
    assert client.get(path).content == b"kept"


def test_it_goes_with_its_image_and_with_its_task(client: Client, shared_service: Service) -> None:
    task = client.task(photo(1), photo(2))
    one, other = (image["id"] for image in client.show(task)["images"])
    assert client.get(address(task, one)).status_code == client.get(address(task, other)).status_code == 200
    assert client.delete(f"/api/v1/tasks/{task}/images/{one}").status_code == 204
    assert client.get(address(task, one)).status_code == 404
    folder = shared_service.files / "tasks" / task
    assert sorted(path.name for path in folder.iterdir()) == [other, f"{other}.thumbnail"]
    assert client.delete(f"/api/v1/tasks/{task}").status_code == 204
    answer = client.get(address(task, other))
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert not folder.exists()


def test_nothing_is_left_of_a_task_that_is_deleted_while_its_thumbnails_are_made(
    client: Client, shared_service: Service
) -> None:
    for number in range(5):
        task = client.task(*(marked((900 + number, 700), form="PNG") for _ in range(4)))
        images = [image["id"] for image in client.show(task)["images"]]
        with ThreadPoolExecutor(5) as pool:
            asked = [pool.submit(shared_service.client().get, address(task, image)) for image in images]
            gone = pool.submit(client.delete, f"/api/v1/tasks/{task}")
        assert gone.result().status_code == 204
        assert {answer.result().status_code for answer in asked} <= {200, 404}
        assert not (shared_service.files / "tasks" / task).exists()


def test_another_tasks_image_and_one_that_never_was_are_unknown(client: Client) -> None:
    task, other = client.task(photo(1)), client.task(photo(2))
    image = client.show(task)["images"][0]["id"]
    assert client.get(address(other, image)).status_code == 404
    assert client.get(address(task, "00000000-0000-4000-8000-000000000000")).status_code == 404
    assert client.get(address(task, image), auth=("admin", "wrong")).status_code == 401


def test_the_sweep_of_orphans_spares_them_as_long_as_their_image_is_there(
    make_service: MakeService, shared_emulator: object
) -> None:
    service = make_service(**facecloud(shared_emulator))  # type: ignore[arg-type]
    client = service.start()
    path = first(client, photo(1))
    content = client.get(path).content
    _, _, _, _, task, _, image, _ = path.split("/")
    (service.files / "tasks" / task / "00000000-0000-4000-8000-000000000000.thumbnail").write_bytes(b"orphan")
    service.kill()
    client = service.start()
    wait_until_equal(lambda: sorted(service.left_files()), sorted([image, f"{image}.thumbnail"]))
    assert client.get(path).content == content
