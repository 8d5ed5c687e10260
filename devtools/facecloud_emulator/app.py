"""FaceCloud's protocol as a WSGI app, answered from an engine, from a table or from a script.

It is no server for the open network: whoever reaches it controls it, under `/emulator/`.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from devtools.facecloud_emulator.controls import MAX_BYTES, Controls
from devtools.facecloud_emulator.faces import decodes, derived, given_face, is_wanted, look
from devtools.facecloud_emulator.faults import Mood, Script, faulty_answer
from devtools.facecloud_emulator.wire import Refused, account, error, is_asked, json_answer, jwt, ok, wire
from service.features.faces.engines.engine import Detection, Engine

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Emulator(Controls):
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
        super().__init__(script, latency, max_bytes, decode)
        self.engine = engine
        self.closing = threading.Event()
        self._accounts = {email: password}
        self._secret = secrets.token_bytes(32)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request: Request) -> Response:
        """Answer one request, for a server that needs no WSGI between."""
        try:
            return self._answer(request)
        except Refused as refused:
            return error(refused.status, refused.message)

    def _answer(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/emulator/"):
            return self.control(request, path.removeprefix("/emulator/"))
        route = _ROUTES.get(path)
        if route is None:
            raise Refused(404, "Not Found")
        method, answer = route
        if request.method != method:
            raise Refused(405, "Method Not Allowed")
        return answer(self, request)

    def _login(self, request: Request) -> Response:
        with self._lock:
            self._counters.calls["login"] += 1
        answer = self._in_mood(self.script.pick("login", "", 0), lambda: self._give_token(request))
        with self._lock:
            self._counters.logins += answer.status_code == 200
        return answer

    def _give_token(self, request: Request) -> Response:
        email, password, _ = account(request)
        is_known = email in self._accounts or None in self._accounts.values()
        expected = self._accounts.get(email)
        if not is_known or (expected is not None and not hmac.compare_digest(password.encode(), expected.encode())):
            raise Refused(401, "Wrong email or password")
        token = jwt(self._secret)
        with self._lock:
            self._tokens |= {token}
        return ok({"access_token": token})

    def _sign_up(self, request: Request) -> Response:
        email, password, body = account(request)
        if email in self._accounts:
            raise Refused(400, "There is such a user already")
        self._accounts[email] = password
        user = {"id": len(self._accounts), "email": email, "billing_type": body.get("billing_type", "demo"), "data": {}}
        return ok(user, 201)

    def _openapi(self, _: Request) -> Response:
        paths: dict[str, Any] = {path: {method.lower(): {"responses": {}}} for path, (method, _) in _ROUTES.items()}
        return json_answer(
            {"openapi": "3.0.0", "info": {"title": "FaceCloud emulator", "version": "1"}, "paths": paths}
        )

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
        if not image.startswith(b"\xff\xd8\xff") or (self.decode and not decodes(image)):
            raise Refused(400, "The image is not a valid JPEG")
        asked = request.args.to_dict()  # of a plain one a dozen members are asked at less cost
        faces, rotation = self._find(image, sha256, is_asked(asked, "rotate_until_faces_found"))
        if "face" in asked:
            faces = [given_face(asked["face"], faces)]
        else:
            faces = [face for face in faces if is_wanted(face, asked)]
        written = [wire(face, asked) for face in faces]
        return ok(written, rotation=rotation) if is_asked(asked, "rotate_until_faces_found") else ok(written)

    def _find(self, image: bytes, sha256: str, turning: bool) -> tuple[Sequence[Detection], int]:
        found = self.faces_of.get(sha256, self.faces)
        if found is not None:
            return found, 0
        if self.engine is not None:
            return look(self.engine, image, turning=turning)
        return derived(sha256), 0

    def _in_mood(self, mood: Mood, right: Callable[[], Response]) -> Response:
        if mood.name != "drip":  # its seconds lie between the bytes
            self._wait(mood.seconds)
        if mood.name == "revoke":
            self.revoke()
        return faulty_answer(mood, right)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.closing.wait(seconds)


_ROUTES: dict[str, tuple[str, Callable[[Emulator, Request], Response]]] = {
    "/api/v1/login": ("POST", Emulator._login),
    "/api/v1/users": ("POST", Emulator._sign_up),
    "/api/v1/detect": ("POST", Emulator._detect),
    "/api/v1/openapi.json": ("GET", Emulator._openapi),
}
