"""`app`, `settings` and `celery` for gunicorn, `flask …` and `celery -A wsgi.celery worker`: see service/wsgi.py."""

from devtools.facecloud_emulator.command import facecloud_emulator
from service.wsgi import __getattr__, app, settings

__all__ = ["__getattr__", "app", "settings"]  # `celery` is made by the first of them

app.cli.add_command(facecloud_emulator)
