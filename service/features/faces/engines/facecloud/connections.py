"""HTTP to one FaceCloud host, over connections that are kept alive."""

import time
from collections.abc import Callable
from functools import cached_property
from typing import cast

import requests
import urllib3
from requests.adapters import HTTPAdapter

from service.certificates import system_bundle
from service.features.faces.engines.facecloud.failures import CONNECT_TIMEOUT, TIMEOUTS, TRANSPORT, unanswered
from service.features.faces.engines.facecloud.wire import Answer, read_answer
from service.jobs.operation import Cancelled

HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "media-batch-service"}
LARGEST_ANSWER = 16 * 2**20
_ONCE = urllib3.Retry(total=False)  # the kernel retries, not the connection


class Connections:
    """Sends POST requests. `size` connections are kept; `observe` hears the outcome and the seconds of each call."""

    def __init__(self, url: str, timeout: float, size: int, observe: Callable[[str, float], None] | None) -> None:
        self._root = f"{url.rstrip('/').removesuffix('/api/v1').rstrip('/')}/api/v1"
        self._seconds = timeout
        self._timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=timeout)
        self._observe = observe
        self._session = requests.Session()
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=size)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def post(self, path: str, body: bytes, headers: dict[str, str], cancelled: Callable[[], bool]) -> Answer:
        """Send a body below `/api/v1` and read the whole answer; whatever goes wrong on the way is a `Failure`."""
        if cancelled():
            raise Cancelled
        begun = time.monotonic()
        outcome = "unanswered"
        try:
            response = self._send(path, body, headers)
            content = _read(response, self._seconds)
            outcome = str(response.status)
        except TRANSPORT as error:
            outcome = "timeout" if isinstance(error, TIMEOUTS) else outcome
            raise unanswered(error, self._seconds) from error
        finally:
            if self._observe is not None:
                self._observe(outcome, time.monotonic() - begun)
        return read_answer(response.status, content, response.headers.get("Retry-After"))

    def _send(self, path: str, body: bytes, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        pool, target = self._route
        return pool.urlopen(
            "POST",
            f"{target}{path}",
            body=body,
            headers=HEADERS | headers,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            retries=_ONCE,
            timeout=self._timeout,
        )

    @cached_property
    def _route(self) -> tuple[urllib3.HTTPConnectionPool, str]:
        """The session's connections to the host, and what a request line names, as far as it is always the same.

        The session finds both by the proxies and certificates that the environment names, once. Doing so in every call,
        with redirects and cookies that this protocol has none of, costs as much as the call itself.
        """
        session = self._session
        session.verify = system_bundle()
        named = session.merge_environment_settings(self._root, {}, None, None, None)
        proxies, verify = named["proxies"], named["verify"]
        request = session.prepare_request(requests.Request("POST", self._root))
        pool = self._adapter.get_connection_with_tls_context(request, verify, proxies)
        return cast(urllib3.HTTPConnectionPool, pool), self._adapter.request_url(request, proxies)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _read(response: urllib3.BaseHTTPResponse, seconds: float) -> bytes:
    """Read the body as it comes: one that drips for ever, or has no end, is not waited for."""
    content = b""
    deadline = time.monotonic() + seconds
    try:
        while part := response.read1(65_536, decode_content=True):
            content += part
            if len(content) > LARGEST_ANSWER or time.monotonic() > deadline:
                break
        else:
            return content
    finally:
        response.close()  # gives back what was read to its end, and cuts off what was not
    raise requests.ReadTimeout
