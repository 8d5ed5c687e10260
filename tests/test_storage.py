"""What every storage promises. Each implementation of the seam is run through the same tests."""

import io
import os
import random
import shutil
import subprocess
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from service.db.database import open_database
from service.errors import Forbidden, NoRoom, NotFound
from service.maintenance.orphan_files import remove_orphans
from service.storage.disk import DiskStorage
from service.storage.s3 import PART, S3Storage
from service.storage.s3_client import S3Access
from service.storage.signed_urls import Download, SignedUrls
from service.storage.storage import Storage
from tests.object_store import ObjectStore
from tests.power_cuts import PowerCuts

LINKS = SignedUrls(lambda: "a key of the tests")


def on_disk(folder: Path) -> DiskStorage:
    folder.mkdir(exist_ok=True)
    return DiskStorage(folder, LINKS)


def on_s3(store: ObjectStore, bucket: str) -> S3Storage:
    key, secret = store.keys["app"]
    return S3Storage(bucket, "media", S3Access(endpoint=store.url, key_id=key, secret=secret))


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.server)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "disk":
        return on_disk(tmp_path / "files")
    store = request.getfixturevalue("object_store")
    return on_s3(store, store.bucket())


def test_what_was_saved_survives_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    cuts = PowerCuts(tmp_path)
    storage = DiskStorage(tmp_path, LINKS, sync=cuts.sync)
    some = random.Random(5)
    kept: dict[str, bytes] = {}
    for number in range(200):
        folder = f"tasks/{some.randrange(20)}"
        new = {f"{folder}/{number}-{part}": some.randbytes(some.randrange(1, 3_000)) for part in range(3)}
        single = len(new) if number % 2 else 0
        for key, content in new.items():
            storage.save(key, io.BytesIO(content), flushed=bool(single))
        if not single:
            storage.flush(*new)
        kept |= new
        assert {key: cuts.left(key) for key in kept} == kept, number
        if number % 7 == 0:
            storage.delete_prefix(f"{folder}/")
            kept = {key: content for key, content in kept.items() if not key.startswith(f"{folder}/")}


def unfinished(storage: Storage) -> int:
    """Return how many writes have been begun and neither finished nor cleaned up, and clean them up."""
    return storage.drop_unfinished(-60)


def test_what_was_saved_is_read_again(storage: Storage) -> None:
    content = os.urandom(600_000)
    assert storage.save("tasks/one/two", io.BytesIO(content)) == len(content)
    assert storage.read("tasks/one/two") == content
    with storage.open("tasks/one/two") as stream:
        assert stream.read(10) == content[:10]
    storage.save("tasks/one/two", io.BytesIO(b"new"))
    assert storage.read("tasks/one/two") == b"new"
    assert storage.save("tasks/one/empty", io.BytesIO()) == 0
    assert storage.read("tasks/one/empty") == b""


class Dripping(io.RawIOBase):
    """A stream that gives less than is asked for, as a connection does, and may break off with an error."""

    def __init__(self, content: bytes, breaks: bool = False) -> None:
        self.content = io.BytesIO(content)
        self.breaks = breaks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self.content.readinto(memoryview(buffer)[:700_001])
        if not count and self.breaks:
            raise ConnectionResetError
        return count


@pytest.mark.parametrize("size", [PART - 1, PART, 2 * PART + 12_345])
def test_a_long_stream_arrives_whole_however_it_is_cut_into_parts(storage: Storage, size: int) -> None:
    content = os.urandom(size)
    assert storage.save("tasks/long", Dripping(content)) == size  # type: ignore[arg-type]
    assert storage.read("tasks/long") == content
    assert unfinished(storage) == 0


def test_a_stream_can_be_read_from_any_place(storage: Storage) -> None:
    content = os.urandom(3_000_000)
    storage.save("tasks/one", io.BytesIO(content))
    with storage.open("tasks/one") as stream:
        assert stream.seekable()
        for place in (2_000_000, 10, 2_999_990):
            stream.seek(place)
            assert stream.read(300_000) == content[place : place + 300_000]
            assert stream.tell() == min(place + 300_000, len(content))
        assert stream.read() == b""
        assert stream.seek(0, os.SEEK_END) == len(content)


