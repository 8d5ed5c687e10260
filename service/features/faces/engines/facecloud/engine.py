"""The engine that sends images to FaceCloud."""

import time
from collections.abc import Callable
from functools import partial

from service.errors import Problem
from service.features.faces.engines.circuit_breaker import Breaker
from service.features.faces.engines.engine import NONE, Detection, History, never
from service.features.faces.engines.facecloud.availability import Availability
from service.features.faces.engines.facecloud.connections import Connections
from service.features.faces.engines.facecloud.failures import Refused, Unserved
from service.features.faces.engines.facecloud.session import AGAIN, Session
from service.features.faces.engines.facecloud.wire import Answer, read_faces
from service.imaging.decode import to_jpeg
from service.imaging.pixel_budget import PixelBudget
from service.jobs.operation import Failure, Postponed


class FaceCloud:
    """Sends images to a FaceCloud host.

    `url` is the host's root, with or without `/api/v1`. `timeout` is the seconds to wait for an
    answer; to connect it waits 5. `concurrency` is the number of connections kept alive: how many calls
    are under way is the caller's to bound. `convert` makes the JPEG that is sent, and
    returns its side over the original's, by which boxes are scaled back.
    `observe` is called with the outcome (the status, `timeout` or `unanswered`) and the seconds of
    every HTTP call. One object serves all threads.

    What becomes of an answer, as `code` and the number of attempts it is worth:

    * no answer, a time-out, 408, 425, 502, 503, 504, no JSON under 200: `upstream_unavailable`, 5.
      Ten in a row and the breaker opens; an image that failed before others were served says nothing
      of FaceCloud, so it does not count there. Where FaceCloud has answered before, a probe that fails is
      `Postponed`, so that an outage of up to two hours costs the waiting images nothing.
      Where it never has, the address is likely wrong, and the images fail with that reason.
    * nobody there to take the call, where FaceCloud has answered before: the same for the first in a
      row, so that the reason can be seen; the others are `Postponed`, since no image can be its cause.
    * 500: `upstream_unavailable`, 2. It says neither that FaceCloud is up nor that it is down.
    * 429: `upstream_quota`, 10. All calls pause as Retry-After says, else by a back-off.
    * 402, and 403 that speaks of a quota: `upstream_quota`, permanent, and for 30 s the images that
      waited beside it fail without being sent; what is started later is tried again. A refused account,
      and any other 403: so too, `upstream_unauthorized`.
    * anything else: `upstream_rejected`, permanent. `image_rejected` where the image could not even
      be made a JPEG here.
    """

    def __init__(
        self,
        url: str,
        email: str,
        password: str,
        *,
        timeout: float = 30.0,
        concurrency: int = 8,
        convert: Callable[[bytes], tuple[bytes, float]] | None = None,
        breaker: Breaker | None = None,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self._convert = convert or partial(to_jpeg, max_pixels=12_000_000, budget=PixelBudget())
        self._breaker = breaker or Breaker()
        self._availability = Availability(self._breaker)
        self._connections = Connections(url, timeout, concurrency, observe)
        self._session = Session(self._connections, email, password, self._availability)

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, history: History = NONE) -> list[Detection]:
        """Return the faces of an image of an accepted type, largest box first, boxes on the upright original."""
        self._availability.raise_refusal(history.due_at)
        probe = self._breaker.enter()
        try:
            jpeg, scale = self._convert(image)
            begun = time.time()
            faces = self._faces(self._session.send_image(jpeg, cancelled, history.due_at), scale)
        except Problem as problem:
            raise Failure("image_rejected", problem.detail) from problem
        except Unserved as failure:
            if self._availability.is_nobodys_fault(failure, probe, history):
                raise Postponed(max(self._breaker.wait(), AGAIN)) from failure
            raise
        except Refused as failure:
            self._availability.refused(failure)
            raise
        finally:
            self._breaker.leave(probe)
        self._availability.served(begun)
        return faces

    def limit(self) -> int | None:
        """Return how many calls may be under way now: 0 or 1 while FaceCloud is away."""
        return self._breaker.limit()

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._connections.close()

    def _faces(self, answer: Answer, scale: float) -> list[Detection]:
        if answer.status == 200:
            faces = read_faces(answer, scale)
        elif answer.is_without_faces:
            faces = []
        else:
            raise self._session.failure(answer)
        self._breaker.succeeded()
        return faces
