"""How far a run into a result is: a bar on a terminal, elsewhere a line a minute. All goes to standard error."""

import time
from collections.abc import Sequence

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from service.features.faces.analyze.result_folder import PhotoRow

LINE_SECONDS = 60


class RunProgress:
    """Counts photos as they are done, and those that fail."""

    def __init__(self) -> None:
        self.failed = 0
        self._bar: Progress | None = None
        self._begun = self._told = 0.0
        self._open = self._done = 0

    def begin(self, found: int, open_photos: int) -> None:
        """Tell how many there are."""
        if open_photos or not self._begun:
            known = f", {found - open_photos:,} of them done and unchanged" if found > open_photos else ""
            click.echo(f"{found:,} photos{known}.", err=True)
        self._open, self._done = open_photos, 0
        self._begun = self._told = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal and open_photos:
            columns = (
                TextColumn("Looking for faces"),
                BarColumn(),
                MofNCompleteColumn(),
                Rate(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.add_task("", total=open_photos)
            self._bar.start()

    def advance(self, rows: Sequence[PhotoRow]) -> None:
        """Count what has been done."""
        self._done += len(rows)
        self.failed += sum(row.members["status"] == "failed" for row in rows)
        if self._bar:
            self._bar.advance(self._bar.task_ids[0], len(rows))
        elif time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            click.echo(self._line(), err=True)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _line(self) -> str:
        rate = self._done / max(0.001, time.monotonic() - self._begun)
        left = (self._open - self._done) / max(0.001, rate)
        return f"{self._done:,} of {self._open:,} photos, {rate:,.1f} a second, {_duration(left)} left."


class Rate(ProgressColumn):
    """Photos a second."""

    def render(self, task: Task) -> Text:
        """Return the rate of the last seconds."""
        return Text("" if task.speed is None else f"{task.speed:,.1f} a second")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