def test_a_missing_key_is_file_not_found_and_deleting_it_is_no_error(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("tasks/none")
    with pytest.raises(FileNotFoundError):
        storage.open("tasks/none")
    storage.delete("tasks/none")
    storage.delete("tasks/none", "tasks/nothing")
    storage.delete()
    storage.delete_prefix("tasks/none/")


def test_a_prefix_of_more_than_a_thousand_keys_goes_with_all_below_it_and_nothing_beside(storage: Storage) -> None:
    keys = [f"tasks/a/{number}" for number in range(1003)] + ["tasks/a/b/2", "tasks/ab/3", "tasks/a.1"]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.save(key, io.BytesIO(b"x")), keys))
    assert sorted(storage.keys()) == sorted(keys)
    assert sorted(storage.keys(prefix="tasks/a/")) == sorted(keys[:-2])
    storage.delete_prefix("tasks/a/")
    assert sorted(storage.keys()) == ["tasks/a.1", "tasks/ab/3"]
    storage.delete("tasks/a.1", "tasks/ab/3")
    assert list(storage.keys()) == []


def test_keys_can_be_asked_for_by_age(storage: Storage) -> None:
    storage.save("tasks/a", io.BytesIO(b"x"))
    assert list(storage.keys(older_than=3600)) == []
    assert list(storage.keys(older_than=-60)) == ["tasks/a"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "tasks/../../x", "tasks//x", "tasks/./x", "tasks/x\0"])
