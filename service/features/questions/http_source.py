"""Asks a source over HTTP: within a deadline, whatever the other side does."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import orjson
import requests
import urllib3

from service.certificates import system_bundle
from service.features.questions.source import SourceFailed

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
        self._session.headers.update({"Accept": "application/json", "User-Agent": "media-batch-service"})

    def get(self, path: str, parameters: Mapping[str, str], deadline: float) -> Any:
        """Return the JSON that a GET gives; whatever goes wrong, or lasts beyond the deadline, is SourceFailed.

        The time-outs of a socket bound each of its waits, not their sum, and a name server has none. So the call
        has a thread of its own, which is left behind at the deadline and ends by itself.
        """
        outcome: Future[Any] = Future()

        def call() -> None:
            try:
                outcome.set_result(self._get(path, parameters, deadline))
            except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
                outcome.set_exception(error)

        threading.Thread(target=call, name="question-source", daemon=True).start()
        try:
            return outcome.result(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise SourceFailed("The source of questions did not answer in time.", RETRY_AFTER) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise SourceFailed("The source of questions could not be reached, or broke off.", RETRY_AFTER) from error

    def _get(self, path: str, parameters: Mapping[str, str], deadline: float) -> Any:
        left = max(0.05, deadline - time.monotonic())
        timeout = (min(CONNECT_TIMEOUT, left), left)
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
                if time.monotonic() > deadline:
                    raise TimeoutError
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise SourceFailed("The source of questions answered something that is not JSON.", RETRY_AFTER) from error


def _seconds(retry_after: str | None) -> int:
    """Return what a Retry-After asks for, as seconds within bounds."""
    if not retry_after:
        return RETRY_AFTER
    try:
        seconds = urllib3.Retry().parse_retry_after(retry_after)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return RETRY_AFTER
    return int(min(max(seconds, 1), LONGEST_WAIT))
