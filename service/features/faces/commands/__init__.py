"""The commands of face tasks: `flask engine …`, `faces …`, `tasks …`, `webhook …` and `webhook-secret`."""

import uuid

import click
import orjson
from flask.cli import with_appcontext

from service.config import Settings
from service.db.database import now
from service.features.faces.commands.engine import engine
from service.features.faces.commands.faces import faces
from service.features.faces.commands.tasks import tasks
from service.features.faces.webhooks import WebhookDelivery, derived_secret
from service.http import outbound
from service.http.services import provided


@click.command("webhook-secret")
@with_appcontext
def webhook_secret() -> None:
    """Print the secret that signs webhooks, for those who receive them."""
    settings = provided(Settings)
    click.echo(settings.webhook_secret or derived_secret(settings.api_password))


@click.group()
def webhook() -> None:
    """Webhooks."""


@webhook.command("test")
@click.argument("url")
@with_appcontext
def test_webhook(url: str) -> None:
    """Send a signed event of type `webhook.test` to a receiver, as the end of a task is sent, and say what it answers.

    Exit status: 0 where it answers 2xx, else 1.
    """
    settings = provided(Settings)
    delivery = WebhookDelivery(
        lambda: settings.webhook_secret or derived_secret(settings.api_password),
        private_allowed=settings.webhook_allow_private,
    )
    body = orjson.dumps({"type": "webhook.test", "timestamp": now(), "data": {}}).decode()
    try:
        answer = delivery.post(url, f"msg_{uuid.uuid4()}", body)
    except (outbound.Refused, outbound.Unreachable) as error:
        raise click.ClickException(str(error)) from error
    if not 200 <= answer.status < 300:
        raise click.ClickException(f"The receiver answered {answer.status}: it must answer 2xx.")
    click.echo(f"The receiver answered {answer.status}.")


COMMANDS: tuple[click.Command, ...] = (engine, faces, tasks, webhook, webhook_secret)
