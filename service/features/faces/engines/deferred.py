"""An engine that is made with the first image: a start does not import what the engine alone needs."""

from collections.abc import Callable

from service.features.faces.engines.engine import Answer, Engine, never
from service.once import Once


class Deferred:
    """Passes everything on to an engine that it makes when it is first called."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._engine = Once(make)

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, due_at: float = 0.0) -> Answer:
        """Return the faces, as the engine finds them."""
        return self._engine().detect(image, cancelled, due_at)

    def close(self) -> None:
        """Close the engine, if it was made."""
        if self._engine.made:
            self._engine.made.close()