def test_a_key_that_leaves_the_root_is_refused(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        storage.save(key, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="not a key"):
        storage.read(key)
    with pytest.raises(ValueError, match="not a key"):
        storage.url(key, 60)


@pytest.mark.parametrize("size", [0, 100_000, PART + 1])
def test_a_stream_that_breaks_leaves_nothing(storage: Storage, size: int) -> None:
    with pytest.raises(ConnectionResetError):
        storage.save("tasks/a/b", Dripping(os.urandom(size), breaks=True))  # type: ignore[arg-type]
    assert list(storage.keys(-60)) == []
    assert unfinished(storage) == 0
    if isinstance(storage, DiskStorage):
        assert list(storage.root.iterdir()) == []


def test_a_sweep_removes_what_no_row_knows_below_its_prefixes_and_nothing_else(
    storage: Storage, tmp_path: Path, migrated: Path
) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    for key in ("tasks/1/known", "tasks/1/orphan", "somebody/elses"):
        storage.save(key, io.BytesIO(b"x"))

    def known(_: Session, keys: Collection[str]) -> set[str]:
        assert set(keys) <= {"tasks/1/known", "tasks/1/orphan"}
        return {"tasks/1/known", "tasks/1/gone"}

    database = open_database(f"sqlite:///{tmp_path}/service.db")
    remove_orphans(database, storage, {"tasks/": known, "recordings/": known}, 3600)
    assert len(list(storage.keys(-60))) == 3
    remove_orphans(database, storage, {"tasks/": known, "recordings/": known}, -60)
    database.close()
    assert sorted(storage.keys(-60)) == ["somebody/elses", "tasks/1/known"]


# The disk alone.


def test_a_link_to_a_file_on_the_disk_carries_all_that_is_needed_and_ends(tmp_path: Path) -> None:
    download = Download('Grüße / "2"\r\n.jpg', "image/jpeg", inline=True)
    link = DiskStorage(tmp_path, SignedUrls(lambda: "key", "https://media.example.com/")).url("tasks/a", 60, download)
    assert link.startswith("https://media.example.com/files/")
    token = link.split("/")[4]
    key, left, read = SignedUrls(lambda: "key").read(token)
    assert (key, read) == ("tasks/a", download)
    assert 55 < left <= 60
    for wrong in (token[:-1] + ("Q" if token[-1] != "Q" else "A"), token[1:], "", "x.y"):
        with pytest.raises(NotFound):
            SignedUrls(lambda: "key").read(wrong)
    with pytest.raises(NotFound):
        SignedUrls(lambda: "another key").read(token)
    with pytest.raises(Forbidden):
        SignedUrls(lambda: "key").read(SignedUrls(lambda: "key").make("tasks/a", -1, download).split("/")[2])


GIVEN_OUT = [
    (
        "WyJ0YXNrcy9hIiw0MTAyNDQ0ODAwLCJHcsO8w59lLmpwZyIsImltYWdlL2pwZWciLHRydWVd.wruworhnUEBIuJFCL7t3Dpvn2fQ",
        Download("Grüße.jpg", "image/jpeg", inline=True),
    ),
    (
        ".eJyLVipJLM4u1k9U0jExNDAyMTGxMDDQUUqkMtDLKkhXAhpbUJCTmZxYkpmfp5-fXJJaoltcUpSamKukk5aYU5waCwCAizJL"
        ".JvtE3fNA0jhBUEgPMKjkShacI5A",
        Download("a" * 80 + ".jpg"),
    ),
]
"""Tokens of links as earlier versions gave them out, signed with "key": to the first day of 2100."""
ENDED = "WyJ0YXNrcy9hIiwxNzY3MjI1NjAwLCIiLCJhcHBsaWNhdGlvbi9vY3RldC1zdHJlYW0iLGZhbHNlXQ.vHjgim8zUAzobUkHNIMlH_RbEPk"
"""Another, to the first day of 2026."""


@pytest.mark.parametrize(("token", "download"), GIVEN_OUT)
def test_a_link_that_an_earlier_version_gave_out_is_still_read(token: str, download: Download) -> None:
    key, left, read = SignedUrls(lambda: "key").read(token)
    assert (key, read) == ("tasks/a", download)
    assert left > 0
    assert SignedUrls(lambda: "key").key_of(f"https://media.example.com/files/{token}/a%20b.jpg") == "tasks/a"


def test_a_link_that_an_earlier_version_gave_out_ends_and_still_tells_its_key() -> None:
    with pytest.raises(Forbidden):
        SignedUrls(lambda: "key").read(ENDED)
    assert SignedUrls(lambda: "key").key_of(f"/files/{ENDED}/file") == "tasks/a"
    assert SignedUrls(lambda: "another key").key_of(f"/files/{ENDED}/file") is None


@pytest.mark.parametrize(
    ("download", "disposition"),
    [
        (Download("a b.jpg"), 'attachment; filename="a b.jpg"'),
        (Download("a.jpg", inline=True), 'inline; filename="a.jpg"'),
        (Download('"é";\r\n.jpg'), "attachment; filename=\"_e___.jpg\"; filename*=UTF-8''_%C3%A9_%3B__.jpg"),
        (Download("../../a\\b/é.jpg"), "attachment; filename=\"__a_b_e.jpg\"; filename*=UTF-8''__a_b_%C3%A9.jpg"),
        (Download(".."), 'attachment; filename="file"'),
        (Download("日本"), "attachment; filename=\"file\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
        (Download(), "attachment"),
        (Download(inline=True), None),
    ],
)
def test_a_file_name_is_written_so_that_every_browser_reads_it(download: Download, disposition: str | None) -> None:
    assert download.disposition() == disposition


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
    storage = on_disk(small_disk / "files")
    storage.save("tasks/a", io.BytesIO(bytes(30_000)))
    with pytest.raises(NoRoom):
        storage.save("tasks/b", io.BytesIO(bytes(60_000)))
    assert list(storage.keys()) == ["tasks/a"]
    assert unfinished(storage) == 0
    storage.delete("tasks/a")
    assert storage.save("tasks/b", io.BytesIO(bytes(30_000))) == 30_000


def test_what_a_dead_writer_left_on_the_disk_is_no_key_and_is_dropped_when_it_is_old(tmp_path: Path) -> None:
    storage = on_disk(tmp_path / "files")
    left = storage.root / "tasks" / "a" / ".new-x"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert list(storage.keys()) == []
    assert storage.drop_unfinished(3600) == 0
    assert storage.drop_unfinished(0) == 1
    assert list(storage.root.iterdir()) == []


def test_only_one_that_is_alone_is_told_so(tmp_path: Path) -> None:
    storage = on_disk(tmp_path)
    with storage.exclusive_lock() as alone:
        assert alone
    held = storage.shared_lock()
    with storage.exclusive_lock() as alone:
        assert not alone
    held.close()
    with storage.exclusive_lock() as alone:
        assert alone
    assert list(storage.keys()) == []
