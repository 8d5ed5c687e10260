"""Asks a source over HTTP: within a deadline, whatever the other side does."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
import requests
import urllib3

from service.certificates import system_bundle
from service.deadlines import deadline
from service.features.questions.source import SourceFailed
from service.http.deadline_adapter import DeadlineAdapter

CONNECT_TIMEOUT = 3.05
LARGEST_ANSWER = 4 * 2**20
LONGEST_WAIT = 3600  # seconds of Retry-After that are passed on
RETRY_AFTER = 5


class JSONClient:
    """A JSON service at a base URL. One object serves all threads.

    It is called as `requests` calls: through the proxy, and trusting the certificates, that the environment names.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.verify = system_bundle()
        self._session.max_redirects = 3
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, DeadlineAdapter())
        self._session.headers.update({"Accept": "application/json", "User-Agent": "media-batch-service"})

    def get(self, path: str, parameters: Mapping[str, str], ends_at: float) -> Any:
        """Return the JSON that a GET gives; whatever goes wrong, or lasts beyond the end, is SourceFailed.

        `ends_at` is a time of the monotonic clock.
        """
        seconds = max(0.05, ends_at - time.monotonic())
        try:
            with deadline(seconds):
                content = self._get(path, parameters, seconds)
        except (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise SourceFailed("The source of questions did not answer in time.", RETRY_AFTER) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise SourceFailed("The source of questions could not be reached, or broke off.", RETRY_AFTER) from error
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise SourceFailed("The source of questions answered something that is not JSON.", RETRY_AFTER) from error

    def _get(self, path: str, parameters: Mapping[str, str], seconds: float) -> bytes:
        timeout = (min(CONNECT_TIMEOUT, seconds), seconds)
        with self._session.get(self._url + path, params=parameters, timeout=timeout, stream=True) as response:
            if response.status_code != 200:
                raise SourceFailed(
                    f"The source of questions answered {response.status_code}.",
                    _seconds(response.headers.get("Retry-After")),
                    response.status_code,
                )
            content = b""
            while part := response.raw.read1(65_536, decode_content=True):
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise SourceFailed("The source of questions answered far more than it was asked.", LONGEST_WAIT)
            return content


def _seconds(retry_after: str | None) -> int:
    """Return what a Retry-After asks for, as seconds within bounds."""
    if not retry_after:
        return RETRY_AFTER
    try:
        seconds = urllib3.Retry().parse_retry_after(retry_after)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return RETRY_AFTER
    return int(min(max(seconds, 1), LONGEST_WAIT))
