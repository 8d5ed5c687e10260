"""A clock that a test sets for a whole service: `python -m tests.clock FILE PROGRAM …` runs a program by it.

`time.time` and `time.monotonic` of all the program's processes follow the file, while what blocks (a lock, a socket,
`sleep`) goes on by the real clock. So an hour's waits between probes take half a minute, and a call that the machine
is slow to serve is no failure: of the service's own arithmetic of time nothing is changed, only how fast time goes.

A library that does this from outside (libfaketime 0.9.10, by LD_PRELOAD) was tried: every `Event.wait` with a time-out
hung, at the pace of the real clock too.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

# What the real clock showed at the last change, what this one did, its pace since, and what the time of day is set by.
_LAYOUT = struct.Struct("dddd")
_monotonic = time.monotonic


class Clock:
    """A monotonic clock whose pace all processes that have its file open see change at once, and never a leap.

    The time of day goes with it, and can be set.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(_LAYOUT.pack(_monotonic(), _monotonic(), 1.0, 0.0))
        self.follow(path)

    def follow(self, path: Path) -> None:
        """Show what the clock in this file shows."""
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _LAYOUT.size)

    def __call__(self) -> float:
        """Return the seconds that it shows."""
        real, shown, pace, _ = self._read()
        return shown + (_monotonic() - real) * pace

    def _read(self) -> tuple[float, float, float, float]:
        state = self._shared[:]
        while state != (state := self._shared[:]):  # another process was writing
            pass
        real, shown, pace, ahead = _LAYOUT.unpack(state)
        return real, shown, pace, ahead

    def run(self, pace: float) -> None:
        """Go so many times as fast as the real clock from now on; 0 stands still."""
        now = self()
        self._shared[:] = _LAYOUT.pack(_monotonic(), now, pace, self._read()[3])

    def set(self, ahead: float) -> None:
        """Set the time of day so many seconds ahead of what it would be, or with fewer than none behind."""
        real, shown, pace, _ = self._read()
        self._shared[:] = _LAYOUT.pack(real, shown, pace, ahead)

    def install(self) -> None:
        """Show this clock to everything that this process imports from now on."""
        since = time.time() - _monotonic()
        time.monotonic = self
        time.time = lambda: since + self() + self._read()[3]


if __name__ == "__main__":
    Clock(Path(sys.argv[1])).install()
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
