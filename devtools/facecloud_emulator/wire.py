"""FaceCloud's wire form: its envelope, its faces, its tokens."""

import base64
import hmac
import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from werkzeug.wrappers import Request, Response

from service.features.faces.engines.engine import Detection
from service.features.faces.engines.facecloud.wire import NINE_IN_TEN


class Refused(Exception):
    """An answer with an error in FaceCloud's envelope."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def ok(data: Any, status: int = 200, **members: Any) -> Response:
    """Return `data` in FaceCloud's envelope, with more members beside it."""
    return json_answer({"data": data, **members, "status_code": status}, status)


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in FaceCloud's envelope."""
    return json_answer({"message": message, "status_code": status}, status, headers)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON without an envelope."""
    return Response(orjson.dumps(value), status, headers, content_type="application/json")


def json_body(request: Request) -> dict[str, Any]:
    """Return the members of a request's JSON object; raise `Refused` for anything else."""
    try:
        body = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as fault:
        raise Refused(400, "The body is not JSON") from fault
    if not isinstance(body, dict):
        raise Refused(400, "The body is not an object")
    return body


def account(request: Request) -> tuple[str, str, dict[str, Any]]:
    """Return the e-mail, the password and all members of a request's body."""
    body = json_body(request)
    email, password = body.get("email"), body.get("password")
    if not isinstance(email, str) or not isinstance(password, str):
        raise Refused(400, "email and password are required")
    return email, password, body


def is_asked(asked: Mapping[str, str], name: str) -> bool:
    """Return whether a switch of the query is on, in any of the ways that FaceCloud takes."""
    return asked.get(name) in ("true", "True", "1")


def wire(face: Detection, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return a face as FaceCloud writes it; a block that was not asked for is absent."""
    written: dict[str, Any] = {
        "bbox": {"height": face.height, "width": face.width, "x": face.x, "y": face.y},
        "score": None if face.score is None else round(face.score, 6),
    }
    return written | {name: block(face) for name, block in _BLOCKS.items() if is_asked(asked, name)}


def _demographics(face: Detection) -> dict[str, Any]:
    """Return the demographics: FaceCloud's ages are whole, written as floats."""
    written: dict[str, Any] = {"ethnicity": "caucasian", "gender": face.gender}
    if face.age is not None:
        written["age"] = {"mean": float(round(face.age)), "variance": _variance(face)}
    return written


def _variance(face: Detection) -> float:
    """Return the variance whose range a face has; where it has none, 51, as was seen on the wire."""
    if face.age_low is None or face.age_high is None:
        return 51.0
    return round(((face.age_high - face.age_low) / 2 / NINE_IN_TEN) ** 2, 1)


def _landmarks(face: Detection) -> list[dict[str, int]]:
    """Return 29 points inside the box: no engine here knows the true ones."""
    angles = (2 * math.pi * number / 29 for number in range(29))
    return [
        {
            "x": round(face.x + face.width * (0.5 + 0.4 * math.cos(angle))),
            "y": round(face.y + face.height * (0.5 + 0.4 * math.sin(angle))),
        }
        for angle in angles
    ]


_BLOCKS: dict[str, Callable[[Detection], Any]] = {
    "demographics": _demographics,
    "attributes": lambda _: {
        "facial_hair": "none",
        "glasses": "none",
        "hair_color": "brown",
        "hair_type": "straight",
        "headwear": "none",
    },
    "landmarks": _landmarks,
    "liveness": lambda _: 0.98,
    "masks": lambda _: {"full_face_mask": 0.01, "lower_face_mask": 0.01, "no_mask": 0.97, "other_mask": 0.01},
    "quality": lambda _: {"blurriness": 0.1, "overexposure": 0.0, "underexposure": 0.0},
}


def jwt(secret: bytes) -> str:
    """Return a token with the claims that FaceCloud's have."""
    now = int(time.time())
    claims = {"iat": now, "nbf": now, "jti": str(uuid.uuid4()), "sub": 1, "fresh": False, "type": "access"}
    parts = b".".join(_base64(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (parts + b"." + _base64(hmac.digest(secret, parts, "sha256"))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
