"""What every storage promises. Each implementation of the seam is run through the same tests."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import NoRoom
from service.storage import DiskStorage, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return DiskStorage(tmp_path / "files")


def test_what_was_saved_is_read_again(storage: Storage) -> None:
    content = os.urandom(600_000)
    assert storage.save("tasks/one/two", io.BytesIO(content)) == len(content)
    assert storage.read("tasks/one/two") == content
    with storage.open("tasks/one/two") as stream:
        assert stream.read(10) == content[:10]
    storage.save("tasks/one/two", io.BytesIO(b"new"))
    assert storage.read("tasks/one/two") == b"new"


def test_a_missing_key_is_file_not_found_and_deleting_it_is_no_error(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("tasks/none")
    with pytest.raises(FileNotFoundError):
        storage.open("tasks/none")
    storage.delete("tasks/none")
    storage.delete_prefix("tasks/none/")


def test_a_prefix_goes_with_all_below_it_and_nothing_beside(storage: Storage) -> None:
    for key in ("tasks/a/1", "tasks/a/b/2", "tasks/ab/3"):
        storage.save(key, io.BytesIO(b"x"))
    storage.delete_prefix("tasks/a/")
    assert list(storage.keys()) == ["tasks/ab/3"]


def test_keys_can_be_asked_for_by_age(storage: Storage) -> None:
    storage.save("tasks/a", io.BytesIO(b"x"))
    assert list(storage.keys(older_than=3600)) == []
    assert list(storage.keys()) == ["tasks/a"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "tasks/../../x", "tasks//x", "tasks/./x", "tasks/x\0"])
def test_a_key_that_leaves_the_root_is_refused(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        storage.save(key, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="not a key"):
        storage.read(key)


class Broken(io.RawIOBase):
    """A stream that ends with an error, as a cut connection does."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        raise ConnectionResetError


def test_a_stream_that_breaks_leaves_no_file_and_no_folder(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path / "files")
    with pytest.raises(ConnectionResetError):
        storage.save("tasks/a/b", Broken())  # type: ignore[arg-type]
    assert list(storage.root.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_no_room_with_nothing_half_written_and_it_goes_on_when_there_is_room(small_disk: Path) -> None:
    storage = DiskStorage(small_disk / "files")
    storage.save("tasks/a", io.BytesIO(bytes(30_000)))
    with pytest.raises(NoRoom):
        storage.save("tasks/b", io.BytesIO(bytes(60_000)))
    assert list(storage.keys()) == ["tasks/a"]
    storage.delete("tasks/a")
    assert storage.save("tasks/b", io.BytesIO(bytes(30_000))) == 30_000


def test_only_one_that_is_alone_is_told_so(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    with storage.alone() as alone:
        assert alone
    held = storage.hold()
    with storage.alone() as alone:
        assert not alone
    held.close()
    with storage.alone() as alone:
        assert alone
    assert list(storage.keys()) == []
