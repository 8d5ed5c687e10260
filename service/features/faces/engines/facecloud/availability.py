"""Whether FaceCloud serves, as far as its last answers show, and whether a failure is the image's own."""

import time

from service.features.faces.engines.circuit_breaker import Breaker
from service.features.faces.engines.engine import History
from service.features.faces.engines.facecloud.failures import Refused, Unreached, Unserved, sentence
from service.jobs.operation import Failure

REMEMBERED = 30.0  # seconds that a refused account or quota is answered from memory
REFUSALS = 10  # calls in a row whose fresh token was refused, before that is remembered too
PATIENCE = 7200.0  # seconds of an outage in which a failed probe costs its image no attempt
PATIENCE_UNREACHED = 86_400.0  # the same where nobody takes the call, so that no image can be the cause


class Availability:
    """What is known from the calls before. One object serves all threads."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self._served_at = float("-inf")
        self._refusal: tuple[float, Refused] | None = None
        self._refused_tokens = 0

    def served(self, begun: float) -> None:
        """Note that a call that began then, in seconds since 1970, was answered with faces."""
        self._refused_tokens = 0
        self._refusal = None
        self._served_at = max(self._served_at, begun)

    def refused(self, failure: Refused) -> None:
        """Note that the account was refused."""
        self._refusal = (time.time(), failure)

    def raise_refusal(self, due_at: float) -> None:
        """Refuse what already waited when FaceCloud refused another; what was started since is a try of its own."""
        refusal = self._refusal
        if refusal is not None and due_at <= refusal[0] and time.time() < refusal[0] + REMEMBERED:
            raise Failure(refusal[1].code, refusal[1].detail)

    def token_refused(self, words: str) -> Failure:
        """Count a fresh token that was refused with these words, and return the failure.

        After ten in a row it is the account's.
        """
        self.breaker.succeeded()
        self._refused_tokens += 1
        kind = Refused if self._refused_tokens >= REFUSALS else Failure
        return kind("upstream_unauthorized", sentence("FaceCloud refused the token that it had just given", words))

    def is_away(self, failure: Failure) -> bool:
        """Return whether FaceCloud is merely away, as far as one can tell by now."""
        patience = PATIENCE_UNREACHED if isinstance(failure, Unreached) else PATIENCE
        return self.breaker.outage() < patience and self.breaker.has_worked()

    def is_nobodys_fault(self, failure: Unserved, probe: bool, history: History) -> bool:
        """Count a call that was not served, and return whether FaceCloud is away and the image not to blame."""
        is_unreached, is_first = isinstance(failure, Unreached), False
        # Where others were served since the image first failed, it is likelier the image than FaceCloud.
        is_suspect = history.failed_at is not None and self._served_at > history.failed_at and not is_unreached
        if failure.code == "upstream_quota":
            failure.wait = self.breaker.pause(failure.wait)
        elif probe or not is_suspect:
            is_first = self.breaker.failed(probe, failure.wait)
        is_free = (probe and not is_suspect) or (is_unreached and not is_first)
        return is_free and self.is_away(failure)
