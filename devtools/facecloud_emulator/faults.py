"""How the emulator of FaceCloud misbehaves: what it does instead of answering, and when."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Literal, get_args

from werkzeug.wrappers import Response

from devtools.facecloud_emulator.wire import error, json_answer, ok

Name = Literal[
    "ok",  # the right answer; with `seconds`, late
    "status",  # an error of FaceCloud's form: `status`, `message`, `retry_after`; with `body`, exactly that object
    "html",  # `status` with a page of HTML, as a proxy sends it
    "inner",  # HTTP 200 whose body says `status`
    "data",  # 200 with `data` exactly as given; None is null
    "missing",  # 200 without `data`
    "odd",  # 200 with faces whose values are unusual but allowed
    "no_faces",  # the 400 that says so
    "text",  # 200 with something that is not JSON
    "half",  # 200 with the first half of the JSON, as if that were all
    "cut",  # the connection ends in the middle of the body
    "drip",  # the body comes a byte at a time, `seconds` apart
    "reset",  # the connection is reset, nothing is answered
    "revoke",  # every token is revoked, this call's too
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """One way to answer, for the calls that meet every condition given.

    `seconds` pass before anything is answered. `date` sends Retry-After as an HTTP date, `location`
    is where a 3xx points. `path` is the last part of the call's path. `nth` counts that path's calls
    from 1 since the script was set; `times` ends the mood after so many calls; `share` takes calls
    at random, repeatably by the script's seed; `sha256` and `size` are the image's.
    """

    name: Name
    status: int = 503
    message: str = ""
    seconds: float = 0.0
    retry_after: float | None = None
    date: bool = False
    location: str = ""
    data: Any = None
    body: dict[str, Any] | None = None
    path: str = "detect"
    nth: int | None = None
    times: int | None = None
    share: float = 1.0
    sha256: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise ValueError(f"there is no mood {self.name!r}")


OK = Mood(name="ok")


class Script:
    """The moods in force. The first whose conditions are met decides; without one, all is well."""

    def __init__(self, moods: Iterable[Mood] = (), seed: int = 0) -> None:
        self._lock = threading.Lock()
        self.set(moods, seed)

    def set(self, moods: Iterable[Mood], seed: int = 0) -> None:
        """Put these moods in force and count calls from 1 again."""
        with self._lock:
            self.moods = tuple(moods)
            self.seed = seed
            self._calls: Counter[str] = Counter()
            self._used: Counter[int] = Counter()

    def pick(self, path: str, sha256: str, size: int) -> Mood:
        """Return the mood for this call, and count it."""
        if not self.moods:
            return OK
        with self._lock:
            self._calls[path] += 1
            for index, mood in enumerate(self.moods):
                if self._applies(index, mood, path) and mood.sha256 in (None, sha256) and mood.size in (None, size):
                    self._used[index] += 1
                    return mood
            return OK

    def _applies(self, index: int, mood: Mood, path: str) -> bool:
        return (
            mood.path == path
            and mood.nth in (None, self._calls[path])
            and (mood.times is None or self._used[index] < mood.times)
            and (mood.share >= 1 or self._drawn(index, path) < mood.share)
        )

    def _drawn(self, index: int, path: str) -> float:
        """Return a number from 0 to 1 that is the same for the same seed and call."""
        digest = hashlib.blake2b(f"{self.seed} {index} {path} {self._calls[path]}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2**48


PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1><hr>nginx</body></html>"
ODD: list[dict[str, Any]] = [
    {
        "bbox": {"x": -1.4, "y": 2.6, "width": 30.5, "height": 40, "angle": 3},
        "score": 1,
        "demographics": {"gender": "unknown", "ethnicity": "caucasian", "age": {"variance": 5.0}},
    },
    {"bbox": {"x": 1, "y": 2, "width": 300, "height": 400}, "liveness": 0.5},
    {
        "bbox": {"x": 5, "y": 5, "width": 5, "height": 5},
        "score": None,
        "demographics": {"gender": "robot", "age": {"mean": 28.25, "variance": 51}},
    },
]


class Dropped(Exception):
    """The connection ends without a whole answer: after `parts` of the body, `pause` apart, or with a reset."""

    def __init__(self, parts: Sequence[bytes] = (), length: int = 0, pause: float = 0.0) -> None:
        super().__init__()
        self.parts = parts
        self.length = length
        self.pause = pause


def faulty_answer(mood: Mood, right: Callable[[], Response]) -> Response:
    """Return what the mood makes of the right answer; raise `Dropped` where the connection is to break."""
    if mood.name in _INSTEAD:
        return _INSTEAD[mood.name](mood)
    if mood.name == "reset":
        raise Dropped
    answer = right()
    body = answer.get_data()
    half = body[: len(body) // 2]
    match mood.name:
        case "half":
            return Response(half, content_type="application/json")
        case "cut":
            raise Dropped([half], len(body))
        case "drip":
            raise Dropped([body[i : i + 1] for i in range(len(body))], len(body), mood.seconds)
    return answer


def _headers(mood: Mood) -> dict[str, str]:
    headers = {"Location": mood.location} if mood.location else {}
    if mood.retry_after is not None:
        at = formatdate(time.time() + mood.retry_after, usegmt=True)
        headers["Retry-After"] = at if mood.date else f"{mood.retry_after:.0f}"
    return headers


def _error(mood: Mood) -> Response:
    if mood.body is not None:
        return json_answer(mood.body, mood.status, _headers(mood))
    return error(mood.status, mood.message or _MESSAGE, _headers(mood))


def _inner(mood: Mood) -> Response:
    return json_answer({"message": mood.message or _MESSAGE, "status_code": mood.status}, 200, _headers(mood))


_MESSAGE = "Told to say so"
_INSTEAD: dict[str, Callable[[Mood], Response]] = {
    "status": _error,
    "html": lambda mood: Response(PAGE, mood.status, _headers(mood), content_type="text/html"),
    "inner": _inner,
    "data": lambda mood: ok(mood.data),
    "missing": lambda _: json_answer({"status_code": 200}),
    "odd": lambda _: ok(ODD),
    "no_faces": lambda _: error(400, "no faces found on the image"),
    "text": lambda _: Response(b"all is well", content_type="text/plain"),
}
