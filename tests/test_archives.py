"""Zip archives as streams, and names that are safe in them."""

import io
import tracemalloc
import zipfile
from collections.abc import Iterator

import pytest

from service.features.augmentation.files import file_name
from service.storage.zip_stream import safe_name, stream, unique_name


def names_of(archive: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return opened.namelist()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("фото 1.jpg", "фото 1.jpg"),
        ("../../etc/passwd", "__etc_passwd"),
        ("..\\a..b.jpg", "_a..b.jpg"),
        ("C:\\windows\\a.jpg", "C__windows_a.jpg"),
        ("..", "image"),
        (".", "image"),
        ("", "image"),
        ("...jpg", "image.jpg"),
        (". .jpg", "image.jpg"),
        (".hidden", "hidden"),
        ("ends with dots...", "ends with dots"),
        ("a\0b.jpg", "a_b.jpg"),
        ("con", "_con"),
        ("NUL.jpg", "_NUL.jpg"),
        ("com1 .txt", "_com1.txt"),
        ("console.jpg", "console.jpg"),
        ("exe\u202egpj.jpg", "exe_gpj.jpg"),
        ("half\ud800.jpg", "half_.jpg"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
        ("я" * 200 + ".png", "я" * 125 + ".png"),
    ],
)
def test_a_name_is_made_safe_for_every_system(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert len(safe.encode()) <= 255


@pytest.mark.parametrize("suffix", ["original", "rotated", "gray", "scaled"])
@pytest.mark.parametrize("letter", ["x", "я", "漢", "é", "😀"])
def test_a_long_name_keeps_what_its_copy_is_called_and_its_number(suffix: str, letter: str) -> None:
    for length in (20, 60, 100, 130, 240):
        taken: dict[str, int] = {}
        names = [file_name(f"{letter * length}_0{number}.jpg", suffix, "image/jpeg") for number in (1, 2, 2)]
        unique = [unique_name(name, taken) for name in names]
        assert [name[-len(suffix) - 8 :] for name in unique[:2]] == [f"_01_{suffix}.jpg", f"_02_{suffix}.jpg"]
        assert unique[2].endswith(f"_02_{suffix} (2).jpg")
        assert max(len(name.encode()) for name in unique) <= 255
        assert all(name.startswith(letter * 15) for name in unique)


def test_names_that_a_file_system_takes_for_one_get_a_number() -> None:
    taken: dict[str, int] = {}
    given = ["a.jpg", "A.JPG", "a.jpg", "a (2).jpg", "é.png", "e\u0301.png", "x" * 300 + ".jpg", "x" * 300 + ".jpg"]
    unique = [unique_name(name, taken) for name in given]
    assert unique[:6] == ["a.jpg", "A (2).JPG", "a (3).jpg", "a (2) (2).jpg", "é.png", "e\u0301 (2).png"]
    assert unique[7] == "x" * 247 + " (2).jpg"
    assert len({name.casefold() for name in unique}) == len(unique)


def test_ten_thousand_files_of_one_name_are_kept_apart_in_time_and_memory_that_do_not_grow_with_them() -> None:
    tracemalloc.start()
    size = 0
    for piece in stream(("same.jpg", [bytes(50_000)]) for _ in range(10_000)):
        size += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 500_000_000
    assert peak < 16_000_000  # the directory of 10,000 names


def test_an_archive_holds_what_it_was_given_piece_by_piece() -> None:
    archive = b"".join(stream([("a.txt", [b"one ", b"two"]), ("дом.txt", []), ("a.txt", [b"three"])]))
    assert names_of(archive) == ["a.txt", "дом.txt", "a (2).txt"]
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert [opened.read(name) for name in opened.namelist()] == [b"one two", b"", b"three"]
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}


def test_an_archive_that_breaks_off_is_no_archive() -> None:
    def entries() -> Iterator[tuple[str, list[bytes]]]:
        yield "a.txt", [b"here"]
        raise FileNotFoundError("gone")

    made: list[bytes] = []
    with pytest.raises(FileNotFoundError):
        made.extend(stream(entries()))
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(made)))
