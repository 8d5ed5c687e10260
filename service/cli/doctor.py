"""`flask doctor`: looks for what must not be."""

import click
from flask import current_app
from flask.cli import with_appcontext

from service.cli.database import newest_revision
from service.config import SHORT_NEEDS, Settings
from service.errors import Unavailable
from service.http.services import provided
from service.maintenance import doctor as doctors


@click.command()
@click.option("--repair", is_flag=True, help="Set right what can be without losing anything, and say what was done.")
@click.option("--verbose", is_flag=True, help="Show the settings first, on standard error, without secrets.")
@click.pass_context
@with_appcontext
def doctor(context: click.Context, *, repair: bool, verbose: bool) -> None:
    """Look for what must not be: lost files, wrong counts, stuck tasks, jobs that nobody does.

    Prints a sentence with ids for each inconsistency, then on standard error how many there are.
    Exit status: 0 all is well, 1 something is not, also after a repair. Safe while a server runs; --repair spares
    files younger than an hour then.
    """
    newest = newest_revision()
    if verbose:
        for line in doctors.settings_without_secrets(provided(Settings)):
            click.echo(line, err=True)
    wrong = 0
    settings = provided(Settings)
    if settings.has_short_password and not settings.allow_short_password:
        click.echo(f"The server will not start: API_PASSWORD is too short; {SHORT_NEEDS}.", err=True)
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
        click.echo(f"{wrong} found." if repair else f"{wrong} found; --repair sets right what it can.", err=True)
        context.exit(1)
    click.echo("All is well.")
