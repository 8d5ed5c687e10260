"""`app`, `settings` and `celery` for gunicorn, `flask …` and `celery -A wsgi.celery worker`: see service/wsgi.py."""

from collections.abc import Sequence

import click

from service.cli.main import Commands
from service.wsgi import __getattr__, app, settings

__all__ = ["__getattr__", "app", "settings"]  # `celery` is made by the first of them


def emulator() -> Sequence[click.Command]:
    """Return the command of a stand-in for FaceCloud, which only a checkout has."""
    from devtools.facecloud_emulator.command import facecloud_emulator

    return (facecloud_emulator,)


if isinstance(app.cli, Commands):
    app.cli.loads.append(emulator)
