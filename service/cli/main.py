"""The `flask …` commands."""

import logging.config
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask, current_app
from sqlalchemy.exc import OperationalError

from service.cli.output import Group
from service.config import Settings
from service.db.database import Database, first_line
from service.db.sqlite import copy
from service.errors import Unavailable
from service.http.services import provided
from service.jobs import queue, worker
from service.jobs.executors import Executor
from service.maintenance import doctor as doctors
from service.maintenance.checks import Inventory
from service.maintenance.periodic import Schedule
from service.storage.storage import Storage, StorageMisconfigured
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics

T = TypeVar("T")

WAIT_SECONDS = 60
"""How long to wait for a database server that is just starting."""
MIGRATIONS = Path(__file__).parent.parent / "db" / "migrations"

bucket = Group("bucket", help="The bucket of an object store.")
database = Group("database", help="The database's tables.")
jobs = Group("jobs", help="The queue of jobs.")


def add_commands(app: Flask, commands: Iterable[click.Command]) -> None:
    """Give the application its commands, and those of its features."""
    app.cli.add_command(bucket)
    app.cli.add_command(database)
    app.cli.add_command(jobs)
    app.cli.add_command(doctor)
    for one in commands:
        app.cli.add_command(one)


def alembic_config(url: str) -> Config:
    """Return Alembic's settings; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def newest_revision() -> str | None:
    """Return the revision that the tables should have."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


@database.command()
def upgrade() -> None:
    """Bring the tables up to date."""
    url = provided(Settings).database_url
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        provided(Database).wait(WAIT_SECONDS)
    except OperationalError as error:
        raise click.ClickException(f"The database cannot be used: {first_line(error)}") from error
    command.upgrade(alembic_config(url), "head")


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
    """Write the next migration from what the models have and the tables lack."""
    number = f"{int(newest_revision() or 0) + 1:04}"
    command.revision(alembic_config(provided(Settings).database_url), message, autogenerate=True, rev_id=number)


@jobs.command()
@click.option("--all", "everything", is_flag=True, help="Every claimed job, when no server is at work.")
def recover(everything: bool) -> None:
    """Give the jobs of dead runs back now.

    A running server does so by itself within seconds of the end of a lease. With --all no lease is waited for; that
    is refused while a server is at work.
    """
    database, operations = provided(Database), provided(Inventory).operations
    with provided(Storage).exclusive_lock() as alone_here, database.alone() as alone_there:
        if everything and not (alone_there and (alone_here or database.is_shared)):
            raise click.ClickException("A server is at work: stop it first, or leave --all out.")
        again, failed = queue.recover(database, operations, everything=everything)
    click.echo(f"{again} jobs will run again; {failed} failed, since their runs had died too often.")


@click.command()
@click.option("--repair", is_flag=True, help="Set right what can be without losing anything, and say what was done.")
@click.pass_context
def doctor(context: click.Context, repair: bool) -> None:
    """Look for what must not be: lost files, wrong counts, stuck tasks, jobs that nobody does.

    Prints a sentence with ids for each inconsistency, and on standard error the settings, without secrets.
    Exit status: 0 all is well, 1 something is not, also after a repair. Safe while a server runs; --repair spares
    files younger than an hour then.
    """
    newest = newest_revision()
    for line in doctors.settings_without_secrets(provided(Settings)):
        click.echo(line, err=True)
    wrong = 0
    try:
        if repair:
            for sentence in doctors.repair(current_app, newest):
                click.echo(sentence)
        for sentence in doctors.examine(current_app, newest):
            click.echo(sentence)
            wrong += 1
    except Unavailable as error:  # in the middle
        click.echo(f"The store or the database is away: {error.detail}")
        wrong += 1
    if wrong:
        context.exit(1)
    click.echo("All is well.")


@jobs.command("work")
def work_on_jobs() -> None:
    """Work through jobs in this process, without serving, until SIGTERM or SIGINT.

    Start as many as there is work for, on any machine that reaches the database and the storage.
    """
    settings = provided(Settings)
    if settings.executor == "celery":
        raise click.ClickException("EXECUTOR is celery: start workers by `celery -A wsgi.celery worker`.")
    logging.config.dictConfig(logs.configuration(settings.log_level, settings.log_format))
    try:
        provided(Database).wait(WAIT_SECONDS)
    except OperationalError as error:
        raise click.ClickException(f"The database cannot be used: {first_line(error)}") from error
    provided(Metrics).join()
    worker.work(provided(Executor), provided(Storage), provided(Schedule))


@bucket.command("create")
@click.option("--wait", default=0.0, help="Seconds to wait for a store that does not answer yet.")
def create_bucket(wait: float) -> None:
    """Make the bucket of STORAGE_URL where there is none. It is private: only signed links lead into it."""
    from service.storage.s3 import S3Storage

    storage = provided(Storage)
    if not isinstance(storage, S3Storage):
        raise click.ClickException("STORAGE_URL is a folder: there is no bucket to make.")
    try:
        made = patiently(storage.create_bucket, wait, Unavailable)
    except (Unavailable, StorageMisconfigured) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The bucket {storage.bucket} {'was made' if made else 'is there already'}.")


def patiently(act: Callable[[], T], seconds: float, *failures: type[Exception]) -> T:
    """Return what `act` returns; after these failures try again each second for so long, then raise the last one."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except failures:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
