"""A run of `headcount analyze --out` or `headcount watch`: sources into a result folder."""

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from service.config import Settings
from service.errors import Problem
from service.features.faces.analyze.copies import Copies
from service.features.faces.analyze.handing_on import write_documents, write_sidecars
from service.features.faces.analyze.result_folder import BadResult
from service.features.faces.analyze.run import Lookers, Run
from service.features.faces.analyze.run_record import RunRecord
from service.features.faces.analyze.sources import STANDARD_INPUT, BadSource, Sources, columns_of
from service.features.faces.analyze.summary import summarize
from service.features.faces.analyze.tables import PARQUET_MISSING, has_parquet
from service.features.faces.analyze.workers import Processes, Work, WorkersLost
from service.features.faces.commands.face_table import printable
from service.features.faces.commands.run_progress import RunProgress
from service.features.faces.drawing import Draw

SHARD = 1_000
CROPS = "crops"
"""The folder of a result that has its faces."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a command was asked for. `form` None is the result's, or the first that can be written here."""

    sources: Sequence[str]
    out: Path
    form: str | None = None
    shard: int = SHARD
    digests: bool = False
    dedupe: bool = False
    exports: Sequence[str] = ()
    xmp: bool = False
    ray: str | None = None
    crops: bool = False
    drawn: Mapping[Path, Draw] = field(default_factory=dict)

    @property
    def copies(self) -> Copies:
        """What is written of each photo."""
        drawn = {folder.absolute(): draw for folder, draw in self.drawn.items()}
        return Copies(drawn, self.out.absolute() / CROPS if self.crops else None)


class CannotWork(click.ClickException):
    """Nothing could be looked at, or no longer."""

    exit_code = 2


@contextmanager
def told() -> Iterator[None]:
    """Say in a sentence why a run cannot work."""
    try:
        yield
    except (BadSource, BadResult, WorkersLost) as error:
        raise CannotWork(str(error)) from error
    except Problem as problem:
        raise CannotWork(problem.detail) from problem
    except sqlite3.Error as error:
        raise CannotWork(f"The index in the result folder cannot be written: {error}.") from error
    except OSError as error:
        text = f"{error.filename}: {error.strerror}." if error.filename and error.strerror else str(error)
        raise CannotWork(text) from error


class Stop:
    """Whether the run is to end. A signal may set it at any moment, at which an Event could block."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Let the run end."""
        self._is_set = True

    def is_set(self) -> bool:
        """Return whether it is to end."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the run is to end; return whether it is."""
        until = time.monotonic() + seconds
        while not self._is_set and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))
        return self._is_set


