"""What FaceCloud has said of the account: a refusal holds for the images that waited beside the refused one."""

import time

from service.features.faces.engines.facecloud.failures import Refused, sentence
from service.jobs.operation import Answered, Failure

REMEMBERED = 30.0  # seconds that a refused account or quota is answered from memory
REFUSALS = 10  # calls in a row whose fresh token was refused, before that is remembered too


class Account:
    """What is known from the calls before. One object serves all threads."""

    def __init__(self) -> None:
        self._refusal: tuple[float, float, Refused] | None = None
        self._refused_tokens = 0

    def accepted(self) -> None:
        """Note that a call was answered with faces."""
        self._refused_tokens = 0
        self._refusal = None

    def refused(self, failure: Refused) -> None:
        """Note that the account was refused."""
        self._refusal = (time.time(), time.monotonic() + REMEMBERED, failure)

    def raise_refusal(self, due_at: float) -> None:
        """Refuse what already waited when FaceCloud refused another; what was started since is a try of its own."""
        if self._refusal is None:
            return
        moment, until, failure = self._refusal
        if due_at <= moment and time.monotonic() < until:
            raise Failure(failure.code, failure.detail)

    def token_refused(self, words: str) -> Failure:
        """Count a fresh token that was refused with these words, and return the failure.

        After ten in a row it is the account's.
        """
        self._refused_tokens += 1
        kind = Refused if self._refused_tokens >= REFUSALS else Answered
        return kind("upstream_unauthorized", sentence("FaceCloud refused the token that it had just given", words))
