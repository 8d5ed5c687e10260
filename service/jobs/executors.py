"""Where jobs run: the seam, and executors side by side behind it."""

import secrets
import socket
from typing import Protocol

GRACE = 15
"""Seconds that what runs may take to end after SIGTERM. The process is gone within 25, also on a busy machine."""

_FAMILY = secrets.token_hex(4)
"""Stands for a process with all that are forked from it: no two starts of the service have the same."""


class Executor(Protocol):
    """Runs the jobs that the rows describe. The database tells it of them."""

    def start(self) -> None:
        """Begin to work; call it after the fork."""

    def cancel(self, task: str, kind: str | None = None) -> None:
        """Stop a task's runs in this process, of one kind or all: none begins, and none makes another call."""

    def begin_stop(self) -> None:
        """Claim nothing more; return at once. The time of grace begins with the first call."""

    def stop(self) -> None:
        """Let what runs end within the time of grace, and give back the rest."""

    def working(self) -> bool:
        """Return whether jobs are being taken."""

    def check(self) -> None:
        """Raise an error if jobs that are added now would not be taken."""


def owner_name(pid: int) -> str:
    """Name a process of this family in the rows that it has claimed."""
    return f"{socket.gethostname()}:{_FAMILY}:{pid}"


def family_of(owner: str) -> str:
    """Return what the names of a process's whole family begin with."""
    return owner.rpartition(":")[0] + ":"


class ExecutorGroup:
    """Executors side by side, each with its kinds of jobs: slow work of one takes no thread from another's."""

    def __init__(self, *executors: Executor) -> None:
        self._executors = executors

    def start(self) -> None:
        """Start all."""
        for executor in self._executors:
            executor.start()

    def cancel(self, task: str, kind: str | None = None) -> None:
        """Stop the task's runs in all."""
        for executor in self._executors:
            executor.cancel(task, kind)

    def begin_stop(self) -> None:
        """Claim nothing more."""
        for executor in self._executors:
            executor.begin_stop()

    def stop(self) -> None:
        """Stop all within the one time of grace."""
        self.begin_stop()
        for executor in self._executors:
            executor.stop()

    def working(self) -> bool:
        """Return whether all take jobs."""
        return all(executor.working() for executor in self._executors)

    def check(self) -> None:
        """Raise an error if one does not."""
        for executor in self._executors:
            executor.check()
