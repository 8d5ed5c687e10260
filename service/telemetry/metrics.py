"""What is counted, over all processes of this machine, in the form that Prometheus reads.

Each process counts in files of its own, and whoever is asked adds them up. A server process that takes a dead one's
place goes on with its files: so no count is lost, and there are never more files than places.
"""

import collections
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.runtime_folder import RuntimeFolder

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
"""The one route of all paths that are none, and the one method of all that are none: clients can make up any number."""
FLUSH_SECONDS = 0.05
"""Seconds after which what threads counted is in the files; so much a killed process's counts may lack."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


_FILE = re.compile(r"(?:counter|histogram|gauge_livesum)_(\d{1,10})(?:-\d{1,6})?\.db")
"""Names of the library's files, with the process or server that counts there."""


class Waiting(NamedTuple):
    """How many jobs of a kind have a status, and for how many seconds the oldest of them could have run."""

    kind: str
    status: str
    number: int
    oldest: float


class Buffer:
    """What threads count, kept in plain memory until one thread writes it to the files.

    Each write there takes the one lock that all counters of a process share, some seven times for a call of an engine.
    A deque needs no lock: that saves 13 µs of an image's processor time, about 1 %.
    """

    def __init__(self) -> None:
        self._changes: collections.deque[Callable[..., None]] = collections.deque()
        self._is_filled = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, change: Callable[..., None]) -> None:
        """Make this change within FLUSH_SECONDS, or at the next flush: a counter's `inc`, or what takes no argument."""
        self._changes.append(change)
        if self._is_filled.is_set():
            return
        self._is_filled.set()
        with self._lock:
            if not self._thread:  # not before the first change, which comes after the fork
                self._thread = threading.Thread(target=self._keep_flushing, name="metrics", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Make all changes that were added before; a counter's that came several times, in one."""
        with self._lock:
            added = collections.Counter(self._changes.popleft() for _ in range(len(self._changes)))
            for change, times in added.items():
                if times == 1:
                    change()
                else:
                    change(times)

    def _keep_flushing(self) -> None:
        while self._is_filled.wait():
            time.sleep(FLUSH_SECONDS)
            self._is_filled.clear()
            self.flush()


class Metrics:
    """The counters. Until `join` they are this process's own; every one has a label, so that none is there before.

    The runtime folder is the same for all processes that count together.
    """

    folder: Path

    def __init__(self, runtime_folder: RuntimeFolder) -> None:
        self._runtime_folder = runtime_folder
        self.buffer = Buffer()
        self._joined = False
        self._place: str | None = None
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry, buckets=SECONDS)
        # Of all processes that live.
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self.requests = counter("http_requests", "Requests by route, method and status.", ("route", "method", "status"))
        self.request_seconds = histogram(
            "http_request_duration_seconds", "Seconds until the last byte of an answer.", ("route", "method")
        )
        self.jobs = counter("jobs_ended", "Runs of jobs by kind and outcome.", ("kind", "outcome"))
        self.calls = counter("engine_calls", "Calls of the engine by outcome.", ("engine", "outcome"))
        self.call_seconds = histogram("engine_call_duration_seconds", "Seconds of a call of the engine.", ("engine",))
        self.in_flight = gauge("engine_calls_in_flight", "Calls under way.", ("engine",))
        self.outages = gauge(
            "job_outages", "Processes that keep jobs of a kind from what does not serve them.", ("kind",)
        )
        self.answers = counter("facecloud_answers", "FaceCloud's HTTP answers by status.", ("outcome",))
        self.swept = counter("files_swept", "Files removed that no row knew.", ("kind",))

    def join(self) -> None:
        """Count in the folder from now on: before anything is counted, and before the fork.

        The library reads the folder's name from the environment, so it is put there.
        """
        self.folder = self._runtime_folder.make()
        self._sweep(_is_alive)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(lambda: self._place or str(os.getpid()))  # type: ignore[no-untyped-call]
        self._joined = True

    def take_place(self, server: int, place: int) -> None:
        """Count as the n-th process of a server, after the fork: on from where the one before it stopped."""
        self._place = f"{server}-{place}"

    def free_place(self, server: int, place: int) -> None:
        """Forget what a dead process had under way; what it counted stays."""
        mark_process_dead(f"{server}-{place}", str(self.folder))  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """Remove this server's files at its end, and the folder if nobody else counts there."""
        self._sweep(lambda owner: owner != os.getpid() and _is_alive(owner))
        if not any(_FILE.fullmatch(path.name) for path in self.folder.iterdir()):
            for lock in self.folder.glob("pictures-*.lock"):
                lock.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def text(self, waiting: Iterable[Waiting] | None) -> bytes:
        """Return all counters, and the queue as it was read just now; None says that it could not be read."""
        self.buffer.flush()
        registry = CollectorRegistry()
        if self._joined:
            _Files(registry, str(self.folder))  # type: ignore[no-untyped-call]
        else:
            registry.register(self._registry)
        registry.register(_Queue(waiting))
        return generate_latest(registry)

    def _sweep(self, spared: Callable[[int], bool]) -> None:
        """Remove the files of processes, or of servers with all their places, that are not spared."""
        for path in self.folder.iterdir():
            found = _FILE.fullmatch(path.name)
            if found and not spared(int(found[1])):
                path.unlink(missing_ok=True)


class _Files(MultiProcessCollector):
    """The files of all processes, but for those that a process has just made and not filled, which cannot be read."""

    def collect(self) -> Iterable[Metric]:
        """Give the sums."""
        files = [str(path) for path in Path(self._path).glob("*.db") if _size(path)]
        found: Iterable[Metric] = self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return found


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


class _Queue(Collector):
    """The queue, which is read once for all processes."""

    def __init__(self, waiting: Iterable[Waiting] | None) -> None:
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        """Give the gauges."""
        up = GaugeMetricFamily("database_up", "Whether the queue could be read; without it its numbers are missing.")
        up.add_metric((), float(self._waiting is not None))
        yield up
        jobs = GaugeMetricFamily("jobs", "Jobs that wait or run, by kind and status.", labels=("kind", "status"))
        oldest = GaugeMetricFamily(
            "jobs_oldest_due_seconds", "For how long the oldest waiting job could have run.", labels=("kind",)
        )
        for row in self._waiting or ():
            jobs.add_metric((row.kind, row.status), row.number)
            if row.status == "queued":
                oldest.add_metric((row.kind,), row.oldest)
        yield from (jobs, oldest)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
