"""gunicorn's settings."""

import sys
from typing import Any

from flask import Flask
from gunicorn.glogging import Logger

from service.config import THREADS, Settings
from service.jobs.executors import GRACE
from service.server.lifecycle import Hooks
from service.server.worker import Worker
from service.telemetry import logging as logs


def server_settings(app: Flask, settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings and hooks for this application."""
    if not settings.api_password:
        sys.exit("API_PASSWORD is not set: without it nobody could be let in.")
    hooks = Hooks(app, settings)
    return {
        "wsgi_app": "wsgi:app",
        "bind": f"{settings.host}:{settings.port}",
        "workers": settings.web_concurrency,
        "worker_class": Worker,
        "threads": THREADS,
        # Well below 1024, the usual limit of open files.
        "worker_connections": 500,
        # Files are sent as all else is, so that who does not take them is noticed.
        "sendfile": False,
        "keepalive": 30,
        # gunicorn kills what is left after this; the dispatcher has ended by then.
        "graceful_timeout": GRACE + 2,
        # A worker's main thread beats also while its other threads are busy, so this finds only hung processes.
        "timeout": 60,
        "loglevel": settings.log_level.lower(),
        "control_socket_disable": True,
        "umask": 0o077,
        # Whether a proxy's headers count is decided in one place: TRUSTED_PROXIES, by the application.
        "forwarded_allow_ips": "",
        "logconfig_dict": logs.configuration(settings.log_level, settings.log_format),
        "logger_class": NoAccessLog,
        "on_starting": hooks.on_starting,
        # Where programs read the log, a line beside it would be one that they cannot read.
        **({"when_ready": print_address} if settings.log_format == "text" else {}),
        "on_exit": hooks.on_exit,
        "pre_fork": hooks.pre_fork,
        "post_fork": hooks.post_fork,
        "post_worker_init": hooks.post_worker_init,
        "worker_exit": hooks.worker_exit,
        "child_exit": hooks.child_exit,
    }


def print_address(arbiter: Any) -> None:
    """Tell the person who started it where the page is. The log goes to standard error."""
    for listener in arbiter.LISTENERS:
        host, port = listener.getsockname()[:2]
        host = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host  # noqa: S104 - it is compared
        sys.stdout.write(f"Headcount is ready at http://{host}:{port}. Stop it with Ctrl-C.\n")
        sys.stdout.flush()


class NoAccessLog(Logger):  # type: ignore[misc]
    """gunicorn's log without its line for every request: the service writes its own."""

    def access(self, *_: Any) -> None:
        """Write nothing."""
