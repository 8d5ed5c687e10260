"""How processes of one machine tell each other of jobs without looking for them."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from service.db.named_pipes import NamedPipes
from tests.support import wait_for


def listen(folder: Path) -> tuple[NamedPipes, list[list[str]], threading.Thread]:
    """Have somebody listen in a folder."""
    pipes, heard = NamedPipes(folder), list[list[str]]()

    def note(topics: Iterable[str]) -> None:
        heard.append(list(topics))

    thread = threading.Thread(target=pipes.receive, args=(note,))
    before = len(list(folder.glob("[!.]*")))
    thread.start()
    wait_for(lambda: len(list(folder.glob("[!.]*"))) > before, what="the pipe")
    return pipes, heard, thread


def test_all_others_hear_and_who_tells_does_not(tmp_path: Path) -> None:
    first, second = listen(tmp_path), listen(tmp_path)
    first[0].send(["faces", "copies"])
    NamedPipes(tmp_path).send(["webhooks"])
    wait_for(lambda: second[1] == [["faces", "copies"], ["webhooks"]], what="what both told")
    wait_for(lambda: first[1] == [["webhooks"]], what="what the other told")
    for pipes, _, thread in (first, second):
        pipes.close()
        thread.join(5)
        assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_whose_process_is_dead_is_removed_and_telling_goes_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dead")
    pipes, heard, thread = listen(tmp_path)
    NamedPipes(tmp_path).send(["faces"])
    wait_for(lambda: heard == [["faces"]], what="what was told")
    assert not (tmp_path / "dead").exists()
    pipes.close()
    thread.join(5)


def test_who_does_not_read_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stopped")
    reader = os.open(tmp_path / "stopped", os.O_RDONLY | os.O_NONBLOCK)
    pipes = NamedPipes(tmp_path)
    for _ in range(70):  # more than it can hold
        pipes.send(["x" * 1000])
    assert os.read(reader, 1_000_000)
    os.close(reader)


def test_where_nobody_listens_there_is_nobody_to_tell(tmp_path: Path) -> None:
    NamedPipes(tmp_path / "none").send(["faces"])
    assert not (tmp_path / "none").exists()
