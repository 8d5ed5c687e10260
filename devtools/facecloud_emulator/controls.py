"""What a test sets and reads of the emulator, in its process or over HTTP under `/emulator/`."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from werkzeug.wrappers import Request, Response

from devtools.facecloud_emulator.faults import Mood, Script
from devtools.facecloud_emulator.wire import Refused, json_answer, json_body
from service.features.faces.engines.engine import Detection

MAX_BYTES = 20 * 2**20
_SETTINGS: dict[str, type] = {"latency": float, "max_bytes": int, "decode": bool}
_FACE_MEMBERS = ("x", "y", "width", "height", "gender", "age", "score")


@dataclass(slots=True)
class Counters:
    """What the emulator has seen: `begins` are the Unix times at which detect calls began."""

    calls: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    begins: list[float] = field(default_factory=list)
    logins: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


class Controls:
    """The settings, faults, faces, tokens and counters of an emulator."""

    def __init__(self, script: Script | None, latency: float, max_bytes: int, decode: bool) -> None:
        self.script = script or Script()
        self.latency = latency
        self.max_bytes = max_bytes
        self.decode = decode
        self.faces: list[Detection] | None = None
        self.faces_of: dict[str, list[Detection]] = {}
        self._tokens: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._counters = Counters()

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

    def control(self, request: Request, name: str) -> Response:
        """Answer a request to `/emulator/<name>`."""
        if request.method == "GET":
            return json_answer(self._shown(name))
        try:
            self._change(request.method, name, request)
        except (TypeError, ValueError, AttributeError, KeyError) as fault:
            raise Refused(400, str(fault)) from fault
        return json_answer(self._shown(name)) if request.method == "PUT" else Response(status=204)

    def _shown(self, name: str) -> dict[str, Any]:
        match name:
            case "counters":
                return self.counters()
            case "script":
                return {"seed": self.script.seed, "moods": [asdict(mood) for mood in self.script.moods]}
            case "settings":
                return {setting: getattr(self, setting) for setting in _SETTINGS}
            case "faces":
                by_sha256 = {sha256: _told(faces) for sha256, faces in self.faces_of.items()}
                return {"default": None if self.faces is None else _told(self.faces), "by_sha256": by_sha256}
        raise Refused(404, "Not Found")

    def _change(self, method: str, name: str, request: Request) -> None:
        match method, name:
            case "PUT", "script":
                body = json_body(request)
                self.script.set([Mood(**mood) for mood in body.get("moods", ())], body.get("seed", 0))
            case "PUT", "settings":
                for setting, value in json_body(request).items():
                    setattr(self, setting, _SETTINGS[setting](value))
            case "PUT", "faces":
                self._take_faces(json_body(request))
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


def _told(faces: Iterable[Detection]) -> list[dict[str, Any]]:
    """Return faces with the members that FaceCloud speaks of."""
    return [{member: getattr(face, member) for member in _FACE_MEMBERS} for face in faces]
