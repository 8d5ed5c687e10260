"""One photo through an engine: checked, looked at, and timed."""

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, TypeVar

from service.errors import Problem, Unavailable
from service.features.faces.engines.engine import Detections, Engine
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits, Picture, check
from service.jobs.operation import Cancelled, Failure, back_off

MOST_ATTEMPTS = 10
NOTHING = Detections(())
REJECTED = "image_rejected"
"""The error of a photo that is no better at the next try, while its bytes are the same."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a photo: its faces, or an error's code and sentence; `digest` is the SHA-256 in hexadecimal."""

    picture: Picture | None = None
    found: Detections = NOTHING
    error: tuple[str, str] | None = None
    digest: str | None = None
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Analysis:
    """An engine and the limits of what it is given; `stopped` ends its waits early."""

    engine: Engine
    limits: Limits
    pixels: PixelBudget
    digests: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)

    def look_at(
        self, open_photo: Callable[[], BinaryIO], use: Callable[[bytes, Detections], None] | None = None
    ) -> Seen:
        """Check the photo, ask the engine, and hand bytes and faces to `use`; raise nothing but what is no photo's."""
        begin = time.perf_counter()
        picture, digest, found, error = None, None, NOTHING, None
        try:
            with open_photo() as stream:
                picture = check(stream, "", self.limits, self.pixels)
                image = stream.read()
            digest = hashlib.sha256(image).hexdigest() if self.digests else None
            found = self._detect(image)
            if use:
                use(image, found)
        except Unavailable as problem:
            error = ("source_unavailable", problem.detail)
        except Problem as problem:
            error = (REJECTED, problem.detail)
        except Failure as failure:
            error = (failure.code, failure.detail)
        except OSError as fault:
            error = ("file_failed", f"{fault.filename or 'The file'}: {fault.strerror or fault}.")
        except Cancelled:
            error = ("cancelled", "It was not looked at.")
        return Seen(picture, NOTHING if error else found, error, digest, 1000 * (time.perf_counter() - begin))

    def _detect(self, image: bytes) -> Detections:
        """Ask the engine as often as a job of the service would, but no longer than a person wants to wait."""
        attempt = 1
        while True:
            try:
                return Detections.of(self.engine.detect(image, self.stopped.is_set))
            except Failure as failure:
                if attempt >= min(failure.attempts, MOST_ATTEMPTS):
                    raise
                wait = back_off(attempt) if failure.wait is None else failure.wait
                attempt += 1
            if self.stopped.wait(wait):
                raise Cancelled


def in_order(
    function: Callable[[A], B], items: Iterable[A], threads: int, stopped: threading.Event
) -> Generator[B, None, None]:
    """Yield the results of threads in the items' order; few more items are taken than threads can work on.

    When the caller stops early, `stopped` is set, nothing more is begun, and what is under way ends first.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="analysis")
    waiting = iter(items)
    try:
        futures: list[Future[B]] = [pool.submit(function, item) for item in islice(waiting, 4 * threads)]
        while futures:
            yield futures.pop(0).result()
            futures += [pool.submit(function, item) for item in islice(waiting, 1)]
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def all_of(function: Callable[[A], B], items: Sequence[A], pool: ThreadPoolExecutor | None) -> list[B]:
    """Return all results in order, by the threads of the pool, or by this one where there is none."""
    return list(pool.map(function, items) if pool else map(function, items))
