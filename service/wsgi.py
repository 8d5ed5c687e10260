"""Reads .env and the environment, and makes the application of this process. The environment is read nowhere else.

`app`, `settings` and `celery` are made when they are first asked for, so that the `headcount` command may choose the
folder of the data before.
"""

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values
from flask import Flask

from service.server import garbage_collection  # isort: skip - first: what is imported below is not looked through
from service.app import create_app
from service.config import BadSettings, Settings
from service.http.services import provided
from service.jobs.executors import Executor
from service.server.malloc import return_freed_memory

garbage_collection.begin()

if TYPE_CHECKING:
    from celery import Celery

    app: Flask
    settings: Settings
    celery: Celery

DATA = Path("storage")
"""The folder of the database and the files, where no setting says otherwise."""


def env_file(data: Path) -> Path:
    """Return the file that holds the settings: .env here, or else in the folder of the data."""
    return here if (here := Path(".env")).exists() else data / ".env"


def environment(data: Path) -> dict[str, str]:
    """Return what is set: by the environment, or else by the file."""
    return {**{name: text or "" for name, text in dotenv_values(env_file(data)).items()}, **os.environ}


OWN_PLACES = ("DATABASE_URL", "STORAGE_URL", "EXECUTOR", "CDN_URL")
"""What says where a service has its rows, files and work; an application that stands alone takes none of it."""


@cache
def application(data: Path = DATA, *, serving: bool = True, alone: bool = False) -> Flask:
    """Return the application; end the process with all faults where the settings cannot be used.

    One that stands `alone` has all in the folder of the data, whatever the settings of a service beside it say.
    """
    os.umask(0o077)  # rows, files and backups are this user's alone
    return_freed_memory()
    places = {"database_url": f"sqlite:///{data}/service.db", "storage_url": f"{data}/files"}
    try:
        values = environment(data) | dict.fromkeys(OWN_PLACES if alone else (), "")
        return create_app(Settings.from_env(values, serving=serving, **places))
    except BadSettings as error:
        sys.exit(f"The service cannot start:\n{error}")


def __getattr__(name: str) -> Any:
    """Make what gunicorn, `flask …` and `celery -A wsgi.celery worker` ask for."""
    if name not in ("app", "settings", "celery"):
        raise AttributeError(name)
    # Under a `flask …` command, which flask tells in this variable, nobody is served.
    made = application(serving=os.environ.get("FLASK_RUN_FROM_CLI") != "true")
    if name == "app":
        return made
    if name == "settings":
        return provided(Settings, made)
    if provided(Settings, made).executor != "celery":
        sys.exit("EXECUTOR is not celery: set it to celery, and BROKER_URL, or work by `flask jobs work`.")
    executor: Any = provided(Executor, made)
    return executor.app
