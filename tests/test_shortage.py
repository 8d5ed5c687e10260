"""Lacks of this machine, memory and open files, are never called faults of a client's file."""

import contextlib
import errno
import io
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ServiceFault
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits, check
from tests.conftest import FULL_MATRIX, MakeService
from tests.support import ROOT, photo, wait_for

LIMITS = Limits(20_000_000, 50_000_000)


def run(folder: Path, kind: str, steps: range) -> list[str]:
    program = [sys.executable, "-m", "tests.shortage_program", str(folder), kind]
    program += map(str, (steps.start, steps.stop, steps.step))
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("kind", "steps"), [("memory", range(1, 50, 1 if FULL_MATRIX else 4)), ("files", range(1, 16))]
)
def test_however_little_memory_or_files_are_left_a_sound_picture_is_never_called_damaged(
    tmp_path: Path, migrated: Path, kind: str, steps: range
) -> None:
    shutil.copy(migrated, tmp_path / "service.db")
    lines = [line.split(" ", 1) for line in run(tmp_path, kind, steps)]
    # A library of C that gets no memory may end its process: the server puts another in its place.
    died = {step for step, text in lines if text.startswith("ended with ")} if kind == "memory" else set()
    seen = [text for step, text in lines if step not in died]
    assert len(seen) == 2 * (len(steps) - len(died))
    assert len(died) < len(steps) / 2
    taken = [answer for answer in seen if answer in ("201 ", "202 ")]
    assert taken, "the last limits are enough"
    assert len(taken) < len(seen), "the first limits are too small"
    refusals = {answer for answer in seen if answer not in taken}
    assert refusals <= {"503 service_fault", "503 store_unavailable", "503 database_unavailable", "507 no_room"}


class Failing(io.BytesIO):
    """A file of which the n-th read fails."""

    def __init__(self, content: bytes, nth: int, code: int) -> None:
        super().__init__(content)
        self.left = nth
        self.code = code

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if not self.left:
            raise OSError(self.code, "told to fail")
        return super().read(size)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOSPC, errno.ENOMEM])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_whichever_read_of_an_upload_fails_the_file_is_not_called_damaged(form: str, code: int) -> None:
    data = photo(1, form=form)
    for nth in range(1, 200):
        stream = Failing(data, nth, code)
        try:
            check(stream, "photo", LIMITS, PixelBudget())
        except (OSError, ServiceFault):
            continue
        assert stream.left > 0
        return
    pytest.fail("a check makes two hundred reads")


def test_a_server_without_free_descriptors_takes_connections_again_when_some_are_closed(
    make_service: MakeService,
) -> None:
    service = make_service(WEB_CONCURRENCY=1)
    service.start()
    (worker,) = service.workers()
    used = max(int(name.name) for name in Path(f"/proc/{worker}/fd").iterdir())
    _, most = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 8, most))
    with contextlib.ExitStack() as connections:
        for _ in range(40):
            address = ("127.0.0.1", int(str(service.settings["PORT"])))
            connections.enter_context(socket.create_connection(address, timeout=10))
        wait_for(lambda: "no connection can be taken now" in service.log.read_text(), 20)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 200, most))
    assert service.client().task(photo(1))
    assert service.workers() == [worker]
