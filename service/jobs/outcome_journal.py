"""What runs came to until it is committed, in files that outlive a killed process: so no call is made again for it."""

import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import orjson
from pydantic import TypeAdapter

from service.jobs.claims import Claim
from service.jobs.models import Lease
from service.jobs.operation import Answered, Operation, Run

_RUN = TypeAdapter(Run)


class OutcomeJournal:
    """The answers of a process's runs that are not yet in the database, for who recovers the runs when it dies.

    A process has two files and writes into one until all of the other is committed. It holds a lock on both, so that
    others know that it lives. Kept are answers of operations that name their `result`; the folder is this machine's,
    so what runs on another one is done again.
    """

    def __init__(self, folder: Callable[[], Path], operations: Collection[Operation]) -> None:
        """The folder must be this user's alone; it is asked for when the work begins."""
        self._folder = folder
        self._results = {each.kind: TypeAdapter[Any](each.result) for each in operations if each.result}
        # Others look after the files of the kinds that they run too.
        self._suffix = f".{'-'.join(self._results)}.outcomes"
        self._files: list[_File] = []
        self._lock = Lock()

    def open(self, owner: str) -> None:
        """Begin to keep this process's answers; call it after the fork."""
        if self._results:
            self._files = [_File(self._folder() / f"{owner}.{number}{self._suffix}") for number in range(2)]

    def close(self) -> None:
        """Remove the files: what ran is committed, or was given back."""
        with self._lock:
            for file in self._files:
                file.remove()
            self._files = []

    def add(self, claim: Claim) -> None:
        """Keep what a run came to, in 10 µs; it outlives this process at once, but not the machine."""
        if claim.run.kind not in self._results or not (record := _record(claim)):
            return
        with self._lock:
            if self._files:
                self._files[0].append(claim.run.id, record)

    def forget(self, written: Collection[Claim]) -> None:
        """Forget what is committed."""
        ids = {claim.run.id for claim in written}
        with self._lock:
            for file in self._files:
                file.forget(ids)
            # A file in use is never empty for long, so they take turns.
            if self._files and not self._files[1].kept:
                self._files.reverse()

    def answers(self, dead: Collection[Lease]) -> list[Claim]:
        """Return what runs of dead processes of this machine came to, of those with these leases."""
        wanted = {(lease.id, lease.fence) for lease in dead}
        return [claim for kept in self.left().values() for claim in self._claims(kept) if _key(claim) in wanted]

    def left(self) -> dict[Path, bytes]:
        """Return the files of dead processes of this machine; another process may remove one at any time."""
        paths: Sequence[Path] = sorted(self._folder().glob(f"*{self._suffix}")) if self._files else ()
        found = {}
        for path in paths:
            with suppress(FileNotFoundError), path.open("rb") as file, suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                found[path] = file.read()
        return found

    def sweep(self, left: Mapping[Path, bytes], leases: Collection[Lease]) -> None:
        """Remove those of the files that none of these leases needs, which were read after them: all there were."""
        held = {(lease.id, lease.fence) for lease in leases}
        for path, kept in left.items():
            if not any(_key(claim) in held for claim in self._claims(kept)):
                path.unlink(missing_ok=True)

    def _claims(self, kept: bytes) -> Iterator[Claim]:
        for line in kept.splitlines():
            with suppress(ValueError):  # a line that the death of its process, or full memory, cut off
                yield self._claim(orjson.loads(line))

    def _claim(self, record: Any) -> Claim:
        run = _RUN.validate_python(record["run"])
        refused = record["refused"]
        outcome = Answered(**refused) if refused else self._results[run.kind].validate_python(record["result"])
        return Claim(run, None, 0.0, outcome=outcome, seconds=record["seconds"])


class _File:
    """One of the two files; `kept` has the ids of the runs in it that are not committed."""

    def __init__(self, path: Path) -> None:
        self.kept: set[int] = set()
        self._path = path
        # Others look at a file by its suffix, and may remove it where nobody holds its lock.
        new = path.with_suffix(".new")
        self._number = os.open(new, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._number, fcntl.LOCK_EX)
        new.rename(path)

    def append(self, job: int, record: bytes) -> None:
        with suppress(OSError):  # memory is full: should the process die now, the call is made again
            os.write(self._number, record)
            self.kept.add(job)

    def forget(self, ids: Collection[int]) -> None:
        if self.kept:
            self.kept.difference_update(ids)
            if not self.kept:
                os.ftruncate(self._number, 0)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._number)


def _key(claim: Claim) -> tuple[int, int]:
    return claim.run.id, claim.run.fence


def _record(claim: Claim) -> bytes:
    """Return a line for an answer, empty for what is none."""
    outcome, result, refused = claim.outcome, None, None
    if isinstance(outcome, Answered):
        refused = {name: getattr(outcome, name) for name in ("code", "detail", "attempts", "wait")}
    elif isinstance(outcome, Exception):
        return b""
    else:
        result = outcome
    # The break before it ends a line that was cut off.
    return b"\n" + orjson.dumps({"run": claim.run, "seconds": claim.seconds, "refused": refused, "result": result})
