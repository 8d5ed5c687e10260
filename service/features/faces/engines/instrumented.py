"""An engine that is watched: what its calls come to, and when it takes none."""

import logging
import threading
import time
from collections.abc import Callable
from functools import cache, cached_property, partial

from prometheus_client import Counter, Gauge, Histogram

from service.features.faces.engines.engine import NONE, Detections, Engine, History, never
from service.jobs.operation import Cancelled, Failure, Postponed
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Measured:
    """Passes everything on to an engine, and counts its calls under the engine's name."""

    def __init__(self, engine: Engine, name: str, metrics: Metrics) -> None:
        self._engine = engine
        self._name = name
        self._metrics = metrics
        self._paused = False
        self._lock = threading.Lock()

    # Looking a counter up by its labels costs more than counting, so each is looked up once.

    @cached_property
    def _in_flight(self) -> Gauge:
        return self._metrics.in_flight.labels(self._name)

    @cached_property
    def _seconds(self) -> Histogram:
        return self._metrics.call_seconds.labels(self._name)

    @cache  # noqa: B019 - there is one engine, and it lives as long as the process
    def _calls(self, outcome: str) -> Counter:
        return self._metrics.calls.labels(self._name, outcome)

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, history: History = NONE) -> Detections:
        """Return the faces, as the engine finds them."""
        buffer = self._metrics.buffer
        buffer.add(self._in_flight.inc)
        begin = time.perf_counter()
        outcome = "engine_failed"
        try:
            found = Detections.of(self._engine.detect(image, cancelled, history))
            outcome = "ok"
        except Failure as failure:
            outcome = failure.code
            raise
        except Postponed:
            outcome = "postponed"
            raise
        except Cancelled:
            outcome = "cancelled"
            raise
        finally:
            buffer.add(partial(self._seconds.observe, time.perf_counter() - begin))
            buffer.add(self._calls(outcome).inc)
            buffer.add(self._in_flight.dec)
            if outcome != "ok" or self._paused:
                self.limit()  # this call may have opened or closed the breaker
        return found

    def limit(self) -> int | None:
        """Return what the engine takes now."""
        limit = self._engine.limit()
        if (limit is not None) is not self._paused:
            self._note_pause()
        return limit

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _note_pause(self) -> None:
        with self._lock:
            paused = self._engine.limit() is not None
            if paused is self._paused:
                return
            self._paused = paused
            self._metrics.paused.labels(self._name).set(paused)
        if paused:
            logs.event(log, "calls paused", logging.WARNING, engine=self._name)
        else:
            logs.event(log, "calls go on", engine=self._name)
