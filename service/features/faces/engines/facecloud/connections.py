"""HTTP to one FaceCloud host, over connections that are kept alive."""

import time
from collections.abc import Callable

import requests
import urllib3

from service.certificates import system_bundle
from service.deadlines import Deadline, deadline
from service.features.faces.engines.facecloud.failures import CONNECT_TIMEOUT, TIMEOUTS, TRANSPORT, unanswered
from service.features.faces.engines.facecloud.wire import Answer, read_answer
from service.http.deadline_adapter import DeadlineAdapter
from service.jobs.operation import Cancelled

LARGEST_ANSWER = 16 * 2**20
_ONCE = urllib3.Retry(total=False)  # the kernel retries, not the connection


class Connections:
    """Sends POST requests. `size` connections are kept; `observe` hears the outcome and the seconds of each call.

    Every call goes through the session of requests, though its pool alone would be 0.1 ms faster: what the network
    demands is then honoured as users of requests expect.
    """

    def __init__(self, url: str, timeout: float, size: int, observe: Callable[[str, float], None] | None) -> None:
        self._root = f"{url.rstrip('/').removesuffix('/api/v1').rstrip('/')}/api/v1"
        self._timeout = timeout
        self._observe = observe
        self._session = _session(self._root, size)
        self._prepared: dict[str, requests.PreparedRequest] = {}

    def post(self, path: str, body: bytes, headers: dict[str, str], cancelled: Callable[[], bool]) -> Answer:
        """Send a body below `/api/v1` and read the whole answer; whatever goes wrong on the way is a `Failure`."""
        if cancelled():
            raise Cancelled
        begun = time.monotonic()
        outcome = "unanswered"
        try:
            with deadline(self._timeout, len(body)) as bound:
                response = self._session.send(
                    self._request(path, body, headers),
                    timeout=(min(CONNECT_TIMEOUT, self._timeout), bound.ends_at - begun),
                    allow_redirects=False,
                    stream=True,
                    proxies=self._session.proxies,
                    verify=self._session.verify,
                )
                content = _read(response.raw, bound)
            outcome = str(response.status_code)
        except TRANSPORT as error:
            outcome = "timeout" if isinstance(error, TIMEOUTS) else outcome
            raise unanswered(error, self._timeout) from error
        finally:
            if self._observe is not None:
                self._observe(outcome, time.monotonic() - begun)
        return read_answer(response.status_code, content, response.headers.get("Retry-After"))

    def _request(self, path: str, body: bytes, headers: dict[str, str]) -> requests.PreparedRequest:
        """Return a request of its own, made of the one of its path: to prepare each anew costs a third of the call."""
        prepared = self._prepared.get(path)
        if prepared is None:
            prepared = self._session.prepare_request(requests.Request("POST", self._root + path))
            self._prepared[path] = prepared
        request = prepared.copy()
        request.body = body
        request.headers.update(headers, **{"Content-Length": str(len(body))})
        return request

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _session(url: str, size: int) -> requests.Session:
    """Return a session for one host, with the proxies and certificates that the environment names for it.

    The session asks the environment once: doing so in every call, as it would by itself, costs as much as the call.
    """
    session = requests.Session()
    session.verify = system_bundle()
    named = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify, session.trust_env = named["proxies"], named["verify"], False
    session.headers.update({"Accept": "application/json", "User-Agent": "media-batch-service"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter(pool_connections=1, pool_maxsize=size, max_retries=_ONCE))
    return session


def _read(response: urllib3.BaseHTTPResponse, bound: Deadline) -> bytes:
    """Read the body as it comes; one that has no end is not waited for. Each megabyte extends the deadline."""
    content = b""
    try:
        while part := response.read1(65_536, decode_content=True):
            content += part
            bound.extend(len(part))
            if len(content) > LARGEST_ANSWER:
                raise requests.ReadTimeout
    finally:
        response.close()  # gives back what was read to its end, and cuts off what was not
    return content
