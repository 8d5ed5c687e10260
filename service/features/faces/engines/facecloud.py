"""FaceCloud as an engine: its protocol, one login for all threads, and what its failures mean."""

import http.client
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from service.errors import Problem
from service.features.faces.engines.circuit_breaker import Breaker
from service.features.faces.engines.engine import NONE, Detection, Gender, History, never
from service.imaging.validate import to_jpeg
from service.jobs.operation import Cancelled, Failure, Postponed

CONNECT_TIMEOUT = 5.0
UNAVAILABLE = frozenset((408, 425, 502, 503, 504))
REMEMBERED = 30.0  # seconds that a refused account or quota is answered from memory
REFUSALS = 10  # calls in a row whose fresh token was refused, before that is remembered too
PATIENCE = 7200.0  # seconds of an outage in which a failed probe costs its image no attempt
PATIENCE_UNREACHED = 86_400.0  # the same where nobody takes the call, so that no image can be the cause
AGAIN = 1.0  # seconds until a FaceCloud that could not be reached at all is tried again
LONGEST_WAIT = 3600.0  # seconds of Retry-After that are believed
LARGEST_ANSWER = 16 * 2**20
LARGEST_NUMBER = 2**31 - 1  # what the database's integers hold

# Everything that requests, urllib3, http.client and the socket raise. ValueError is http.client's for
# a header that cannot be sent.
TRANSPORT = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
_ONCE = urllib3.Retry(total=False)  # the kernel retries, not the connection
TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_UNREACHED = (urllib3.exceptions.NewConnectionError, ConnectionRefusedError)
_UNREACHED_IN_TIME = (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)
_INSECURE = (requests.exceptions.SSLError, urllib3.exceptions.SSLError)
_BROKEN = (requests.ConnectionError, urllib3.exceptions.ProtocolError, OSError)

