"""Keeps calls away from a service that is down or has asked for a pause."""

import math
import threading
import time
from collections.abc import Callable
from random import SystemRandom

from service.jobs.operation import Postponed

AFTER = 10  # failures in a row, of all processes that share the work
LEAST = 3  # of one process
FIRST = 1.0  # seconds until the first probe; doubled with every one that fails
LONGEST = 10.0  # seconds between probes, so that work goes on soon after the service is back
PROBED = 0.5  # seconds that the others wait while a probe is under way
_FRACTION = SystemRandom().random


class Breaker:
    """Counts failures in a row; after ten it lets one call at a time try whether the service is back.

    Of several processes each counts its share of the ten, at least three: else a few images would have failed for good
    before any process had seen ten.

        closed ──10 failures in a row, or pause()──▶ open ──time is up──▶ half-open
           ▲                                          ▲                      │
           │                                          └── the probe failed ──┤
           └───────────────── any answer that shows it is up ────────────────┘

    A call is `probe = enter()`, then `succeeded()`, `failed(probe)`, `pause()` or none of them, and
    in any case `leave(probe)`. Calls that were under way when it opened simply end: their failures
    change nothing, their success closes it. A pause that the service asked for is never cut short.

    `worked_before` returns whether the service has ever answered, also to others and before this process.
    Thread-safe. `clock` and `fraction` (a random number from 0 to 1) are there for tests.
    """

    def __init__(
        self,
        worked_before: Callable[[], bool] = lambda: False,
        *,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
        fraction: Callable[[], float] = _FRACTION,
    ) -> None:
        self._clock = clock
        self._fraction = fraction
        self._worked_before = worked_before
        self._after = max(LEAST, math.ceil(AFTER / processes))
        self._worked = False
        self._lock = threading.Lock()
        self._failures = 0  # in a row, while closed
        self._opened = 0  # times in a row that it opened; 0 is closed
        self._until = 0.0  # no call before
        self._pauses = 0  # in a row
        self._paused = 0.0  # no call before, because the service said so; 0 is no pause
        self._probing = False
        self._begun = 0.0  # when the probe began
        self._since = 0.0  # when the outage began

    def limit(self) -> int | None:
        """Return how many calls may be under way: no bound, 0 while open, 1 while half-open."""
        if not self._opened and not self._paused:
            return None
        with self._lock:
            if self._left() > 0:
                return 0
            return 1 if self._opened else None

    def enter(self) -> bool:
        """Admit a call and return whether it is the probe; raise `Postponed` when none may begin."""
        if not self._opened and not self._paused:
            return False
        with self._lock:
            left = self._left()
            if left > 0:
                raise Postponed(left)
            self._paused = 0.0
            if not self._opened:
                return False
            if self._probing:
                raise Postponed(PROBED)
            self._probing = True
            self._begun = self._clock()
            return True

    def leave(self, probe: bool) -> None:
        """Free the probe's place, whatever came of it."""
        if probe:
            with self._lock:
                self._probing = False

    def succeeded(self) -> None:
        """Count an answer that shows that the service is up."""
        self._worked = True
        if self._failures or self._opened or self._pauses:
            with self._lock:
                self._failures = self._opened = 0
                self._until = 0.0
                if self._clock() >= self._paused:
                    self._pauses = 0

    def failed(self, probe: bool, wait: float | None = None) -> bool:
        """Count a call that the service did not serve, and return whether it is the first in a row.

        `wait` is what the service asked for, in seconds.
        """
        with self._lock:
            now = self._clock()
            if self._opened:
                if probe:
                    # From the probe's beginning: one that hung for its whole time-out has waited already.
                    self._open(self._begun, wait)
                return False
            self._failures += 1
            is_first = self._failures == 1
            if self._failures >= self._after:
                self._since = now
                self._open(now, wait)
            return is_first

    def pause(self, wait: float | None) -> float:
        """Stop all calls for `wait` seconds, else for a back-off; then one call goes first.

        Return the seconds that are left of the pause.
        """
        with self._lock:
            now = self._clock()
            if now >= self._paused:  # the calls beside it that hear the same are not another step
                self._pauses += 1
            self._paused = max(self._paused, now + (wait or self._delay(self._pauses)))
            if not self._opened:
                self._since = now
                self._opened = 1
            return self._paused - now

    def has_worked(self) -> bool:
        """Return whether the service has ever answered: if not, its address is more likely wrong than itself down."""
        self._worked = self._worked or self._worked_before()
        return self._worked

    def outage(self) -> float:
        """Return for how many seconds it has not been closed."""
        with self._lock:
            return self._clock() - self._since if self._opened else 0.0

    def wait(self) -> float:
        """Return the seconds until the next call may begin."""
        with self._lock:
            return max(0.0, self._left())

    def _left(self) -> float:
        return max(self._until, self._paused) - self._clock()

    def _open(self, since: float, wait: float | None) -> None:
        self._failures = 0
        self._opened += 1
        self._until = since + max(self._delay(self._opened), wait or 0.0)

    def _delay(self, step: int) -> float:
        """Return 1, 2, 4, 8, 10, 10 … seconds, less up to a quarter so that processes do not march in step."""
        return float(min(LONGEST, FIRST * 2 ** min(step - 1, 10))) * (1 - self._fraction() / 4)
