import fcntl
import io
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import Invalid, Problem, ServiceFault, TooLarge, Unavailable
from service.imaging import decode as decoding
from service.imaging import transform as pictures
from service.imaging.pixel_budget import PixelBudget
from service.imaging.transform import flip, gray, resize, rotate, scale
from tests.support import ROOT, SPOOLS, wait_for
from tests.test_media import ORIENTATION, animated_webp, corners, encoded, mutated, swapped_profile
from tests.test_media import look as checked

BUDGET = PixelBudget()
copies = partial(pictures.copies, budget=BUDGET, spools=SPOOLS)
renditions = partial(pictures.renditions, budget=BUDGET, spools=SPOOLS)

LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "PNG": {}}
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
TURN = Image.Transpose
EDITS: dict[str, tuple[pictures.Edit, Callable[[Image.Image], Image.Image]]] = {
    "clockwise": (rotate(), lambda image: image.transpose(TURN.ROTATE_270)),
    "counterclockwise": (rotate(clockwise=False), lambda image: image.transpose(TURN.ROTATE_90)),
    "horizontal": (flip(), lambda image: image.transpose(TURN.FLIP_LEFT_RIGHT)),
    "vertical": (flip(horizontal=False), lambda image: image.transpose(TURN.FLIP_TOP_BOTTOM)),
    "gray": (gray(), lambda image: image.convert("L")),
    "resize": (resize(30, 70), lambda image: image.resize((30, 70), Image.Resampling.LANCZOS)),
    "larger": (scale(2), lambda image: image.resize((128, 96), Image.Resampling.BICUBIC)),
    "smaller": (scale(0.25), lambda image: image.resize((16, 12), Image.Resampling.LANCZOS)),
}


def opened(copy: pictures.Copy) -> Image.Image:
    """Open a copy, and hold it to what is said of it and to having no metadata."""
    data = copy.stream.read()
    picture = opened_bytes(data, copy.media_type)
    assert (len(data), picture.size) == (copy.size, (copy.width, copy.height))
    return picture


def opened_bytes(data: bytes, media_type: str) -> Image.Image:
    """Open what is said to be a picture of this type without metadata."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert Image.MIME[picture.format or ""] == media_type
    assert not picture.getexif()
    assert not {"exif", "icc_profile", "xmp", "comment", "Comment", "photoshop"} & set(picture.info)
    assert not any(word in data for word in (b"Exif", b"http://ns.adobe.com", b"ICC_PROFILE", b"iCCP", b"secret"))
    return picture


def made(data: bytes, *edits: pictures.Edit) -> list[Image.Image]:
    return [opened(copy) for copy in copies(data, edits)]


def one(data: bytes, edit: pictures.Edit) -> Image.Image:
    (picture,) = made(data, edit)
    return picture


def unlike(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures, of 255."""
    assert one.size == other.size
    mode = "RGBA" if "A" in one.mode else "RGB"
    return float(np.abs(np.asarray(one.convert(mode), int) - np.asarray(other.convert(mode), int)).mean())


def with_gps(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010E] = "secret words"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def stored(orientation: int, picture: Image.Image) -> Image.Image:
    """Turn a picture so that the orientation turns it back."""
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    return picture if undo == 1 else picture.transpose(decoding.TRANSPOSE[undo])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_copy_of_every_orientation_is_the_upright_picture_edited(kind: str, orientation: int) -> None:
    more = {"comment": b"secret words"} if kind == "JPEG" else {}
    more |= {"xmp": b"<x:xmpmeta>secret http://ns.adobe.com</x:xmpmeta>"} if kind != "PNG" else {}
    data = encoded(stored(orientation, corners()), kind, exif=with_gps(orientation), **LOSSY[kind], **more)
    results = made(data, *(edit for edit, _ in EDITS.values()))
    for result, (name, (_, expected)) in zip(results, EDITS.items(), strict=True):
        assert unlike(result, expected(corners())) < 5, name
    for result, factor in zip(renditions(data, (1.0, 0.75, 0.5, 0.25)), (1.0, 0.75, 0.5, 0.25), strict=True):
        size = (round(64 * factor), round(48 * factor))
        assert unlike(opened(result), corners().resize(size, Image.Resampling.LANCZOS)) < 12
        assert result.media_type == "image/webp"


COLOURS = ("red", "lime", "blue", "white", "black", (120, 80, 200), (250, 250, 0))


def stripes(mode: str = "RGB") -> Image.Image:
    picture = Image.new("RGB", (16 * len(COLOURS), 32))
    for number, colour in enumerate(COLOURS):
        picture.paste(colour, (16 * number, 0, 16 * number + 16, 32))
    return picture.convert(mode)


