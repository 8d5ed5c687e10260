"""`flask jobs …`: the queue of jobs."""

import logging.config

import click

from service.cli.database import wait_for_database
from service.cli.output import Group
from service.config import Settings
from service.db.database import Database
from service.http.services import provided
from service.jobs import queue, worker
from service.jobs.executors import Executor
from service.maintenance.checks import Inventory
from service.maintenance.periodic import Schedule
from service.storage.storage import Storage
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics

jobs = Group("jobs", help="The queue of jobs.")


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


@jobs.command("work")
def work_on_jobs() -> None:
    """Work through jobs in this process, without serving, until SIGTERM or SIGINT.

    Start as many as there is work for, on any machine that reaches the database and the storage.
    """
    settings = provided(Settings)
    if settings.executor == "celery":
        raise click.ClickException("EXECUTOR is celery: start workers by `celery -A wsgi.celery worker`.")
    logging.config.dictConfig(logs.configuration(settings.log_level, settings.log_format))
    wait_for_database()
    provided(Metrics).join()
    worker.work(provided(Executor), provided(Storage), provided(Schedule))
