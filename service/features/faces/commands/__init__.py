"""The commands of face tasks: `flask engine …`, `flask faces …`, `flask tasks …` and `flask webhook-secret`."""

import click
from flask.cli import with_appcontext

from service.config import Settings
from service.features.faces.commands.engine import engine
from service.features.faces.commands.faces import faces
from service.features.faces.commands.tasks import tasks
from service.features.faces.webhooks import derived_secret
from service.http.services import provided


@click.command("webhook-secret")
@with_appcontext
def webhook_secret() -> None:
    """Print the secret that signs webhooks, for those who receive them."""
    settings = provided(Settings)
    click.echo(settings.webhook_secret or derived_secret(settings.api_password))


COMMANDS: tuple[click.Command, ...] = (engine, faces, tasks, webhook_secret)
