"""A process that works through jobs without serving: `flask jobs work`."""

import logging
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Any

from service.jobs.executors import Executor
from service.storage.storage import Storage

log = logging.getLogger(__name__)


def work(executor: Executor, storage: Storage, periodic: Sequence[Any]) -> None:
    """Work until SIGTERM or SIGINT; then claim nothing more, and let what runs end within the grace time.

    Returns when that is done; raises SystemExit when the dispatcher has ended by itself.
    """
    # A handler that takes a lock waits for ever where it interrupts the thread that has it, so signals come as bytes.
    asked, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with storage.shared_lock():
        executor.start()
        for work in periodic:
            work.start()
        log.info("working on jobs")
        while not select.select([asked], [], [], 1.0)[0]:
            if not executor.working():
                sys.exit("The dispatcher has ended; the log says why.")
        executor.begin_stop()
        for work in periodic:
            work.stop()
        executor.stop()
    log.info("stopped")
