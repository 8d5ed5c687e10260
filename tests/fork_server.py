"""A fork server: starts programs from a process that has imported their libraries already.

Importing Flask, SQLAlchemy, pydantic and the modules of the service takes three quarters of a second of CPU, most of a
service's start. The application is made by each program, since it reads the settings.

The server is this file as a program. It forks a keeper for each program, which forks the program, says its id and, when
it has ended, how. Programs by a clock of their tests are forked from a server that has imported all by such a clock.
"""

import atexit
import json
import os
import runpy
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

SERVED = (
    "dotenv",
    "flask",
    "jwt",
    "PIL.Image",
    "pydantic.main",
    "pydantic.types",
    "requests",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
)
LIBRARIES = {"gunicorn": SERVED, "flask": SERVED, "celery": ("celery.bin.celery", "celery.worker.worker", *SERVED)}
"""What a program needs anyway and what, when imported, starts no thread and looks at no setting.

gunicorn is not among them: its import notes the folder in which it serves.
"""
ROOT = Path(__file__).parent.parent
SERVICE = "service.app"
"""The module that imports the service, for programs in `ROOT`: in another folder is another service."""
LARGEST_REQUEST = 1_000_000  # bytes


class Program:
    """A process that the fork server started: waited for and ended as a `subprocess.Popen` is."""

    def __init__(self, told: socket.socket) -> None:
        self.pid = int(told.recv(20))
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """Return how the program has ended, or nothing while it runs: a negative number is a signal's."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return how it was; raise `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(20))
            except (BlockingIOError, TimeoutError) as error:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from error
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if the program has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the program to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the program at once."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process from which all programs with the same libraries are forked."""

    def __init__(self, libraries: Sequence[str], *, clocked: bool = False) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._folder = TemporaryDirectory()
        clock = ["-m", "tests.clock", f"{self._folder.name}/clock"] if clocked else []
        command = [sys.executable, *clock, __file__, str(theirs.fileno()), *libraries]
        with theirs:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def start(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        given: IO[bytes],
        output: IO[bytes],
        errors: IO[bytes],
        clock: Path | None = None,
    ) -> Program:
        """Start a Python program in a session of its own, in this folder, with this environment alone.

        `clock` is the file of the clock that it goes by, if the server is one for that.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps([list(command), str(folder), dict(environment), clock and str(clock)]).encode()
        with theirs:
            files = [file.fileno() for file in (theirs, given, output, errors)]
            socket.send_fds(self._control, [request], files)
        return Program(ours)

    def run(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], given: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python program to its end; raise `subprocess.TimeoutExpired` after so many seconds."""
        with TemporaryFile() as stdin, TemporaryFile() as output, TemporaryFile() as errors:
            stdin.write(given.encode())
            stdin.seek(0)
            program = self.start(command, folder, environment, given=stdin, output=output, errors=errors)
            try:
                code = program.wait(seconds)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
                raise
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(command, code, output.read().decode(), errors.read().decode())

    def _end(self) -> None:
        self._control.close()
        self._process.wait()
        self._folder.cleanup()


@cache
def _server(libraries: Sequence[str], clocked: bool) -> ForkServer:
    return ForkServer(libraries, clocked=clocked)


def fork_server(program: str, folder: Path, *, clocked: bool = False) -> ForkServer:
    """Return the server for programs of this name in this folder; it ends with this process.

    Programs without a list of libraries are forked without any.
    """
    libraries = LIBRARIES.get(program, ())
    return _server((*libraries, SERVICE) if libraries and folder == ROOT else libraries, clocked)


def _serve(control: socket.socket) -> None:
    """Fork what is asked for. Returns in each program; the server ends when nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's to wait for
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 4)
        if not request:
            sys.exit()
        if not os.fork():
            control.close()
            return _keep(request, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(request: bytes, told: int, *files: int) -> None:
    """Fork the program, and tell of it until its end. Returns in the program alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        for file in files:
            os.close(file)
        with socket.socket(fileno=told) as teller:
            teller.send(str(pid).encode())
            teller.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        os._exit(0)
    os.close(told)
    os.setsid()
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv, folder, environment, clock = json.loads(request)
    sys.path[0] = str(Path(sys.argv[0]).parent)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if clock:
        time.monotonic.follow(Path(clock))  # type: ignore[attr-defined]
    # What an import makes for one start of the service, and two must not share.
    if executors := sys.modules.get("service.jobs.executors"):
        vars(executors)["_FAMILY"] = secrets.token_hex(4)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    for library in sys.argv[2:]:
        import_module(library)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_path(sys.argv[0], run_name="__main__")
