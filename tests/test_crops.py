"""Faces cut out of their photos."""

import io
import zipfile
from typing import Any

import pytest
from PIL import Image

from tests.support import Client, faces_of, photo

TASKS = "/api/v1/tasks"
RED, BLUE = (220, 20, 20), (20, 20, 220)


def red_in_blue(size: tuple[int, int], box: tuple[int, int, int, int], **options: Any) -> bytes:
    """Return a blue JPEG with a red box (left, top, right, bottom)."""
    picture, file = Image.new("RGB", size, BLUE), io.BytesIO()
    picture.paste(RED, box)
    picture.save(file, "JPEG", quality=95, subsampling=0, **options)
    return file.getvalue()


def is_near(pixel: Any, colour: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 25 for one, other in zip(pixel, colour, strict=True))


def added(client: Client, image: bytes, box: dict[str, int]) -> str:
    """Run a task of this image, add a face to it, and return the face's path."""
    task = client.run(image)
    place = f"{TASKS}/{task['id']}/images/{task['images'][0]['id']}/faces"
    answer = client.post(place, json={"bbox": box, "gender": "unknown", "age": None})
    assert answer.status_code == 201, answer.text
    return f"{place}/{answer.json()['number']}"


def crop(client: Client, face: str, **query: Any) -> Image.Image:
    answer = client.get(f"{face}/crop", params=query)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg"), answer.text
    return Image.open(io.BytesIO(answer.content))


def test_a_crop_is_the_box_with_its_margin_and_stays_inside_the_photo(client: Client) -> None:
    face = added(client, red_in_blue((400, 300), (100, 50, 200, 150)), {"x": 100, "y": 50, "width": 100, "height": 100})
    bare = crop(client, face, margin=0)
    assert bare.size == (100, 100)
    assert all(is_near(bare.getpixel(place), RED) for place in ((1, 1), (98, 98), (50, 50)))
    wide = crop(client, face)
    assert wide.size == (180, 180)
    assert is_near(wide.getpixel((5, 5)), BLUE)
    assert is_near(wide.getpixel((90, 90)), RED)
    assert crop(client, face, margin=5).size == (400, 300)


def test_a_crop_of_a_large_photo_is_scaled_down_and_upright(client: Client) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6
    image = red_in_blue((2400, 1800), (0, 0, 2400, 900), exif=sideways)
    face = added(client, image, {"x": 0, "y": 0, "width": 1800, "height": 2400})
    shown = crop(client, face, margin=0)
    assert max(shown.size) <= 1024
    assert shown.width / shown.height == pytest.approx(0.75, abs=0.01)
    assert is_near(shown.getpixel((shown.width - 5, 5)), RED)
    assert is_near(shown.getpixel((5, 5)), BLUE)
    assert not shown.getexif()


def test_a_crop_follows_the_correction_of_its_box(client: Client) -> None:
    face = added(client, red_in_blue((400, 300), (0, 0, 50, 50)), {"x": 100, "y": 50, "width": 100, "height": 100})
    first = client.get(f"{face}/crop")
    assert client.get(f"{face}/crop", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    client.patch(face, json={"bbox": {"x": 0, "y": 0, "width": 50, "height": 50}})
    moved = client.get(f"{face}/crop", params={"margin": 0}, headers={"If-None-Match": first.headers["ETag"]})
    assert moved.status_code == 200
    assert is_near(Image.open(io.BytesIO(moved.content)).getpixel((20, 20)), RED)


def test_all_faces_of_a_photo_are_cut_out_at_once_and_each_is_its_own(client: Client) -> None:
    image = red_in_blue((400, 300), (0, 0, 100, 100))
    first = added(client, image, {"x": 0, "y": 0, "width": 40, "height": 40})
    said = {"bbox": {"x": 300, "y": 200, "width": 40, "height": 40}, "gender": "male", "age": 3}
    second = client.post(first.rpartition("/")[0], json=said).json()
    other = f"{first.rpartition('/')[0]}/{second['number']}"
    for _ in range(3):
        assert is_near(crop(client, first).getpixel((20, 20)), RED)
        assert is_near(crop(client, other).getpixel((20, 20)), BLUE)


@pytest.mark.parametrize("margin", ["-1", "6", "nan", "wide"])
def test_a_margin_that_cannot_be_is_refused(client: Client, margin: str) -> None:
    face = f"{TASKS}/{client.task()}/images/x/faces/1"
    assert client.get(f"{face}/crop", params={"margin": margin}).status_code == 422
    assert client.get(f"{face}/crop").status_code == 404


def test_the_zip_has_every_face_but_those_that_are_none(client: Client) -> None:
    images = [photo(number, size=(300, 200)) for number in range(6)]
    task = client.run(*images)
    found = [len(faces_of(image)) for image in images]
    number = next(number for number, faces in enumerate(found) if faces)
    client.patch(f"{TASKS}/{task['id']}/images/{task['images'][number]['id']}/faces/1", json={"is_face": False})
    answer = client.get(f"{TASKS}/{task['id']}/crops.zip")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="crops.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert len(names) == sum(found) - 1
        assert f"{number}_1.jpg" not in names
        for name in names:
            Image.open(io.BytesIO(archive.read(name))).load()
