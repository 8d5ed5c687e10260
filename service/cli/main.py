"""The commands of an application, imported when a command line asks for them."""

from collections.abc import Callable, Iterable, Sequence

import click
from flask.cli import AppGroup

Load = Callable[[], Sequence[click.Command]]
"""Imports commands and returns them."""


class Commands(AppGroup):
    """Commands that a server never imports, nor what they draw their tables with."""

    def __init__(self, loads: Iterable[Load]) -> None:
        super().__init__()
        self.loads = list(loads)

    def _load(self) -> None:
        while self.loads:
            for command in self.loads.pop(0)():
                self.add_command(command)

    def list_commands(self, context: click.Context) -> list[str]:
        """Import all commands, and return their names."""
        self._load()
        return super().list_commands(context)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import all commands, and return the one of this name."""
        self._load()
        return super().get_command(context, name)


def own_commands() -> Sequence[click.Command]:
    """Return the commands that are no feature's."""
    from service.cli.bucket import bucket
    from service.cli.database import database
    from service.cli.doctor import doctor
    from service.cli.jobs import jobs

    return bucket, database, doctor, jobs
