"""HEIC and AVIF: taken by face tasks within the limits of all images, upright, in sRGB."""

import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from service.errors import Invalid, TooLarge, UnsupportedType
from service.imaging import decode, media_types
from service.imaging.pixel_budget import PixelBudget
from service.imaging.structure import read_structure
from service.imaging.validate import Limits, Picture, check
from tests.support import Client
from tests.test_colour import FIELDS, P3, chart, fields_of, p3_in_srgb
from tests.test_colour import check as check_colours
from tests.test_media import LIMITS, ORIENTATION, corners, mutated
from tests.test_tasks import problem

BUDGET = PixelBudget()
KINDS = ("HEIC", "AVIF")


def written(kind: str, picture: Image.Image, **options: object) -> bytes:
    """Write a picture as HEIC or AVIF."""
    file = io.BytesIO()
    if kind == "AVIF":
        picture.save(file, "AVIF", **{"quality": 95, "subsampling": "4:4:4", **options})
    else:
        image = pillow_heif.from_pillow(picture)
        image.save(file, **{"quality": 95, "chroma": 444, **options})
    return file.getvalue()


def look(data: bytes, limits: Limits = LIMITS) -> Picture:
    return check(io.BytesIO(data), "photo", limits, BUDGET)


def upright(data: bytes) -> Image.Image:
    return decode.upright(data, BUDGET)[0]


def with_box(data: bytes, kind: bytes, change: bytes) -> bytes:
    """Overwrite the content of a small box of a file, at its end."""
    at = data.index(kind)
    (length,) = struct.unpack_from(">I", data, at - 4)
    end = at - 4 + length
    return data[: end - len(change)] + change + data[end:]


def turned(kind: str, turns: int) -> bytes:
    """Return a file that tells quarter turns counter-clockwise of what it holds."""
    exif = Image.Exif()
    exif[ORIENTATION] = 8  # written as one turn
    if kind == "AVIF":
        data = written(kind, corners(), exif=exif)
    else:
        picture = corners()
        file = io.BytesIO()
        pillow_heif.from_bytes("RGB", picture.size, picture.tobytes()).save(file, quality=95, exif=exif.tobytes())
        data = file.getvalue()
    return with_box(data, b"irot", bytes([turns]))


@pytest.mark.parametrize("kind", KINDS)
def test_both_are_told_by_their_bytes_and_come_out_as_they_look(kind: str) -> None:
    data = written(kind, corners())
    assert look(data) == Picture(f"image/{kind.lower()}", 64, 48, len(data))
    assert np.abs(np.asarray(upright(data), int) - np.asarray(corners(), int)).mean() < 3
    jpeg, scale = decode.to_jpeg(data, 10**6, BUDGET)
    assert (Image.open(io.BytesIO(jpeg)).size, scale) == ((64, 48), 1.0)
    assert Image.open(io.BytesIO(decode.thumbnail(data, 32, BUDGET))).size == (32, 24)


def test_a_brand_that_tells_no_coding_gives_way_to_those_it_is_compatible_with() -> None:
    for kind in KINDS:
        data = written(kind, corners())
        major = b"mif1" + data[12:]
        assert look(data[:8] + major).media_type == f"image/{kind.lower()}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turns", range(4))
def test_the_turn_that_the_file_tells_is_applied_once(kind: str, turns: int) -> None:
    data = turned(kind, turns)
    expected = corners().rotate(90 * turns, expand=True)
    assert (look(data).width, look(data).height) == expected.size
    assert np.abs(np.asarray(upright(data), int) - np.asarray(expected, int)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_an_avif_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    picture = corners() if undo == 1 else corners().transpose(decode.TRANSPOSE[undo])
    data = written("AVIF", picture, exif=exif)
    assert (look(data).width, look(data).height) == (64, 48)
    assert np.abs(np.asarray(upright(data), int) - np.asarray(corners(), int)).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedded_profile_is_applied(kind: str) -> None:
    picture = chart()
    if kind == "HEIC":
        picture.info["icc_profile"] = P3
        check_colours(upright(written(kind, picture)), p3_in_srgb())
    else:
        check_colours(upright(written(kind, picture, icc_profile=P3)), p3_in_srgb())


def test_code_points_in_place_of_a_profile_are_applied() -> None:
    named = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 1, "full_range_flag": 1}
    check_colours(upright(written("HEIC", chart(), **named)), p3_in_srgb())
    srgb = written("AVIF", chart(), icc_profile=b"")
    check_colours(upright(srgb), np.array(FIELDS, float))
    place = srgb.index(b"nclx") + 4
    wide = srgb[:place] + struct.pack(">H", 12) + srgb[place + 2 :]
    check_colours(upright(wide), p3_in_srgb())


