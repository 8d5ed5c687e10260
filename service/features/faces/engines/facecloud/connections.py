"""HTTP to one FaceCloud host, over connections that are kept alive."""

import time
from collections.abc import Callable
from functools import cached_property
from typing import cast

import requests
import urllib3

from service.certificates import system_bundle
from service.deadlines import Deadline, deadline
from service.features.faces.engines.facecloud.failures import CONNECT_TIMEOUT, TIMEOUTS, TRANSPORT, unanswered
from service.features.faces.engines.facecloud.wire import Answer, read_answer
from service.http.deadline_adapter import DeadlineAdapter
from service.jobs.operation import Cancelled

HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "media-batch-service"}
LARGEST_ANSWER = 16 * 2**20
_ONCE = urllib3.Retry(total=False)  # the kernel retries, not the connection


class Connections:
    """Sends POST requests. `size` connections are kept; `observe` hears the outcome and the seconds of each call.

    Proxies and certificates are those that a session of requests finds for the host, once. Its pool of connections is
    then asked itself: the session's redirects and cookies, which this protocol has none of, cost half as much again.
    """

    def __init__(self, url: str, timeout: float, size: int, observe: Callable[[str, float], None] | None) -> None:
        self._root = f"{url.rstrip('/').removesuffix('/api/v1').rstrip('/')}/api/v1"
        self._timeout = timeout
        self._waits = urllib3.Timeout(connect=min(CONNECT_TIMEOUT, timeout), read=None)  # the deadline ends a read
        self._observe = observe
        self._session = requests.Session()
        self._adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=size)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def post(self, path: str, body: bytes, headers: dict[str, str], cancelled: Callable[[], bool]) -> Answer:
        """Send a body below `/api/v1` and read the whole answer; whatever goes wrong on the way is a `Failure`."""
        if cancelled():
            raise Cancelled
        begun = time.monotonic()
        outcome = "unanswered"
        try:
            with deadline(self._timeout, len(body)) as bound:
                response = self._send(path, body, headers)
                content = _read(response, bound)
            outcome = str(response.status)
        except TRANSPORT as error:
            outcome = "timeout" if isinstance(error, TIMEOUTS) else outcome
            raise unanswered(error, self._timeout) from error
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
            retries=_ONCE,
            redirect=False,
            assert_same_host=False,
            timeout=self._waits,
            preload_content=False,
            decode_content=False,
        )

    @cached_property
    def _route(self) -> tuple[urllib3.HTTPConnectionPool, str]:
        """The connections to the host, or to the proxy before it, and what the requests' first lines begin with."""
        session = self._session
        session.verify = system_bundle()
        named = session.merge_environment_settings(self._root, {}, None, None, None)
        request = session.prepare_request(requests.Request("POST", self._root))
        pool = self._adapter.get_connection_with_tls_context(request, named["verify"], named["proxies"])
        return cast(urllib3.HTTPConnectionPool, pool), self._adapter.request_url(request, named["proxies"])

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _read(response: urllib3.BaseHTTPResponse, bound: Deadline) -> bytes:
    """Read the body as it comes; one that has no end is not waited for. Each megabyte extends the deadline."""
    content = b""
    is_whole = False
    try:
        while not is_whole and (part := response.read1(65_536, decode_content=True)):
            content += part
            bound.extend(len(part))
            if len(content) > LARGEST_ANSWER:
                raise requests.ReadTimeout
            # To ask once more, only to hear that there is nothing more, is a tenth of the cost of a call.
            is_whole = response.length_remaining == 0 and "Content-Encoding" not in response.headers
    finally:
        response.close()  # gives back what was read to its end, and cuts off what was not
    return content
