"""Reads .env and the environment, and makes the application. The environment is read nowhere else."""

import os
import sys
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from devtools.facecloud_emulator.command import facecloud_emulator
from service.app import create_app
from service.config import BadSettings, Settings
from service.http.services import provided
from service.jobs.executors import Executor
from service.server.malloc import return_freed_memory

return_freed_memory()
try:
    # Under a `flask …` command, which flask tells in this variable, nobody is served.
    settings = Settings.from_env(
        {**{k: v or "" for k, v in dotenv_values(".env").items()}, **os.environ},
        serving=os.environ.get("FLASK_RUN_FROM_CLI") != "true",
    )
except BadSettings as error:
    sys.exit(f"The service cannot start:\n{error}")

app = create_app(settings)
app.cli.add_command(facecloud_emulator)

if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> "Celery":
    """Give Celery's application to `celery -A wsgi.celery worker`."""
    if name != "celery":
        raise AttributeError(name)
    if settings.executor != "celery":
        sys.exit("EXECUTOR is not celery: set it to celery, and BROKER_URL, or work by `flask jobs work`.")
    from service.jobs.celery_executor import CeleryExecutor

    executor = provided(Executor, app)
    assert isinstance(executor, CeleryExecutor)  # noqa: S101 - what EXECUTOR says
    return executor.app