@pytest.mark.parametrize("kind", KINDS)
def test_transparency_is_laid_on_white(kind: str) -> None:
    picture = corners().convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 32, 24))
    assert min(upright(written(kind, picture)).getpixel((10, 10))) > 250
    assert len(fields_of(upright(written(kind, chart("L"))))) == len(FIELDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cut_off_is_refused_wherever_the_cut_is(kind: str) -> None:
    data = written(kind, corners())
    for cut in (*range(40, len(data), len(data) // 20), len(data) - 1):
        with pytest.raises(Invalid, match=f"^photo begins as {kind} but does not decode: it is damaged or cut off"):
            look(data[:cut])


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str) -> None:
    data = written(kind, corners())
    with pytest.raises(TooLarge):
        look(data, Limits(bytes=10**6, pixels=3000))
    with pytest.raises(TooLarge):
        look(with_box(written(kind, corners(64, 64)), b"ispe", struct.pack(">II", 30_000, 30_000)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_that_is_not_the_pictures_is_refused(kind: str) -> None:
    with pytest.raises(Invalid):
        look(with_box(written(kind, corners(512, 512)), b"ispe", struct.pack(">II", 64, 48)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 64), (65, 3), (1025, 513)])
def test_the_size_of_every_usual_picture_agrees_with_its_coding(kind: str, size: tuple[int, int]) -> None:
    for picture in (corners(*size), corners(*size).convert("RGBA")):
        assert (look(written(kind, picture)).width, look(written(kind, picture)).height) == size
    assert look(written(kind, corners(*size), chroma=420, quality=40)).width == size[0]


@pytest.mark.parametrize("kind", KINDS)
def test_of_mutated_files_each_is_a_picture_or_a_refusal(kind: str) -> None:
    dice = random.Random(7)
    seed = written(kind, corners())
    for _ in range(300):
        data = mutated(seed, dice)
        try:
            picture = look(data)
        except (Invalid, TooLarge, UnsupportedType):
            continue
        assert upright(data).size == (picture.width, picture.height)


def test_without_the_library_the_refusal_says_so(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(written("HEIC", corners()))
    program = """
import importlib.util, io, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pi_heif" else find(name, *rest)
from service.errors import UnsupportedType
from service.imaging.media_types import ACCEPTED
from service.imaging.structure import read_structure
try:
    read_structure(open(sys.argv[1], "rb"), "photo")
except UnsupportedType as problem:
    print(problem.detail, "image/heic" in ACCEPTED)
"""
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "photo")]
    root = Path(__file__).parents[1]
    told = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert told == (
        "photo is a HEIC, which is not read here: pi-heif is not installed."
        " Accepted are image/jpeg, image/png, image/webp, image/avif. False\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_task_takes_them_and_the_others_say_what_they_take(client: Client, kind: str) -> None:
    data = written(kind, Image.open("samples/grace_hopper.jpg").convert("RGB").resize((300, 360)), quality=80)
    task = client.task()
    answer = client.post(f"/api/v1/tasks/{task}/images", files={"image": (f"a.{kind.lower()}", data)})
    assert answer.status_code == 201, answer.text
    image = answer.json()["items"][0]
    assert image["media_type"] == f"image/{kind.lower()}"
    content = client.get(f"/api/v1/tasks/{task}/images/{image['id']}/content")
    assert (content.headers["Content-Type"], content.content) == (f"image/{kind.lower()}", data)
    assert client.start(task).status_code == 202
    assert client.ended(task)["images"][0]["status"] == "done"
    boxed = client.get(f"/api/v1/tasks/{task}/images/{image['id']}/content?faces=boxed")
    assert Image.open(io.BytesIO(boxed.content)).size == (image["width"], image["height"])
    assert f"image/{kind.lower()}" in client.get("/api/v1/limits").json()["accepted_types"]
    refused = client.post("/api/files/", files={"file": ("a", data)})
    assert kind in problem(refused, 415)
    assert refused.json()["accepted_types"] == list(media_types.EDITABLE)
    assert read_structure(io.BytesIO(data), "photo").upright_size == (image["width"], image["height"])