@contextmanager
def stopping() -> Iterator[Stop]:
    """Give what the first Ctrl-C or SIGTERM sets. The second ends the process at once."""
    stopped = Stop()

    def stop(*_: Any) -> None:
        if stopped.is_set():
            # Processes at work die with this one; a part is whole or not there.
            os._exit(130)
        stopped.set()
        os.write(2, b"\nThe shards under way are being finished; Ctrl-C again ends at once.\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_engine(settings: Settings, engine: str | None) -> Settings:
    """Return the settings with another engine."""
    if engine is None:
        return settings
    try:
        return Settings(**settings.model_dump() | {"face_engine": engine})
    except ValidationError as error:
        raise click.UsageError(f"--engine {error.errors()[0]['msg']}.") from error


class ResultRun:
    """A run with all that belongs to it: lock, processes, index, the record of what made the result."""

    def __init__(self, settings: Settings, wanted: Wanted, stopped: Stop) -> None:
        if wanted.form == "parquet" and not has_parquet():
            raise CannotWork(f"{PARQUET_MISSING}, or give --format csv.")
        self.wanted = wanted
        self.progress = RunProgress()
        self.refused = 0
        self._settings = settings
        self._stopped = stopped
        columns, copies = columns_of(wanted.sources), [str(folder) for folder in wanted.copies.folders]
        self._record = RunRecord(wanted.out, settings, wanted.form, columns, copies, dedupe=wanted.dedupe)
        self.result = self._record.result
        self._left_out = [folder.resolve() for folder in (wanted.out, *wanted.drawn)]
        self._counts: dict[str, int] = {"found": 0, "looked_at": 0}

    @contextmanager
    def begun(self) -> Iterator[Run]:
        """Give the run to look with; afterwards the summary is written."""
        wanted, digests = self.wanted, self.wanted.digests or self.wanted.dedupe
        work = Work.of(self._settings, wanted.sources, digests=digests, copies=wanted.copies)
        with ExitStack() as stack:
            stack.callback(self.result.lock())
            lookers = _lookers(work, wanted.ray)
            stack.callback(lookers.close)
            run = Run(
                self.result,
                lookers,
                self.progress,
                shard=wanted.shard,
                chunk=work.chunk_size,
                dedupe=wanted.dedupe,
                stopped=self._stopped,
            )
            stack.callback(run.close)
            self._record.begin([_absolute(source) for source in wanted.sources])
            yield run
            self._counts["gone"] = run.count_gone()
        self._record.end(self._counts, stopped=self._stopped.is_set())

    def look(self, run: Run, *, settled: bool = False) -> int:
        """Look at what is open, and return how many photos that were."""
        sources = Sources(self._settings, self._left_out, self._refuse)
        found, open_photos = run.look(sources, self.wanted.sources, settled=settled)
        self._counts["found"] = found
        self._counts["looked_at"] += open_photos
        return open_photos

    def hand_on(self) -> dict[str, Any]:
        """Write summary.json, and what other programs are to have; return the summary."""
        summary = summarize(self.result, self._settings.engine)
        self.result.write_summary(summary)
        write_documents(self.result, self.wanted.exports)
        if self.wanted.xmp:
            count = write_sidecars(self.result)
            click.echo(f"{count.written:,} sidecars are there.", err=True)
            if count.left:
                click.echo(f"{count.left:,} sidecars of other programs were left as they are.", err=True)
            if count.failed:
                click.echo(f"{count.failed:,} sidecars could not be written.", err=True)
            self.refused += count.failed
        return summary

    def _refuse(self, error: OSError) -> None:
        self.refused += 1
        click.echo(f"{printable(str(error.filename))}: {error.strerror}.", err=True)


def _lookers(work: Work, ray: str | None) -> Lookers:
    if ray is None:
        return Processes(work)
    if find_spec("ray") is None:
        raise CannotWork("A cluster needs a package that is not installed: pip install 'headcount[ray]'")
    from service.features.faces.analyze.ray_actors import RayActors

    return RayActors(work, ray)


def analyze_into(settings: Settings, wanted: Wanted) -> None:
    """Look at what is new in the sources, and end the process: 0, or 1 where photos failed, or 130 where stopped."""
    with told(), stopping() as stopped:
        whole = ResultRun(settings, wanted, stopped)
        with whole.begun() as run:
            whole.look(run)
        summary = whole.hand_on()
        if not summary["photos"] and not stopped.is_set():
            raise CannotWork("There are no photos here: JPEG, PNG, WebP, HEIC and AVIF are looked for.")
        tell(summary, wanted.out)
    if stopped.is_set():
        sys.exit(130)
    if summary["failed"] or whole.refused:
        sys.exit(1)


def tell(summary: dict[str, Any], out: Path) -> None:
    """Print what a result comes to."""
    found = summary["statistics"]
    same = f", {summary['duplicate']:,} duplicates" if summary["duplicate"] else ""
    click.echo(
        f"{summary['photos']:,} photos in {out}: {summary['done']:,} done, {summary['failed']:,} failed{same}. "
        f"{found['faces']:,} faces, {found['men']:,} men, {found['women']:,} women, {found['unknown']:,} unknown."
    )
    for failure in summary["failures"]:
        click.echo(f"{failure['code']}: {failure['photos']:,} photos, such as: {failure['example']}", err=True)


def _absolute(source: str) -> str:
    return source if source == STANDARD_INPUT or source.startswith("s3://") else str(Path(source).absolute())
