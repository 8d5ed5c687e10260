"""Where jobs run: the seam, and executors side by side behind it."""

import socket
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

GRACE = 15
"""Seconds that what runs may take to end after SIGTERM. The process is gone within 25, also on a busy machine."""

Added = Mapping[str, Sequence[int]]
"""The ids of new jobs, by their kind."""


class Executor(Protocol):
    """Runs the jobs that the rows describe."""

    def start(self) -> None:
        """Begin to work; call it after the fork."""

    def wake(self, added: Added) -> None:
        """Say that jobs were added; call it after the commit."""

    def cancel(self, task: str) -> None:
        """Stop a task's runs in this process: none begins, and none makes another call."""

    def begin_stop(self) -> None:
        """Claim nothing more; return at once."""

    def stop(self, grace: float) -> None:
        """Let what runs end within `grace` seconds, and give back the rest."""

    def working(self) -> bool:
        """Tell whether jobs are being taken."""

    def check(self) -> None:
        """Raise an error if jobs that are added now would not be taken."""


def owner_name(pid: int) -> str:
    """Name a process of this machine in the rows that it has claimed."""
    return f"{socket.gethostname()}:{pid}"


class Lanes:
    """Executors side by side, each with its kinds of jobs: slow work of one takes no thread from another's."""

    def __init__(self, *lanes: Executor) -> None:
        self._lanes = lanes

    def start(self) -> None:
        """Start all."""
        for lane in self._lanes:
            lane.start()

    def wake(self, added: Added) -> None:
        """Wake all: what was added may be any lane's."""
        for lane in self._lanes:
            lane.wake(added)

    def cancel(self, task: str) -> None:
        """Stop the task's runs in all."""
        for lane in self._lanes:
            lane.cancel(task)

    def begin_stop(self) -> None:
        """Let none claim anything more."""
        for lane in self._lanes:
            lane.begin_stop()

    def stop(self, grace: float) -> None:
        """Stop all within the one time of grace."""
        end = time.monotonic() + grace
        self.begin_stop()
        for lane in self._lanes:
            lane.stop(max(0.0, end - time.monotonic()))

    def working(self) -> bool:
        """Tell whether all take jobs."""
        return all(lane.working() for lane in self._lanes)

    def check(self) -> None:
        """Raise an error if one does not."""
        for lane in self._lanes:
            lane.check()
