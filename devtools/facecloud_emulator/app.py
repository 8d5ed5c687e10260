"""A stand-in for FaceCloud: speaks its protocol, answers from an engine, from a table or from a script.

For development without an account, and for tests: `python -m devtools.facecloud_emulator.app --help`. It is no
server for the open network: whoever reaches it controls it, under `/emulator/`.
"""

import base64
import hashlib
import hmac
import io
import secrets
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import orjson
from PIL import Image
from werkzeug.wrappers import Request, Response

from devtools.facecloud_emulator.faults import Mood, Script
from service.features.faces.engines.engine import Detection, Engine

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MAX_BYTES = 20 * 2**20
PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1><hr>nginx</body></html>"
TRUE = ("true", "True", "1")
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


class Refused(Exception):
    """An answer with an error in FaceCloud's envelope."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(slots=True)
class Counters:
    """What the emulator has seen: `begins` are the Unix times at which detect calls began."""

    calls: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    begins: list[float] = field(default_factory=list)
    logins: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


class Emulator:
    """The WSGI app.

    Faces come, in this order, from `faces_of` (by the image's SHA-256), from `faces` (the same for
    every image), from the engine, or are made from the SHA-256: none to three, the same every time.
    Without a password every account is let in. `latency` is the seconds that each detect call takes
    at least. `decode` says whether an image is decoded in full before it is answered; without it
    only its first bytes are looked at.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        script: Script | None = None,
        email: str = "developer@example.com",
        password: str | None = None,
        latency: float = 0.0,
        max_bytes: int = MAX_BYTES,
        decode: bool = True,
    ) -> None:
        self.engine = engine
        self.script = script or Script()
        self.latency = latency
        self.max_bytes = max_bytes
        self.decode = decode
        self.faces: list[Detection] | None = None
        self.faces_of: dict[str, list[Detection]] = {}
        self.closing = threading.Event()
        self._accounts = {email: password}
        self._secret = secrets.token_bytes(32)
        self._tokens: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._counters = Counters()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except Refused as refused:
            response = error(refused.status, refused.message)
        return response(environ, start_response)

    # What a test reads and does

    def counters(self) -> dict[str, Any]:
        """Return the counters as they are now."""
        with self._lock:
            seen = self._counters
            shown = {name: getattr(seen, name) for name in ("logins", "in_flight", "max_in_flight")}
            return shown | {"calls": dict(seen.calls), "images": dict(seen.images), "begins": list(seen.begins)}

    def forget(self) -> None:
        """Count from zero; calls that are under way stay counted as such."""
        with self._lock:
            under_way = self._counters.in_flight
            self._counters = Counters(in_flight=under_way, max_in_flight=under_way)

    def revoke(self) -> None:
        """Make every token given so far worthless."""
        with self._lock:
            self._tokens = frozenset()

    def reset(self) -> None:
        """Forget moods, faces, latency, counters and tokens."""
        self.script.set(())
        self.faces = None
        self.faces_of = {}
        self.latency = 0.0
        self.revoke()
        self.forget()

    # FaceCloud's protocol

    def _answer(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/emulator/"):
            return self._control(request, path.removeprefix("/emulator/"))
        route = _ROUTES.get(path)
        if route is None:
            raise Refused(404, "Not Found")
        method, answer = route
        if request.method != method:
            raise Refused(405, "Method Not Allowed")
        return answer(self, request)

    def _login(self, request: Request) -> Response:
        body = _json(request)
        email, password = body.get("email"), body.get("password")
        with self._lock:
            self._counters.calls["login"] += 1
        answer = self._in_mood(self.script.pick("login", "", 0), lambda: self._token(email, password))
        with self._lock:
            self._counters.logins += answer.status_code == 200
        return answer

    def _token(self, email: Any, password: Any) -> Response:
        if not isinstance(email, str) or not isinstance(password, str):
            raise Refused(400, "email and password are required")
        expected = self._accounts.get(email)
        if expected is None and None not in self._accounts.values():
            raise Refused(401, "Wrong email or password")
        if expected is not None and not hmac.compare_digest(password.encode(), expected.encode()):
            raise Refused(401, "Wrong email or password")
        token = jwt(self._secret)
        with self._lock:
            self._tokens |= {token}
        return ok({"access_token": token})

    def _sign_up(self, request: Request) -> Response:
        body = _json(request)
        email, password = body.get("email"), body.get("password")
        if not isinstance(email, str) or not isinstance(password, str):
            raise Refused(400, "email and password are required")
        if email in self._accounts:
            raise Refused(400, "There is such a user already")
        self._accounts[email] = password
        user = {"id": len(self._accounts), "email": email, "billing_type": body.get("billing_type", "demo"), "data": {}}
        return ok(user, 201)

    def _openapi(self, _: Request) -> Response:
        paths: dict[str, Any] = {path: {method.lower(): {"responses": {}}} for path, (method, _) in _ROUTES.items()}
        document = {"openapi": "3.0.0", "info": {"title": "FaceCloud emulator", "version": "1"}, "paths": paths}
        return Response(orjson.dumps(document), content_type="application/json")

    def _detect(self, request: Request) -> Response:
        with self._counted():
            image = request.get_data(cache=False)
            sha256 = hashlib.sha256(image).hexdigest()
            with self._lock:
                self._counters.images[sha256] += 1
            mood = self.script.pick("detect", sha256, len(image))
            self._wait(self.latency)
            return self._in_mood(mood, lambda: self._faces(request, image, sha256))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            counters = self._counters
            counters.calls["detect"] += 1
            counters.begins.append(time.time())
            counters.in_flight += 1
            counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._counters.in_flight -= 1

    def _faces(self, request: Request, image: bytes, sha256: str) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in self._tokens:
            raise Refused(401, "Missing or invalid token")
        if len(image) > self.max_bytes:
            raise Refused(413, "The image is too large")
        if not image.startswith(b"\xff\xd8\xff") or (self.decode and not _decodes(image)):
            raise Refused(400, "The image is not a valid JPEG")
        asked = request.args
        demographics = asked.get("demographics") in TRUE
        return ok([wire(face, demographics) for face in self._find(image, sha256) if _wanted(face, asked)])

    def _find(self, image: bytes, sha256: str) -> list[Detection]:
        found = self.faces_of.get(sha256, self.faces)
        if found is not None:
            return found
        if self.engine is not None:
            return self.engine.detect(without_exif(image))
        return derived(sha256)

    # Moods

    def _in_mood(self, mood: Mood, right: Callable[[], Response]) -> Response:
        if mood.name == "drip":
            body = right().get_data()
            raise Dropped([body[i : i + 1] for i in range(len(body))], len(body), mood.seconds)
        self._wait(mood.seconds)
        if mood.name == "ok":
            return right()
        if mood.name == "revoke":
            self.revoke()
            return right()
        if mood.name == "reset":
            raise Dropped
        if mood.name == "cut":
            body = right().get_data()
            raise Dropped([body[: len(body) // 2]], len(body))
        if mood.name == "half":
            body = right().get_data()
            return Response(body[: len(body) // 2], content_type="application/json")
        return _SAID[mood.name](mood)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.closing.wait(seconds)

    # Control over HTTP

    def _control(self, request: Request, name: str) -> Response:
        if request.method == "GET":
            return self._shown(name)
        try:
            self._controlled(request.method, name, request)
        except (TypeError, ValueError, AttributeError, KeyError) as fault:
            raise Refused(400, str(fault)) from fault
        return self._shown(name) if request.method == "PUT" else Response(status=204)

    def _shown(self, name: str) -> Response:
        if name == "counters":
            shown: Any = self.counters()
        elif name == "script":
            shown = {"seed": self.script.seed, "moods": [asdict(mood) for mood in self.script.moods]}
        elif name == "settings":
            shown = {setting: getattr(self, setting) for setting in _SETTINGS}
        elif name == "faces":
            shown = {"default": self.faces, "by_sha256": self.faces_of}
        else:
            raise Refused(404, "Not Found")
        return Response(orjson.dumps(shown), content_type="application/json")

    def _controlled(self, method: str, name: str, request: Request) -> None:
        match method, name:
            case "PUT", "script":
                body = _json(request)
                self.script.set([Mood(**mood) for mood in body.get("moods", ())], body.get("seed", 0))
            case "PUT", "settings":
                for setting, value in _json(request).items():
                    setattr(self, setting, _SETTINGS[setting](value))
            case "PUT", "faces":
                self._take_faces(_json(request))
            case "POST", "revoke":
                self.revoke()
            case "POST", "reset":
                self.reset()
            case "DELETE", "counters":
                self.forget()
            case _:
                raise Refused(404, "Not Found")

    def _take_faces(self, body: dict[str, Any]) -> None:
        if "default" in body:
            self.faces = None if body["default"] is None else [Detection(**face) for face in body["default"]]
        for sha256, faces in body.get("by_sha256", {}).items():
            self.faces_of[sha256] = [Detection(**face) for face in faces]


_SETTINGS: dict[str, type] = {"latency": float, "max_bytes": int, "decode": bool}
_ROUTES: dict[str, tuple[str, Callable[[Emulator, Request], Response]]] = {
    "/api/v1/login": ("POST", Emulator._login),
    "/api/v1/users": ("POST", Emulator._sign_up),
    "/api/v1/detect": ("POST", Emulator._detect),
    "/api/v1/openapi.json": ("GET", Emulator._openapi),
}


def ok(data: Any, status: int = 200) -> Response:
    """Return `data` in FaceCloud's envelope."""
    return Response(orjson.dumps({"data": data, "status_code": status}), status, content_type="application/json")


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in FaceCloud's envelope."""
    body = orjson.dumps({"message": message, "status_code": status})
    return Response(body, status, headers, content_type="application/json")


def wire(face: Detection, demographics: bool) -> dict[str, Any]:
    """Return a face as FaceCloud writes it; a block that was not asked for is absent."""
    written: dict[str, Any] = {
        "bbox": {"height": face.height, "width": face.width, "x": face.x, "y": face.y},
        "score": None if face.score is None else round(face.score, 6),
    }
    if demographics:
        written["demographics"] = {"ethnicity": "caucasian", "gender": face.gender}
        if face.age is not None:
            written["demographics"]["age"] = {"mean": face.age, "variance": 51.0}
    return written


def derived(sha256: str) -> list[Detection]:
    """Return none to three faces made from an image's SHA-256, largest first."""
    digest = bytes.fromhex(sha256)
    faces = []
    for index in range(digest[0] % 4):
        x, y, size, age, gender, score = digest[6 * index + 1 : 6 * index + 7]
        side = 20 + size // (index + 1)
        faces.append(
            Detection(
                x=x,
                y=y,
                width=side,
                height=side,
                gender="male" if gender % 2 else "female",
                age=float(age % 90),
                score=0.8 + score / 1280,
            )
        )
    return sorted(faces, key=lambda face: -face.width)


def jwt(secret: bytes) -> str:
    """Return a token with the claims that FaceCloud's have."""
    now = int(time.time())
    claims = {"iat": now, "nbf": now, "jti": str(uuid.uuid4()), "sub": 1, "fresh": False, "type": "access"}
    parts = b".".join(_base64(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (parts + b"." + _base64(hmac.digest(secret, parts, "sha256"))).decode()


def without_exif(jpeg: bytes) -> bytes:
    """Return the JPEG without its APP1 segments, its pixels untouched."""
    kept = bytearray(jpeg[:2])
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xda":
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != 0xE1:
            kept += jpeg[at:end]
        at = end
    return bytes(kept + jpeg[at:])


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _json(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as fault:
        raise Refused(400, "The body is not JSON") from fault
    if not isinstance(body, dict):
        raise Refused(400, "The body is not an object")
    return body


def _decodes(image: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(image), formats=["JPEG"]) as opened:
            opened.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def _wanted(face: Detection, asked: Mapping[str, str]) -> bool:
    """Apply the detector's options as far as a detection tells; one that is not given is no bound."""
    side = min(face.width, face.height)
    smallest, largest, threshold = (_float(asked.get(name)) for name in ("fd_min_size", "fd_max_size", "fd_threshold"))
    return side >= smallest and (not largest or side <= largest) and (face.score is None or face.score >= threshold)


def _float(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError as fault:
        raise Refused(400, "An option of the detector is not a number") from fault


def _inner(mood: Mood) -> Response:
    body = orjson.dumps({"message": mood.message or "Told to say so", "status_code": mood.status})
    return Response(body, 200, _headers(mood), content_type="application/json")


def _headers(mood: Mood) -> dict[str, str]:
    headers = {"Location": mood.location} if mood.location else {}
    if mood.retry_after is not None:
        at = formatdate(time.time() + mood.retry_after, usegmt=True)
        headers["Retry-After"] = at if mood.date else f"{mood.retry_after:.0f}"
    return headers


_SAID: dict[str, Callable[[Mood], Response]] = {
    "status": lambda mood: error(mood.status, mood.message or "Told to say so", _headers(mood)),
    "html": lambda mood: Response(PAGE, mood.status, _headers(mood), content_type="text/html"),
    "inner": _inner,
    "data": lambda mood: ok(mood.data),
    "missing": lambda _: Response(b'{"status_code":200}', content_type="application/json"),
    "odd": lambda _: ok(ODD),
    "no_faces": lambda _: error(400, "no faces found on the image"),
    "text": lambda _: Response(b"all is well", content_type="text/plain"),
}


if __name__ == "__main__":
    from devtools.facecloud_emulator.server import main

    main()
