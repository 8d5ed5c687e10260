"""FaceCloud's answers: the envelope, the faces, the token, the words of an error."""

import logging
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import orjson

from service.features.faces.engines.engine import Detection, Gender
from service.features.faces.engines.facecloud.failures import Unserved
from service.jobs.operation import Answered
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

LONGEST_WAIT = 3600.0  # seconds of Retry-After that are believed
OLDEST = 150.0  # years that an age may have
LARGEST_NUMBER = 2**31 - 1  # what the database's integers hold

NINE_IN_TEN = 1.645  # standard deviations on either side of a normal distribution's mean

_NO_FACES = re.compile(r"\bno\s+faces?\b", re.IGNORECASE)
# What Flask-JWT-Extended and PyJWT write of a token that they refuse.
_TOKEN = re.compile(
    r"\b(tokens?|jwt|authorization|bearer|signature verification|segments|claims?|subject must"
    r"|(header|payload|crypto) (padding|string))\b",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """What FaceCloud said, after its envelope: `body` is None where it was no JSON object."""

    status: int
    body: dict[str, Any] | None
    retry_after: float | None

    @property
    def words(self) -> str:
        """The texts of `message`, `msg` and `error`, as they are."""
        body = self.body or {}
        return " ".join(text for member in ("message", "msg", "error") for text in _texts(body.get(member)))[:2000]

    @property
    def is_unauthorized(self) -> bool:
        """Whether the token is at fault: a 401, or a 400 or 422 whose text speaks of the token."""
        return self.status == 401 or (self.status in (400, 422) and bool(_TOKEN.search(self.words)))

    @property
    def is_without_faces(self) -> bool:
        """Whether it is the 400 that says that there is no face."""
        return self.status == 400 and bool(_NO_FACES.search(self.words))


def _texts(value: Any) -> list[str]:
    """Return the texts of a member: itself, those of a list, or those of an object with the names of their fields."""
    match value:
        case str():
            return [value]
        case list():
            return [text for text in value if isinstance(text, str)]
        case dict():
            return [f"{field}: {text}" for field, texts in value.items() for text in _texts(texts)]
    return []


def read_answer(status: int, content: bytes, retry_after: str | None) -> Answer:
    """Open the envelope. Under HTTP 200 the envelope's own status decides. Raise `Unserved` for a 200 without JSON."""
    body = None
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if status == 200:
            raise Unserved("FaceCloud answered 200 with something that is not JSON.") from error
    else:
        body = parsed if isinstance(parsed, dict) else None
    if status == 200 and body is not None:
        inner = body.get("status_code")
        if isinstance(inner, int) and 100 <= inner <= 599:
            status = inner
    return Answer(status, body, _seconds(retry_after) if retry_after else None)


def read_token(answer: Answer) -> str:
    """Return the token of a login's 200. Raise `Unserved` where there is none."""
    data = (answer.body or {}).get("data")
    value = data.get("access_token") if isinstance(data, dict) else None
    if isinstance(value, str) and value.isascii() and value.isprintable() and value:
        return value
    raise Unserved("FaceCloud answered the login without a token.")


def read_faces(answer: Answer, scale: float) -> list[Detection]:
    """Return the faces of a 200, largest first. They stand in `data` or in `data.faces`; null or missing is none.

    `scale` is the side of the picture that was sent over the original's. A face that cannot be read is left out. Raise
    `Answered` where none can be: the image was answered, so asking again would not help. Raise `Unserved` for data that
    holds no list of faces.
    """
    data = (answer.body or {"data": ""}).get("data")
    if isinstance(data, dict):
        data = data.get("faces", "")
    if data is None:
        return []
    if not isinstance(data, list):
        raise Unserved("FaceCloud answered 200 with something else than faces.")
    faces = [face for value in data if (face := _face(value, scale))]
    if len(faces) < len(data):
        logs.event(log, "faces unreadable", logging.WARNING, faces=len(data), unreadable=len(data) - len(faces))
        if not faces:
            raise Answered("upstream_rejected", "FaceCloud answered 200 with faces that cannot be read.")
    return sorted(faces, key=lambda face: -face.width * face.height)


def _face(value: Any, scale: float) -> Detection | None:
    """Return a face, or None where it has no box that can be one."""
    face = value if isinstance(value, dict) else {}
    box = face.get("bbox")
    sides = [_pixels(box.get(side), scale) for side in ("x", "y", "width", "height")] if isinstance(box, dict) else []
    match sides:
        case [int(x), int(y), int(width), int(height)] if width > 0 and height > 0:
            pass
        case _:
            return None
    demographics = face.get("demographics")
    if not isinstance(demographics, dict):
        demographics = {}
    age, age_low, age_high = _ages(demographics.get("age"))
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
        age=age,
        score=_number(face.get("score"), 1.0),
        age_low=age_low,
        age_high=age_high,
    )


def _ages(told: Any) -> tuple[float | None, float | None, float | None]:
    """Return the mean age, and between which ages the true one lies nine times in ten; None for what is not told."""
    if not isinstance(told, dict):
        return _number(told, OLDEST), None, None
    mean, variance = _number(told.get("mean"), OLDEST), _number(told.get("variance"), OLDEST**2)
    if mean is None or variance is None:
        return mean, None, None
    reach = NINE_IN_TEN * math.sqrt(variance)
    return mean, round(max(0.0, mean - reach), 1), round(mean + reach, 1)


def _pixels(value: Any, scale: float) -> int | None:
    number = _number(value, LARGEST_NUMBER, -LARGEST_NUMBER)
    pixels = None if number is None else round(number / scale)
    return pixels if pixels is not None and abs(pixels) <= LARGEST_NUMBER else None


def _number(value: Any, largest: float, smallest: float = 0.0) -> float | None:
    """Return a number that can be meant; None for any other, and for what is no number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not smallest <= value <= largest:
        return None
    return float(value)


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