_NO_FACES = re.compile(r"\bno\s+faces?\b", re.IGNORECASE)
_TOKEN = re.compile(r"\b(token|jwt|authorization)\b", re.IGNORECASE)
_QUOTA = re.compile(r"quota|limit|balance|billing|payment|paid|subscription|tariff|plan\b|funds", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+")
_MARKUP = re.compile(r"<[^>]*>?")


class _Token(NamedTuple):
    """What one login gave. Threads compare it by identity."""

    value: str
    authorization: str


class _Answer(NamedTuple):
    """What FaceCloud said, after its envelope: `body` is None where it was no JSON object."""

    status: int
    body: dict[str, Any] | None
    retry_after: float | None


class _Unserved(Failure):
    """FaceCloud did not serve the call: the breaker counts it."""


class _Unreached(_Unserved):
    """There was nobody to take the call, so the image cannot be the cause."""


class _Refused(Failure):
    """FaceCloud refused the account, not the image: so it would the images after it."""


class FaceCloud:
    """Sends images to a FaceCloud host.

    `url` is the host's root, with or without `/api/v1`. `timeout` is the seconds to wait for an
    answer; to connect it waits 5. `concurrency` is the number of connections kept alive: how many calls
    are under way is the caller's to bound. Larger images than `max_pixels` are sent smaller, and their
    boxes scaled back.
    `observe` is called with the outcome (the status, `timeout` or `unanswered`) and the seconds of
    every HTTP call. One object serves all threads.

    What becomes of an answer, as `code` and the number of attempts it is worth:

    * no answer, a time-out, 408, 425, 502, 503, 504, no JSON under 200: `upstream_unavailable`, 5.
      Ten in a row and the breaker opens; an image that failed before others were served says nothing
      of FaceCloud, so it does not count there. Where FaceCloud has answered before, a probe that fails is
      `Postponed`, so that an outage of up to two hours costs the waiting images nothing.
      Where it never has, the address is likely wrong, and the images fail with that reason.
    * nobody there to take the call, where FaceCloud has answered before: the same for the first in a
      row, so that the reason can be seen; the others are `Postponed`, since no image can be its cause.
    * 500: `upstream_unavailable`, 2. It says neither that FaceCloud is up nor that it is down.
    * 429: `upstream_quota`, 10. All calls pause as Retry-After says, else by a back-off.
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
        max_pixels: int = 12_000_000,
        breaker: Breaker | None = None,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        root = url.rstrip("/").removesuffix("/api/v1").rstrip("/")
        path = urllib3.util.parse_url(root).path or ""
        self._login_path = f"{path}/api/v1/login"
        self._detect_path = f"{path}/api/v1/detect?demographics=true"
        self._credentials = orjson.dumps({"email": email, "password": password})
        self._secrets = (email, password)
        self._seconds = timeout
        self._timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=timeout)
        self._max_pixels = max_pixels
        self._breaker = breaker or Breaker()
        self._served_at = float("-inf")
        self._observe = observe
        self._session = requests.Session()
        self._session.trust_env = False
        self._pool = _pool(self._session, root, concurrency)
        self._token: _Token | None = None
        self._login_lock = threading.Lock()
        self._logins = 0
        self._login_failure: Failure | None = None
        self._refusal: tuple[float, _Refused] | None = None
        self._refusals = 0

    def detect(self, image: bytes, cancelled: Callable[[], bool] = never, history: History = NONE) -> list[Detection]:
        """Return the faces of a JPEG, PNG or WebP, largest box first, boxes on the upright original."""
        self._raise_refusal(history.due_at)
        probe = self._breaker.enter()
        try:
            jpeg, scale = to_jpeg(image, self._max_pixels)
            return self._call(jpeg, scale, cancelled, history.due_at)
        except Problem as problem:
            raise Failure("image_rejected", problem.detail) from problem
        except _Unserved as failure:
            if self._is_nobodys_fault(failure, probe, history):
                raise Postponed(max(self._breaker.wait(), AGAIN)) from failure
            raise
        except _Refused as failure:
            self._remember(failure)
            raise
        finally:
            self._breaker.leave(probe)

    def limit(self) -> int | None:
        """Return how many calls may be under way now: 0 or 1 while FaceCloud is away."""
        return self._breaker.limit()

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._session.close()

    def _is_nobodys_fault(self, failure: _Unserved, probe: bool, history: History) -> bool:
        """Tell the breaker of a call that was not served; tell whether FaceCloud is away, the image not to blame."""
        is_unreached, is_first = isinstance(failure, _Unreached), False
        # Where others were served since the image first failed, it is likelier the image than FaceCloud.
        is_suspect = history.failed_at is not None and self._served_at > history.failed_at and not is_unreached
        if failure.code == "upstream_quota":
            failure.wait = self._breaker.pause(failure.wait)
        elif probe or not is_suspect:
            is_first = self._breaker.failed(probe, failure.wait)
        is_free = (probe and not is_suspect) or (is_unreached and not is_first)
        return is_free and self._passes(failure)

    def _passes(self, failure: Failure) -> bool:
        """Tell whether FaceCloud is merely away, as far as one can tell by now."""
        patience = PATIENCE_UNREACHED if isinstance(failure, _Unreached) else PATIENCE
        return self._breaker.outage() < patience and self._breaker.has_worked()

    def _raise_refusal(self, due_at: float) -> None:
        """Refuse what already waited when FaceCloud refused another; what was started since is a try of its own."""
        refusal = self._refusal
        if refusal is not None and due_at <= refusal[0] and time.time() < refusal[0] + REMEMBERED:
            raise Failure(refusal[1].code, refusal[1].detail)

    def _remember(self, refused: _Refused) -> None:
        self._refusal = (time.time(), refused)

    # One call, with the token it needs

    def _call(self, jpeg: bytes, scale: float, cancelled: Callable[[], bool], due_at: float) -> list[Detection]:
        begun = time.time()
        token = self._token or self._login(None, cancelled, due_at)
        answer = self._send_image(jpeg, token, cancelled)
        if _unauthorized(answer):
            token = self._login(token, cancelled, due_at)
            answer = self._send_image(jpeg, token, cancelled)
            if _unauthorized(answer):
                raise self._refused_twice()
        faces = self._faces_or_raise(answer, scale)
        self._refusals = 0
        self._refusal = None
        self._served_at = max(self._served_at, begun)
        return faces

    def _send_image(self, jpeg: bytes, token: _Token, cancelled: Callable[[], bool]) -> _Answer:
        headers = {"Content-Type": "image/jpeg", "Authorization": token.authorization}
        return self._send(self._detect_path, jpeg, headers, cancelled)

    def _refused_twice(self) -> Failure:
        detail = "FaceCloud refused the token that it had just given."
        self._breaker.succeeded()
        self._refusals += 1
        if self._refusals >= REFUSALS:
            return _Refused("upstream_unauthorized", detail)
        return Failure("upstream_unauthorized", detail)

    def _login(self, stale: _Token | None, cancelled: Callable[[], bool], due_at: float) -> _Token:
        """Return a token other than `stale`. One thread logs in; those who waited share what it got."""
        seen = self._logins
        while not self._login_lock.acquire(timeout=0.25):
            if cancelled():
                raise Cancelled
        try:
            if self._token is not None and self._token is not stale:
                return self._token
            self._raise_refusal(due_at)
            if self._logins != seen and self._login_failure is not None:
                shared = self._login_failure
                if isinstance(shared, _Unreached) and self._passes(shared):
                    raise Postponed(AGAIN)
                raise Failure(shared.code, shared.detail, attempts=shared.attempts, wait=shared.wait)
            self._token = None
            return self._log_in(cancelled)
        finally:
            self._login_lock.release()

    def _log_in(self, cancelled: Callable[[], bool]) -> _Token:
        try:
            answer = self._send(self._login_path, self._credentials, {"Content-Type": "application/json"}, cancelled)
            value = self._token_or_raise(answer)
        except Failure as failure:
            self._login_failure = failure
            self._logins += 1
            if isinstance(failure, _Refused):
                self._remember(failure)
            raise
        self._login_failure = None
        self._logins += 1
        self._token = _Token(value, f"Bearer {value}")
        return self._token

    # HTTP

    def _send(self, path: str, body: bytes, headers: dict[str, str], cancelled: Callable[[], bool]) -> _Answer:
        """POST and read the whole answer; whatever goes wrong on the way is a `Failure`."""
        if cancelled():
            raise Cancelled
        headers |= {"Content-Length": str(len(body)), "Accept": "application/json", "User-Agent": "media-batch-service"}
        begun = time.monotonic()
        outcome = "unanswered"
        try:
            response = self._pool.urlopen(
                "POST", path, body, headers, _ONCE, redirect=False, timeout=self._timeout, preload_content=False
            )
            content = _read(response, self._seconds)
            outcome = str(response.status)
        except TRANSPORT as error:
            outcome = "timeout" if isinstance(error, TIMEOUTS) else outcome
            raise unanswered(error, self._seconds) from error
        finally:
            if self._observe is not None:
                self._observe(outcome, time.monotonic() - begun)
        return _understand(response.status, content, response.headers.get("Retry-After"))

    # What an answer means

    def _faces_or_raise(self, answer: _Answer, scale: float) -> list[Detection]:
        if answer.status == 200:
            faces = _faces(answer.body, scale)
        elif answer.status == 400 and _NO_FACES.search(_words(answer.body)):
            faces = []
        else:
            raise self._failure(answer, self._message(answer))
        self._breaker.succeeded()
        return faces

    def _token_or_raise(self, answer: _Answer) -> str:
        status, body, _ = answer
        if status == 200:
            data = (body or {}).get("data")
            value = data.get("access_token") if isinstance(data, dict) else None
            if isinstance(value, str) and value.isascii() and value.isprintable() and value:
                self._breaker.succeeded()
                return value
            raise _Unserved("upstream_unavailable", "FaceCloud answered the login without a token.", attempts=5)
        if status in (400, 401, 403):
            self._breaker.succeeded()
            raise _Refused(
                "upstream_unauthorized",
                "FaceCloud refused the account in FACECLOUD_EMAIL and FACECLOUD_PASSWORD "
                f"(it answered {status} to the login).",
            )
        failure = self._failure(answer, self._message(answer))
        if failure.attempts == 1:  # 404 and the like: the URL is wrong for every image
            raise _Refused(failure.code, f"The login failed. {failure.detail}")
        raise failure

    def _failure(self, answer: _Answer, message: str) -> Failure:
        """Return what an answer other than 200 means, and tell the breaker where it shows FaceCloud up."""
        status, _, retry_after = answer
        said = f"FaceCloud answered {status}: {message}" if message else f"FaceCloud answered {status}"
        said = said if said.endswith((".", "!", "?")) else f"{said}."
        if status in UNAVAILABLE:
            return _Unserved("upstream_unavailable", said, attempts=5, wait=retry_after)
        if status == 500:
            return Failure("upstream_unavailable", said, attempts=2)
        if status == 429:
            return _Unserved("upstream_quota", said, attempts=10, wait=retry_after)
        self._breaker.succeeded()
        if status == 402 or (status == 403 and _QUOTA.search(message)):
            return _Refused("upstream_quota", said)
        if status == 403:
            return _Refused("upstream_unauthorized", said)
        return Failure("upstream_rejected", said)

    def _message(self, answer: _Answer) -> str:
        """Return FaceCloud's own words as one short line, without markup, secrets or control characters."""
        words = _MARKUP.sub(" ", _words(answer.body))
        words = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
        token = self._token
        secrets = (*self._secrets, token.value) if token else self._secrets
        if _JWT.search(words) or any(secret and secret in words for secret in secrets):
            return ""
        return words if len(words) <= 200 else f"{words[:199]}…"


def unanswered(error: Exception, seconds: float) -> Failure:
    """Return what it means that a call ended without an answer, in a sentence without addresses or secrets."""
    for kinds, detail in (
        (_UNREACHED, "FaceCloud could not be reached."),
        (_UNREACHED_IN_TIME, f"FaceCloud could not be reached within {CONNECT_TIMEOUT:g} s."),
        (TIMEOUTS, f"FaceCloud did not answer within {seconds:g} s."),
        (_INSECURE, "No secure connection to FaceCloud could be made."),
        (_BROKEN, "FaceCloud broke off the connection before its answer was complete."),
    ):
        if isinstance(error, kinds):
            kind = _Unreached if kinds in (_UNREACHED, _UNREACHED_IN_TIME) else _Unserved
            return kind("upstream_unavailable", detail, attempts=5)
    return _Unserved("upstream_unavailable", "FaceCloud's answer could not be read.", attempts=5)


def _pool(session: requests.Session, root: str, size: int) -> urllib3.HTTPConnectionPool:
    """Return the session's connections to one host.

    Calls go straight to them: going through the session costs 0.15 ms a call more, a third of it, for
    redirects, cookies and a URL to take apart, of which this protocol has none.
    """
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=size)
    session.mount(root, adapter)
    trusted = {"cert_reqs": "CERT_REQUIRED", "ca_certs": DEFAULT_CA_BUNDLE_PATH} if root.startswith("https:") else None
    pool: urllib3.HTTPConnectionPool = adapter.poolmanager.connection_from_url(root, trusted)
    return pool


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


