"""What is on its way in lies in memory while it is little, and else in nameless files beside the store, bounded."""

import io
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from gunicorn.config import Config

from service.errors import Unavailable
from service.http.uploads import UploadedFile
from service.server.min_data_rate import MinDataRate, MinRateSocket
from service.server.request_buffering import BUFFER, MOST_BUFFERED, WHOLE_BODY, BufferedConnection, BufferRoom
from service.storage.spools import IN_MEMORY, Spool, SpoolFolder

PIECES = [bytes([number]) * 400_000 for number in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> SpoolFolder:
    return SpoolFolder(tmp_path / "spools", 4_000_000)


def spools_below(place: Path) -> list[str]:
    """Return the files that this process has open below a folder; nameless ones are told as deleted."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(str(descriptor.readlink()))
    return [link for link in found if link.startswith(str(place))]


def written(spool: Spool) -> list[UploadedFile]:
    files = []
    for number, piece in enumerate(PIECES):
        files.append(UploadedFile(spool, str(number), 1_000_000, "image"))
        files[-1].write(piece[:100])
        files[-1].write(piece[100:])
    return files


def test_the_files_of_a_request_share_one_nameless_file_and_threads_may_read_them(
    folder: SpoolFolder, tmp_path: Path
) -> None:
    spool = Spool(folder)
    files = written(spool)
    assert len(spools_below(tmp_path)) == 1
    assert list((tmp_path / "spools").iterdir()) == []
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda file: file.read(), files * 3))[:5] == PIECES
    spool.close()
    assert spools_below(tmp_path) == []


def test_a_file_of_a_request_can_be_sought_and_ends_where_it_ends(folder: SpoolFolder) -> None:
    with closing(Spool(folder)) as spool:
        _, file, *_ = written(spool)
        assert file.seek(-10, io.SEEK_END) == 399_990
        assert (file.read(100), file.read()) == (b"\x01" * 10, b"")
        file.seek(5)
        buffer = bytearray(20)
        assert (file.readinto(buffer), file.tell(), bytes(buffer)) == (20, 25, b"\x01" * 20)
        file.seek(0)
        assert len(io.BufferedReader(file).read()) == 400_000


def test_spools_of_a_process_are_bounded_together_and_what_is_closed_makes_room(folder: SpoolFolder) -> None:
    with folder.file(1_500_000):
        with closing(Spool(folder)) as spool:
            written(spool)
            with pytest.raises(Unavailable, match="being uploaded"):
                written(spool)
        with closing(Spool(folder)) as spool:
            written(spool)


def test_a_little_request_makes_no_file(folder: SpoolFolder, tmp_path: Path) -> None:
    with closing(Spool(folder)) as spool:
        spool.append(bytes(IN_MEMORY))
        assert spools_below(tmp_path) == []


@pytest.fixture
def peers() -> Iterator[tuple[socket.socket, MinRateSocket]]:
    theirs, ours = socket.socketpair()
    sock = MinRateSocket(fileno=ours.detach())
    sock.rate = MinDataRate(4)
    theirs.setblocking(False)
    with theirs, sock:
        yield theirs, sock


BODY = os.urandom(WHOLE_BODY - 4)
CHUNKED = b"".join(
    b"%x\r\n%s\r\n" % (len(BODY[at : at + 50_000]), BODY[at : at + 50_000]) for at in range(0, len(BODY), 50_000)
)
REQUESTS = {
    "told": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED + b"0\r\n\r\n",
}


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("taken", [0, MOST_BUFFERED], ids=["in memory", "in a spool"])
def test_a_request_of_a_megabyte_is_collected_whole_before_it_gets_a_thread(
    peers: tuple[socket.socket, MinRateSocket], folder: SpoolFolder, tmp_path: Path, taken: int, kind: str
) -> None:
    theirs, ours = peers
    room = BufferRoom(folder)
    room.taken = taken
    conn = BufferedConnection(Config(), ours, "peer", "server", linger=lambda _: None, room=room)
    rest = memoryview(REQUESTS[kind])
    while rest:
        assert not conn.receive()
        rest = rest[theirs.send(rest[:100_000]) :]
    assert conn.receive()
    assert len(conn.arrived) <= 2 * BUFFER or not taken
    assert len(spools_below(tmp_path)) == (1 if taken else 0)
    conn.unbuffer()
    assert next(conn.parser).body.read() == BODY
    assert (room.taken, spools_below(tmp_path)) == (taken, [])


def test_without_a_spool_a_thread_takes_what_has_come(
    peers: tuple[socket.socket, MinRateSocket], tmp_path: Path
) -> None:
    theirs, ours = peers
    room = BufferRoom(SpoolFolder(tmp_path, 0))
    room.taken = MOST_BUFFERED
    conn = BufferedConnection(Config(), ours, "peer", "server", linger=lambda _: None, room=room)
    sent = REQUESTS["told"][: 3 * BUFFER]
    while sent and not conn.receive():
        sent = sent[theirs.send(sent) :]
    assert conn.receive()
    assert len(conn.arrived) < WHOLE_BODY
