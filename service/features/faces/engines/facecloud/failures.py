"""What it means when a call to FaceCloud fails: a code, a sentence, and whether it costs an attempt or time."""

import http.client
import re

import requests
import urllib3

from service.jobs import operation
from service.jobs.operation import Answered, Failure

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


class Refused(Answered):
    """FaceCloud refused the account, not the image: so it would the images after it."""


class Unserved(operation.Unserved):
    """FaceCloud did not serve the call. `wait` is the seconds that it asked for."""

    def __init__(self, detail: str, code: str = "upstream_unavailable", *, wait: float | None = None) -> None:
        super().__init__(detail, who="FaceCloud", code=code, wait=wait)


def unanswered(error: Exception, seconds: float) -> Unserved:
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
            return Unserved(detail)
    return Unserved("FaceCloud's answer could not be read.")


def answered(status: int, message: str, retry_after: float | None) -> Failure:
    """Return what an answer means that is no success; `message` is its text, `retry_after` is in seconds."""
    said = sentence(f"FaceCloud answered {status}", message)
    if status in UNAVAILABLE:
        return Unserved(said, wait=retry_after)
    if status == 500:
        return Failure("upstream_unavailable", said, attempts=2)
    if status == 429:
        return Unserved(said, "upstream_quota", wait=retry_after)
    if status == 402 or (status == 403 and _QUOTA.search(message)):
        return Refused("upstream_quota", said)
    if status == 403:
        return Refused("upstream_unauthorized", said)
    return Answered("upstream_rejected", said)


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
