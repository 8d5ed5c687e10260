"""The `flask …` commands."""

from pathlib import Path

import click
from alembic import command
from alembic.config import Config
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

MIGRATIONS = Path(__file__).parent.parent / "migrations"

database = AppGroup("database", help="The database's tables.")


def add_commands(app: Flask) -> None:
    """Give the application its commands."""
    app.cli.add_command(database)
    app.cli.add_command(facecloud_emulator)
    app.cli.add_command(webhook_secret)


def alembic_config(url: str) -> Config:
    """Return Alembic's settings; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


@database.command()
def upgrade() -> None:
    """Bring the tables up to date."""
    url = current_app.extensions["settings"].database_url
    Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    command.upgrade(alembic_config(url), "head")


@database.command()
@click.argument("revision", default="-1")
def downgrade(revision: str) -> None:
    """Take the tables back by one migration, or to REVISION."""
    command.downgrade(alembic_config(current_app.extensions["settings"].database_url), revision)


@database.command()
@click.argument("message")
def revision(message: str) -> None:
    """Write a migration from what the models have and the tables lack."""
    command.revision(alembic_config(current_app.extensions["settings"].database_url), message, autogenerate=True)


@click.command("facecloud-emulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8001, show_default=True, help="The port to listen on.")
def facecloud_emulator(host: str, port: int) -> None:
    """Stand in for FaceCloud, answering from the embedded engine."""
    from service.faces import emulator_server

    emulator_server.main(["--host", host, "--port", str(port)])


@click.command("webhook-secret")
@with_appcontext
def webhook_secret() -> None:
    """Print the secret that signs webhooks, for those who receive them."""
    from service.faces.webhooks import derived_secret

    settings = current_app.extensions["settings"]
    click.echo(settings.webhook_secret or derived_secret(settings.api_password))
