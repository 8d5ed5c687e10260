"""`flask database …`: the database's tables."""

import sqlite3
from pathlib import Path

import click
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from service.cli.output import Group
from service.config import Settings
from service.db.database import Database, first_line
from service.db.sqlite import copy
from service.http.services import provided

WAIT_SECONDS = 60
"""How long to wait for a database server that is just starting."""
MIGRATIONS = Path(__file__).parent.parent / "db" / "migrations"

database = Group("database", help="The database's tables.")


def wait_for_database() -> None:
    """Wait until the database answers; end with a sentence where it does not."""
    try:
        provided(Database).wait(WAIT_SECONDS)
    except DBAPIError as error:
        raise click.ClickException(f"The database cannot be used: {first_line(error)}") from error


def alembic_config(url: str) -> Config:
    """Return Alembic's settings; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def newest_revision() -> str | None:
    """Return the revision that the tables should have."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def upgrade_tables() -> None:
    """Bring the tables of the current application up to date; make the folders of a new database and of its files."""
    settings = provided(Settings)
    url = settings.database_url
    folders = [Path(url.removeprefix("sqlite:///")).parent] if url.startswith("sqlite") else []
    folders += [] if settings.bucket else [Path(settings.storage_url)]
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"The folder {folder} cannot be made: {error.strerror}.") from error
    wait_for_database()
    try:
        command.upgrade(alembic_config(url), "head")
    except DBAPIError as error:
        raise click.ClickException(f"The database cannot be brought up to date: {first_line(error)}") from error


@database.command()
def upgrade() -> None:
    """Bring the tables up to date."""
    upgrade_tables()


@database.command()
@click.argument("revision", default="-1")
def downgrade(revision: str) -> None:
    """Take the tables back by one migration, or to REVISION."""
    command.downgrade(alembic_config(provided(Settings).database_url), revision)


@database.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Copy the SQLite database into FILE as it is at one moment, while servers and workers go on.

    Copy the files after it, never before: docs/operations.md says how, and how to restore. FILE must be new.
    """
    url = provided(Settings).database_url
    if not url.startswith("sqlite"):
        raise click.ClickException("The database is PostgreSQL: use its own pg_dump; docs/operations.md says how.")
    source = Path(url.removeprefix("sqlite:///"))
    if file.exists():
        raise click.ClickException(f"{file} is there already: name a new file.")
    if not file.parent.is_dir():
        raise click.ClickException(f"There is no folder {file.parent}: make it, or name a file in another.")
    if not source.exists():
        raise click.ClickException(f"There is no database at {source}.")
    try:
        size = copy(source, file)
    except sqlite3.Error as error:
        raise click.ClickException(f"{source} could not be copied to {file}: {error}.") from error
    click.echo(f"{file}: {size} bytes.")


@database.command()
@click.argument("message")
def revision(message: str) -> None:
    """Write a migration from what the models have and the tables lack."""
    command.revision(alembic_config(provided(Settings).database_url), message, autogenerate=True)