def _understand(status: int, content: bytes, retry_after: str | None) -> _Answer:
    """Open the envelope. Under HTTP 200 the envelope's own status decides."""
    body = None
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if status == 200:
            raise _Unserved(
                "upstream_unavailable", "FaceCloud answered 200 with something that is not JSON.", attempts=5
            ) from error
    else:
        body = parsed if isinstance(parsed, dict) else None
    if status == 200 and body is not None:
        inner = body.get("status_code")
        if isinstance(inner, int) and 100 <= inner <= 599:
            status = inner
    return _Answer(status, body, _seconds(retry_after) if retry_after else None)


def _unauthorized(answer: _Answer) -> bool:
    """Tell whether the token is at fault: a 401, or a 400 whose text names the token."""
    return answer.status == 401 or (answer.status == 400 and bool(_TOKEN.search(_words(answer.body))))


def _words(body: dict[str, Any] | None) -> str:
    """Return `message` and the texts of `error`, as they are."""
    if body is None:
        return ""
    words = [body["message"]] if isinstance(body.get("message"), str) else []
    errors = body.get("error")
    if isinstance(errors, str):
        words.append(errors)
    elif isinstance(errors, dict):
        for field, texts in errors.items():
            listed = texts if isinstance(texts, list) else [texts]
            words += [f"{field}: {text}" for text in listed if isinstance(text, str)]
    return " ".join(words)[:2000]


