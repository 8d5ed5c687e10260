"""What it means when a call to FaceCloud fails: a code, a sentence, and the number of attempts that it is worth."""

import http.client
import re

import requests
import urllib3

from service.jobs.operation import Failure

CONNECT_TIMEOUT = 5.0
UNAVAILABLE = frozenset((408, 425, 502, 503, 504))

# Everything that requests, urllib3, http.client and the socket raise. ValueError is http.client's for
# a header that cannot be sent.
TRANSPORT = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_UNREACHED = (urllib3.exceptions.NewConnectionError, ConnectionRefusedError)
_UNREACHED_IN_TIME = (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
_PROXY = (requests.exceptions.ProxyError, requests.exceptions.InvalidProxyURL, urllib3.exceptions.ProxyError)
_INSECURE = (requests.exceptions.SSLError, urllib3.exceptions.SSLError)
_BROKEN = (requests.ConnectionError, urllib3.exceptions.ProtocolError, OSError)

_QUOTA = re.compile(r"quota|limit|balance|billing|payment|paid|subscription|tariff|plan\b|funds", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+")
_MARKUP = re.compile(r"<[^>]*>?")


class Unserved(Failure):
    """FaceCloud did not serve the call: the breaker counts it."""

    def __init__(
        self, detail: str, code: str = "upstream_unavailable", *, attempts: int = 5, wait: float | None = None
    ) -> None:
        super().__init__(code, detail, attempts=attempts, wait=wait)


class Unreached(Unserved):
    """There was nobody to take the call, so the image cannot be the cause."""


class Refused(Failure):
    """FaceCloud refused the account, not the image: so it would the images after it."""


def unanswered(error: Exception, seconds: float) -> Failure:
    """Return what it means that a call ended without an answer, in a sentence without addresses or secrets."""
    for kinds, detail in (
        (_PROXY, "FaceCloud could not be reached by the proxy that HTTP_PROXY or HTTPS_PROXY names."),
        (_UNREACHED, "FaceCloud could not be reached."),
        (_UNREACHED_IN_TIME, f"FaceCloud could not be reached within {CONNECT_TIMEOUT:g} s."),
        (TIMEOUTS, f"FaceCloud did not answer within {seconds:g} s."),
        (_INSECURE, "No secure connection to FaceCloud could be made."),
        (_BROKEN, "FaceCloud broke off the connection before its answer was complete."),
    ):
        if isinstance(error, kinds):
            return (Unreached if kinds in (_PROXY, _UNREACHED, _UNREACHED_IN_TIME) else Unserved)(detail)
    return Unserved("FaceCloud's answer could not be read.")


def answered(status: int, message: str, retry_after: float | None) -> Failure:
    """Return what an answer means that is no success; `message` is its text, `retry_after` is in seconds."""
    said = sentence(f"FaceCloud answered {status}", message)
    if status in UNAVAILABLE:
        return Unserved(said, wait=retry_after)
    if status == 500:
        return Failure("upstream_unavailable", said, attempts=2)
    if status == 429:
        return Unserved(said, "upstream_quota", attempts=10, wait=retry_after)
    if status == 402 or (status == 403 and _QUOTA.search(message)):
        return Refused("upstream_quota", said)
    if status == 403:
        return Refused("upstream_unauthorized", said)
    return Failure("upstream_rejected", said)


def sentence(what: str, words: str) -> str:
    """Return what happened and FaceCloud's own words, if it gave any, as one sentence with its full stop."""
    said = f"{what}: {words}" if words else what
    return said if said.endswith((".", "!", "?", "…")) else f"{said}."


def one_line(words: str, secrets: tuple[str, ...]) -> str:
    """Return FaceCloud's own words as one short line without markup or control characters; nothing if one is secret."""
    words = _MARKUP.sub(" ", words)
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    if _JWT.search(words) or any(secret and secret in words for secret in secrets):
        return ""
    return words if len(words) <= 200 else f"{words[:199]}…"
