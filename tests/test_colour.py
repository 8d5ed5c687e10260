"""Colours as browsers show them, by every way out: decided by what a profile does."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.imaging import colour_spaces, decode, transform
from service.imaging.pixel_budget import PixelBudget
from tests.support import SPOOLS
from tests.test_media import chunk, encoded

BUDGET = PixelBudget()
P3_TO_SRGB = np.array([[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09828]])
FIELDS = [(r, g, b) for r in (20, 128, 235) for g in (20, 128, 235) for b in (20, 128, 235)]
SIDE = 16


def chart(mode: str = "RGB") -> Image.Image:
    """Draw fields of one colour each, large enough for what a lossy coding does at their borders."""
    picture = Image.new("RGB", (SIDE * len(FIELDS), SIDE))
    for number, colour in enumerate(FIELDS):
        picture.paste(colour, (SIDE * number, 0, SIDE * (number + 1), SIDE))
    return picture.convert(mode)


def light(values: np.ndarray) -> np.ndarray:
    values = values / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shown(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def p3_in_srgb() -> np.ndarray:
    return shown(light(np.array(FIELDS, float)) @ P3_TO_SRGB.T)


def named(profile: bytes, words: str) -> bytes:
    """Put words into a profile, as makers of phones name theirs."""
    text = words.encode() + words.encode("utf-16-be")
    return struct.pack(">I", len(profile) + len(text)) + profile[4:] + text


LOSSLESS: dict[str, dict[str, object]] = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
P3 = colour_spaces.profile_of_code_points(12, 13)


def upright(data: bytes) -> Image.Image:
    return decode.upright(data, BUDGET)[0]


def sent(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(decode.to_jpeg(data, 10**7, BUDGET)[0]))


def small(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(decode.thumbnail(data, 2000, BUDGET)))


def made(copies: transform.Iterator[transform.Copy]) -> Image.Image:
    return next(Image.open(io.BytesIO(copy.stream.read())) for copy in copies)


def copied(data: bytes) -> Image.Image:
    return made(transform.copies(data, [transform.flip()], BUDGET, SPOOLS)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rendered(data: bytes) -> Image.Image:
    return made(transform.renditions(data, [1.0], BUDGET, SPOOLS))


WAYS: dict[str, Callable[[bytes], Image.Image]] = {
    "decoded": upright,
    "sent": sent,
    "thumbnail": small,
    "copy": copied,
    "rendition": rendered,
}


def fields_of(picture: Image.Image) -> np.ndarray:
    """Return the colour in the middle of each field."""
    pixels = np.asarray(picture.convert("RGB"), float)
    assert pixels.shape[:2] == (SIDE, SIDE * len(FIELDS))
    return np.array([pixels[5:11, SIDE * n + 5 : SIDE * n + 11].mean((0, 1)) for n in range(len(FIELDS))])


def check(picture: Image.Image, expected: np.ndarray) -> None:
    difference = np.abs(fields_of(picture) - expected)
    assert difference.mean() <= 3
    assert difference.mean(1).max() <= 4


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("words", ["DCI-P3 D65 Gamut with sRGB Transfer", "sRGB IEC61966-2.1", ""])
def test_a_profile_is_applied_whatever_it_is_called(way: str, kind: str, words: str) -> None:
    data = encoded(chart(), kind, icc_profile=named(P3, words), **LOSSLESS.get(kind, {}))
    check(WAYS[way](data), p3_in_srgb())


@pytest.mark.parametrize("way", WAYS)
def test_a_linear_profile_is_applied(way: str) -> None:
    profile = named(colour_spaces.profile(colour_spaces.SRGB, colour_spaces.gamma(1)), "sRGB linear")
    check(WAYS[way](encoded(chart(), "PNG", icc_profile=profile)), shown(np.array(FIELDS) / 255))


def test_the_profile_of_srgb_changes_nothing_and_a_jpeg_with_it_keeps_its_pixels() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for own in (profile, colour_spaces.profile(colour_spaces.SRGB, None), named(profile, "Display P3")):
        data = encoded(chart(), icc_profile=own)
        assert np.array_equal(np.asarray(upright(data)), np.asarray(Image.open(io.BytesIO(data))))
        assert decode.to_jpeg(data, 10**7, BUDGET)[0] == encoded(chart())


def with_chunks(*chunks: bytes, mode: str = "RGB") -> bytes:
    data = encoded(chart(mode), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def gama(exponent: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 / exponent)))


P3_CHRM = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
CICP_P3 = chunk(b"cICP", bytes((12, 13, 0, 1)))
CICP_SRGB = chunk(b"cICP", bytes((1, 13, 0, 1)))
SRGB = chunk(b"sRGB", b"\0")


@pytest.mark.parametrize("way", WAYS)
def test_the_chunks_of_a_png_that_tell_colours_are_applied_in_their_order(way: str) -> None:
    plain = np.array(FIELDS, float)
    bright = shown(plain / 255)
    for data, expected in (
        (with_chunks(CICP_P3), p3_in_srgb()),
        (with_chunks(CICP_SRGB, gama(1)), plain),
        (with_chunks(CICP_P3, SRGB, gama(1)), p3_in_srgb()),
        (with_chunks(SRGB, gama(1), P3_CHRM), plain),
        (with_chunks(gama(1)), bright),
        (with_chunks(P3_CHRM), p3_in_srgb()),
        (with_chunks(gama(1), P3_CHRM), shown((plain / 255) @ P3_TO_SRGB.T)),
        (with_chunks(gama(1), mode="L"), shown(fields_of(chart("L")) / 255)),
        (with_chunks(gama(1), mode="LA"), shown(fields_of(chart("L")) / 255)),
        (with_chunks(gama(1), mode="RGBA"), bright),
        (with_chunks(chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32))), plain),
    ):
        check(WAYS[way](data), expected)


@pytest.mark.parametrize("way", WAYS)
def test_grey_of_sixteen_bits_keeps_what_is_transparent(way: str) -> None:
    values = np.repeat(np.arange(0, 65536, 65536 // 27)[:27], SIDE)
    grey = Image.fromarray(np.tile(values, (SIDE, 1)).astype(np.uint16))
    clear = int(values[3 * SIDE])
    data = encoded(grey, "PNG")
    data = data[:33] + chunk(b"tRNS", struct.pack(">H", clear)) + data[33:]
    picture = WAYS[way](data)
    if picture.mode in ("LA", "RGBA"):
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    expected = np.repeat(values[::SIDE, None] / 257, 3, 1)
    expected[3] = 255
    check(picture, expected)


def test_sixteen_bits_apart_by_one_from_what_is_transparent_are_opaque() -> None:
    grey = Image.fromarray(np.array([[999, 1000, 1001, 65535]], np.uint16))
    data = encoded(grey, "PNG")
    data = data[:33] + chunk(b"tRNS", struct.pack(">H", 1000)) + data[33:]
    assert [upright(data).getpixel((x, 0))[0] for x in range(4)] == [4, 255, 4, 255]