def _seconds(retry_after: str) -> float | None:
    """Return a Retry-After, which is seconds or an HTTP date, as seconds from now; None for neither, or 0."""
    text = retry_after.strip()
    if text.isdecimal():
        seconds = float(text[:10])
    else:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None


def _faces(body: dict[str, Any] | None, scale: float) -> list[Detection]:
    """Return the faces of a 200, largest first; null or missing `data` is none."""
    try:
        data = _members(body).get("data")
        faces = [_face(face, scale) for face in (_list(data) if data is not None else ())]
    except (KeyError, TypeError, ValueError) as error:
        raise _Unserved(
            "upstream_unavailable", "FaceCloud answered 200 with something else than faces.", attempts=5
        ) from error
    return sorted(faces, key=lambda face: -face.width * face.height)


def _members(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _face(value: Any, scale: float) -> Detection:
    face = _members(value)
    box = _members(face["bbox"])
    x, y, width, height = (_pixels(box[side], scale) for side in ("x", "y", "width", "height"))
    demographics = face.get("demographics")
    if not isinstance(demographics, dict):
        demographics = {}
    age = demographics.get("age")
    gender: Gender = "unknown"
    match demographics.get("gender"):
        case "male" | "female" as gender:
            pass
    return Detection(
        x=x,
        y=y,
        width=width,
        height=height,
        gender=gender,
        age=_number(age.get("mean") if isinstance(age, dict) else age),
        score=_number(face.get("score")),
    )


def _pixels(value: Any, scale: float) -> int:
    if not isinstance(value, int | float):
        raise TypeError
    pixels = round(value / scale)
    if abs(pixels) > LARGEST_NUMBER:
        raise ValueError
    return pixels


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
