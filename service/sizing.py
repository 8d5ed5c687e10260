"""How many threads, calls and cores one process may use."""

import math
import os

from service.config import Settings


def workers_of(settings: Settings) -> int:
    """Return how many files one server process works on at a time.

    FaceCloud's threads wait for the network; the embedded engine's compute, so together they get the cores once.
    """
    if settings.workers:
        return settings.workers
    return 8 if settings.engine == "facecloud" else share_of_cores(settings)


def share_of_cores(settings: Settings) -> int:
    """Return how many cores one server process may keep busy, so that all together keep each of them busy once."""
    return max(1, math.ceil(len(os.sched_getaffinity(0)) / settings.web_concurrency))
