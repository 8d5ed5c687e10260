"""An engine that is watched: what its calls come to."""

import time
from collections.abc import Callable
from functools import cache, cached_property, partial

from prometheus_client import Counter, Gauge, Histogram

from service.features.faces.engines.engine import Detections, Engine, never
from service.jobs.operation import Cancelled, Failure
from service.telemetry.metrics import Metrics


class Measured:
    """Passes everything on to an engine, and counts its calls under the engine's name."""

    def __init__(self, engine: Engine, name: str, metrics: Metrics) -> None:
        self._engine = engine
        self._name = name
        self._metrics = metrics

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

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, due_at: float = 0.0) -> Detections:
        """Return the faces, as the engine finds them."""
        buffer = self._metrics.buffer
        buffer.add(self._in_flight.inc)
        begin = time.perf_counter()
        outcome = "engine_failed"
        try:
            found = Detections.of(self._engine.detect(image, cancelled, due_at))
            outcome = "ok"
        except Failure as failure:
            outcome = failure.code
            raise
        except Cancelled:
            outcome = "cancelled"
            raise
        finally:
            buffer.add(partial(self._seconds.observe, time.perf_counter() - begin))
            buffer.add(self._calls(outcome).inc)
            buffer.add(self._in_flight.dec)
        return found

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
