"""Answers that outlive a killed process: written by one process, read by another."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.features.faces.engines.engine import Detection, Detections, Quality
from service.jobs.claims import Claim
from service.jobs.models import Lease
from service.jobs.operation import Answered, Failure, Operation, Run, Unserved
from service.jobs.outcome_journal import OutcomeJournal


class Asking(Operation):
    kind = "asking"
    result = Detections

    def load(self, session: Any, runs: Any) -> Any: ...

    def work(self, loaded: Any, cancelled: Any) -> Any: ...

    def save(self, session: Any, results: Any) -> None: ...


FACE = Detection(-3, 4, 50, 60, "female", 31.7, 0.98765, 0.0123, 25.1, 38.9, Quality(60, 123.4, 0.512))
OUTCOMES: dict[int, Any] = {
    1: Detections([FACE], 1200, 90),
    2: Detections([]),
    3: Answered("upstream_rejected", "FaceCloud answered 400: “no”.", attempts=1),
    4: Unserved("FaceCloud did not answer within 30 s.", who="FaceCloud"),
    5: Failure("engine_failed", "The image's file is not in the store any more."),
}


def claim(job: int) -> Claim:
    run = Run(job, Asking.kind, f"subject {job}", "task", job, 0, 7, 0, 1.5, None)
    return Claim(run, None, 0.0, outcome=OUTCOMES[job], seconds=0.25)


def lease(job: int, fence: int = 7) -> Lease:
    return Lease(job, fence, 0.0, "task")


def journal_in(folder: Path, owner: str) -> OutcomeJournal:
    journal = OutcomeJournal(lambda: folder, [Asking()])
    journal.open(owner)
    return journal


def write_and_die(folder: str) -> None:
    """Keep two answers that are committed and then all outcomes; die while a line is written."""
    journal = journal_in(Path(folder), "writer")
    for job in (1, 2):
        journal.add(claim(job))
    journal.forget([claim(1), claim(2)])
    for job in OUTCOMES:
        journal.add(claim(job))
    for path in Path(folder).glob("writer*"):
        with path.open("ab") as file:
            file.write(b'\n{"run": {"id": 6, "ki')
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder in which a process has kept answers before it was killed."""
    program = f"from tests.test_outcome_journal import write_and_die\nwrite_and_die({str(tmp_path)!r})"
    dead = subprocess.run([sys.executable, "-c", program], check=False)
    assert dead.returncode == -signal.SIGKILL
    return tmp_path


def test_answers_of_a_killed_process_are_read_as_they_were(folder: Path) -> None:
    reader = journal_in(folder, "reader")
    kept = {found.run.id: found for found in reader.answers([lease(job) for job in OUTCOMES])}
    assert sorted(kept) == [1, 2, 3], "what was not served, or was a fault of this machine, is no answer"
    assert [kept[job].outcome for job in (1, 2)] == [OUTCOMES[1], OUTCOMES[2]]
    assert vars(kept[3].outcome) == vars(OUTCOMES[3])
    assert all(found.run == claim(job).run and found.seconds == 0.25 for job, found in kept.items())


def test_only_answers_of_the_very_run_are_taken(folder: Path) -> None:
    reader = journal_in(folder, "reader")
    assert [found.run.id for found in reader.answers([lease(1, fence=8), lease(2)])] == [2]


def test_files_of_the_dead_stay_as_long_as_a_lease_needs_them(folder: Path) -> None:
    reader = journal_in(folder, "reader")
    reader.sweep(reader.left(), [lease(2)])
    assert len(list(folder.glob("writer*"))) == 1
    reader.sweep(reader.left(), [lease(2, fence=8), lease(9)])
    assert list(folder.glob("writer*")) == []
    reader.close()
    assert list(folder.iterdir()) == []


def test_files_of_the_living_are_left_alone(tmp_path: Path) -> None:
    writer, reader = journal_in(tmp_path, "writer"), journal_in(tmp_path, "reader")
    writer.add(claim(1))
    assert reader.answers([lease(1)]) == []
    reader.sweep(reader.left(), [])
    assert len(list(tmp_path.glob("writer*"))) == 2


def test_a_busy_process_keeps_no_more_than_what_is_not_committed(tmp_path: Path) -> None:
    journal = journal_in(tmp_path, "busy")
    journal.add(claim(1))
    for job in [2, 1] * 500:
        journal.add(claim(job))
        journal.forget([claim(3 - job)])  # at no time is all of it committed
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_000