def test_cmyk_comes_out_as_it_is_seen() -> None:
    for data in (encoded(stripes("CMYK"), quality=100), encoded(stripes("CMYK"), quality=100, progressive=True)):
        result = one(data, flip())
        assert result.mode == "RGB"
        assert unlike(result.transpose(TURN.FLIP_LEFT_RIGHT), stripes()) < 3


def test_sixteen_bits_become_eight() -> None:
    values = np.array([[0, 257 * 10, 257 * 128, 65535]] * 2, np.uint16)
    result = one(encoded(Image.fromarray(values), "PNG"), flip())
    assert result.mode == "L"
    assert [result.getpixel((x, 0)) for x in range(4)] == pytest.approx([255, 128, 10, 0], abs=1)


def test_palettes_come_out_in_their_colours() -> None:
    result = one(encoded(stripes().quantize(16), "PNG"), flip(horizontal=False))
    assert unlike(result, stripes()) < 1
    clear = Image.new("P", (2, 1))
    clear.putpalette([255, 0, 0, 0, 0, 255])
    clear.putpixel((1, 0), 1)
    result = one(encoded(clear, "PNG", transparency=0), flip()).convert("RGBA")
    assert [result.getpixel((x, 0)) for x in range(2)] == [(0, 0, 255, 255), (255, 0, 0, 0)]
    assert one(encoded(Image.new("1", (4, 4), 1), "PNG"), rotate()).convert("L").getpixel((0, 0)) == 255


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_kept_by_every_edit(kind: str) -> None:
    sheet = corners().convert("RGBA")
    sheet.paste((255, 0, 0, 0), (0, 0, 32, 48))
    data = encoded(sheet, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    for name, (edit, expected) in EDITS.items():
        result = one(data, edit).convert("RGBA")
        wanted = sheet if name == "gray" else expected(sheet).convert("RGBA")
        assert unlike(result.getchannel("A"), wanted.getchannel("A")) < 6, name
    picture = next(opened(copy) for copy in renditions(data, [0.5]))
    assert picture.mode == "RGBA" and picture.getpixel((2, 2))[3] == 0 and picture.getpixel((30, 20))[3] == 255


def test_what_is_transparent_lends_no_colour_to_what_is_beside_it() -> None:
    sheet = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    sheet.paste((0, 0, 255, 255), (32, 0, 64, 64))
    result = np.asarray(one(encoded(sheet, "PNG"), resize(31, 31)))
    seen = result[result[..., 3] > 60]
    assert seen[:, 0].max() < 10 and seen[:, 2].min() > 240


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_stays_grey(mode: str) -> None:
    data = encoded(stripes("L").convert(mode), "PNG")
    for name, (edit, expected) in EDITS.items():
        result = one(data, edit)
        assert result.mode == mode, name
        if name not in ("larger", "smaller", "resize"):
            assert unlike(result.convert("L"), expected(stripes("L"))) < 1, name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_profile_is_applied(kind: str, mode: str) -> None:
    if (kind, mode) == ("JPEG", "RGBA"):
        mode = "L"  # has no red and blue: the profile does not fit
    data = encoded(Image.new(mode, (16, 16), "red"), kind, icc_profile=swapped_profile())
    red, _, blue = one(data, rotate()).convert("RGB").getpixel((8, 8))
    assert (blue > 200 and red < 60) if mode != "L" else red == blue


def test_a_profile_that_is_broken_or_does_not_fit_is_ignored() -> None:
    swapped = swapped_profile()
    for profile in (b"junk", bytes(500), swapped[:16] + b"CMYK" + swapped[20:], swapped[:200]):
        data = encoded(Image.new("RGB", (16, 16), "red"), icc_profile=profile)
        red, _, blue = one(data, rotate()).getpixel((8, 8))
        assert red > 200 and blue < 60


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for kind in ("PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
        result = one(data, rotate())
        assert getattr(result, "n_frames", 1) == 1
        red, green, _ = result.convert("RGB").getpixel((5, 5))
        assert red > 240 and green < 20
    assert one(animated_webp(3), scale(2)).size == (32, 32)


def test_a_lossless_webp_stays_lossless_and_a_lossy_one_lossy() -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
    assert unlike(one(encoded(noise, "WEBP", lossless=True), flip()).transpose(TURN.FLIP_LEFT_RIGHT), noise) == 0
    assert unlike(one(encoded(noise, "WEBP", quality=90), flip()).transpose(TURN.FLIP_LEFT_RIGHT), noise) > 0


@pytest.mark.parametrize("factor", [0.5, 0.25, 0.125, 0.1])
def test_a_jpeg_that_is_shrunk_while_it_is_decoded_looks_the_same(factor: float) -> None:
    large = Image.open("samples/grace_hopper.jpg").convert("RGB").resize((1600, 1201), Image.Resampling.LANCZOS)
    data = encoded(large, quality=95)
    size = (round(1600 * factor), round(1201 * factor))
    for edits in ([scale(factor)], [rotate(), scale(factor)]):  # shrunk, and not
        result = made(data, *edits)[-1]
        assert unlike(result, large.resize(size, Image.Resampling.LANCZOS)) < 4


def test_sides_are_rounded_and_never_nothing() -> None:
    sizes = [(copy.width, copy.height) for copy in renditions(encoded(corners(101, 1)), (1.0, 0.75, 0.5, 0.25))]
    assert sizes == [(101, 1), (76, 1), (50, 1), (25, 1)]


def test_what_a_type_has_no_room_for_is_refused_with_the_bound() -> None:
    long = encoded(Image.new("L", (16_384, 1)), "PNG")
    with pytest.raises(TooLarge, match="16383"):
        list(renditions(long, [1.0]))
    assert next(renditions(long, [0.5])).width == 8192
    with pytest.raises(TooLarge, match="65500"):
        list(copies(encoded(Image.new("L", (40_000, 1))), [scale(2)]))


def test_what_does_not_decode_is_refused() -> None:
    for data in (encoded(corners())[:-100], encoded(corners(), "PNG")[:-40], encoded(corners(), "WEBP")[:-10]):
        with pytest.raises(Invalid):
            list(copies(data, [rotate()]))


def test_a_copy_that_cannot_be_written_is_no_fault_of_the_picture() -> None:
    noise = encoded(Image.effect_noise((300, 300), 90), "PNG")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(ServiceFault):
            list(copies(noise, [gray()]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_of_mutated_files_each_gives_a_copy_or_a_refusal() -> None:
    dice = random.Random(21)
    seeds = [
        encoded(corners(), exif=with_gps(6), icc_profile=swapped_profile()),
        encoded(corners(), progressive=True),
        encoded(corners().convert("CMYK")),
        encoded(corners(), "PNG", icc_profile=swapped_profile()),
        encoded(corners().quantize(8), "PNG"),
        encoded(corners(), "WEBP", exif=with_gps(6)),
        encoded(corners(), "WEBP", lossless=True),
        animated_webp(3),
    ]
    outcomes = {"copy": 0, "refusal": 0}
    for number in range(800):
        data = mutated(seeds[number % len(seeds)], dice)
        try:
            turned, *_ = list(copies(data, [rotate(), resize(5, 5)]))
            picture = checked(data)
            assert (turned.width, turned.height) == (picture.height, picture.width)
            outcomes["copy"] += 1
        except Problem:
            outcomes["refusal"] += 1
    assert min(outcomes.values()) > 50


def test_a_large_picture_waits_until_there_is_room_and_is_not_overtaken(tmp_path: Path) -> None:
    budget, order = PixelBudget(lambda: tmp_path), []
    first, second = threading.Event(), threading.Event()

    def work(name: str, megabytes: int, inside: threading.Event | None = None) -> None:
        with budget.room_for(megabytes * 1_000_000):
            order.append(name)
            if inside:
                inside.set()
                second.wait(10)

    small = threading.Thread(target=work, args=("small", 150, first))
    small.start()
    assert first.wait(10)
    large = threading.Thread(target=work, args=("large", 1000))
    large.start()
    door = tmp_path / "pictures-door.lock"
    wait_for(lambda: is_locked(door), 10)
    late = threading.Thread(target=work, args=("late", 10))
    late.start()
    second.set()
    for thread in (small, large, late):
        thread.join(10)
    assert order == ["small", "large", "late"]


def is_locked(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


HOLDER = """
import sys, time, pathlib
from service.imaging.pixel_budget import PixelBudget
with PixelBudget(lambda: pathlib.Path(sys.argv[1])).room_for(10**9):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_processes_share_one_budget_and_a_dead_one_leaves_it(tmp_path: Path) -> None:
    budget = PixelBudget(lambda: tmp_path, patience=0.3)
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout
        assert other.stdout.readline() == b"holds\n"
        with pytest.raises(Unavailable) as refused, budget.room_for(20_000_000):
            pass
        assert refused.value.headers["Retry-After"] == "30"
        with budget.room_for(1_000_000):
            pass  # a small one waits for nobody
        other.kill()
    with budget.room_for(20_000_000):
        pass
