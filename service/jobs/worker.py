"""A process that works through jobs without serving: `flask jobs work`."""

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from service.jobs.executors import Executor
from service.storage.storage import Storage

log = logging.getLogger(__name__)


def work(executor: Executor, storage: Storage, periodic: Sequence[Any]) -> None:
    """Work until SIGTERM or SIGINT; then claim nothing more, and let what runs end within the grace time.

    Returns when that is done; raises SystemExit when the dispatcher has ended by itself.
    """
    asked = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        executor.begin_stop()
        asked.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with storage.shared_lock():
        executor.start()
        for work in periodic:
            work.start()
        log.info("working on jobs")
        while not asked.wait(1.0):
            if not executor.working():
                sys.exit("The dispatcher has ended; the log says why.")
        for work in periodic:
            work.stop()
        executor.stop()
    log.info("stopped")
