"""The engine that sends images to FaceCloud."""

from collections.abc import Callable
from functools import partial

from service.features.faces.engines.engine import Detection, never
from service.features.faces.engines.facecloud.account import Account
from service.features.faces.engines.facecloud.connections import Connections
from service.features.faces.engines.facecloud.failures import Refused
from service.features.faces.engines.facecloud.session import Session
from service.features.faces.engines.facecloud.wire import Answer, read_faces
from service.imaging.decode import to_jpeg
from service.imaging.failures import image_failures
from service.imaging.pixel_budget import PixelBudget


class FaceCloud:
    """Sends images to a FaceCloud host.

    `url` is the host's root, with or without `/api/v1`. `timeout` is the seconds to wait for an
    answer; to connect it waits 5. `concurrency` is the number of connections kept alive: how many calls
    are under way is the caller's to bound. `convert` makes the JPEG that is sent, and
    returns its side over the original's, by which boxes are scaled back.
    `observe` is called with the outcome (the status, `timeout` or `unanswered`) and the seconds of
    every HTTP call. One object serves all threads.

    What becomes of an answer, as `code`, and what it costs:

    * no answer, a time-out, 408, 425, 502, 503, 504, no JSON under 200: `upstream_unavailable`; 429: `upstream_quota`.
      They are `Unserved`: time, and `Retry-After` is obeyed up to an hour.
    * 500: `upstream_unavailable`, two attempts. It says neither that FaceCloud is up nor that it is down.
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
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self._convert = convert or partial(to_jpeg, max_pixels=12_000_000, budget=PixelBudget())
        self._account = Account()
        self._connections = Connections(url, timeout, concurrency, observe)
        self._session = Session(self._connections, email, password, self._account)

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, due_at: float = 0.0) -> list[Detection]:
        """Return the faces of an image of an accepted type, largest box first, boxes on the upright original."""
        self._account.raise_refusal(due_at)
        try:
            with image_failures():
                jpeg, scale = self._convert(image)
            faces = self._faces(self._session.send_image(jpeg, cancelled, due_at), scale)
        except Refused as failure:
            self._account.refused(failure)
            raise
        self._account.accepted()
        return faces

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._connections.close()

    def _faces(self, answer: Answer, scale: float) -> list[Detection]:
        if answer.status == 200:
            return read_faces(answer, scale)
        if answer.is_without_faces:
            return []
        raise self._session.failure(answer)
