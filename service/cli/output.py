"""What the `flask …` commands of every slice share: how they end, and how they show things."""

import sys
from typing import Any

import click
import orjson
from flask.cli import AppGroup
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from service.errors import Problem
from service.storage.storage import StorageMisconfigured

PIPED_WIDTH = 120
"""Columns of a table, where there is no terminal to ask."""


class Group(AppGroup):
    """Commands that end with 0, with 1 and one sentence where something failed, and with 130 when interrupted."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command, and turn what it raises into a sentence."""
        try:
            return super().invoke(context)
        except Problem as problem:
            raise click.ClickException(problem.detail) from problem
        except StorageMisconfigured as error:
            raise click.ClickException(str(error)) from error
        except DBAPIError as error:
            raise click.ClickException(_sentence(error)) from error
        except (FileNotFoundError, PermissionError, FileExistsError) as error:
            raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            sys.exit(130)


def _sentence(error: DBAPIError) -> str:
    text = str(error.orig)
    if "no such table" in text or "does not exist" in text:
        return "The database has no tables yet. Run `make migrate` or `headcount database upgrade`, then try again."
    if "locked" in text or "busy" in text:
        return "The database is busy. Try again in a moment."
    return f"The database cannot be used: {text.strip().splitlines()[0]}."


def show_json(value: Any) -> None:
    """Print one JSON document on one line."""
    click.echo(orjson.dumps(value).decode())


def show_table(table: Table) -> None:
    """Print a table as wide as the terminal."""
    (Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)).print(table)


def plain_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table; `numbers` are the columns that stand to the right."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def number(value: float | None, form: str) -> str:
    """Return a number, or a dash for none."""
    return "–" if value is None else format(value, form)
