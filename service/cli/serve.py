"""Serves an application by gunicorn, in this process."""

from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from service.cli.database import upgrade_tables
from service.config import Settings
from service.http.services import provided
from service.server.gunicorn import server_settings


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with an application that is made, and settings as gunicorn.conf.py has them."""

    def __init__(self, app: Flask, options: dict[str, Any]) -> None:
        self.app = app
        self.options = options
        super().__init__()

    def load_config(self) -> None:
        """Take the settings."""
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Return the application."""
        return self.app


def serve(app: Flask) -> None:
    """Bring the tables up to date, print the address and serve until SIGTERM or SIGINT."""
    options = server_settings(app, provided(Settings, app))
    with app.app_context():
        upgrade_tables()
    Server(app, options).run()
