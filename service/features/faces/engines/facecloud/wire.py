"""FaceCloud's answers: the envelope, the faces, the token, the words of an error."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import orjson

from service.features.faces.engines.engine import Detection, Gender
from service.features.faces.engines.facecloud.failures import Unserved

LONGEST_WAIT = 3600.0  # seconds of Retry-After that are believed
LARGEST_NUMBER = 2**31 - 1  # what the database's integers hold

NINE_IN_TEN = 1.645  # standard deviations on either side of a normal distribution's mean

_NO_FACES = re.compile(r"\bno\s+faces?\b", re.IGNORECASE)
_TOKEN = re.compile(r"\b(token|jwt|authorization)\b", re.IGNORECASE)


class Answer(NamedTuple):
    """What FaceCloud said, after its envelope: `body` is None where it was no JSON object."""

    status: int
    body: dict[str, Any] | None
    retry_after: float | None

    @property
    def words(self) -> str:
        """`message` and the texts of `error`, as they are."""
        if self.body is None:
            return ""
        words = [self.body["message"]] if isinstance(self.body.get("message"), str) else []
        errors = self.body.get("error")
        if isinstance(errors, str):
            words.append(errors)
        elif isinstance(errors, dict):
            for field, texts in errors.items():
                listed = texts if isinstance(texts, list) else [texts]
                words += [f"{field}: {text}" for text in listed if isinstance(text, str)]
        return " ".join(words)[:2000]

    @property
    def is_unauthorized(self) -> bool:
        """Whether the token is at fault: a 401, or a 400 whose text names the token."""
        return self.status == 401 or (self.status == 400 and bool(_TOKEN.search(self.words)))

    @property
    def is_without_faces(self) -> bool:
        """Whether it is the 400 that says that there is no face."""
        return self.status == 400 and bool(_NO_FACES.search(self.words))


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
    """Return the faces of a 200, largest first; null or missing `data` is none. Raise `Unserved` for anything else.

    `scale` is the side of the picture that was sent over the original's.
    """
    try:
        data = _of_type(dict, answer.body).get("data")
        faces = [_face(face, scale) for face in (_of_type(list, data) if data is not None else ())]
    except (KeyError, TypeError, ValueError) as error:
        raise Unserved("FaceCloud answered 200 with something else than faces.") from error
    return sorted(faces, key=lambda face: -face.width * face.height)


def _face(value: Any, scale: float) -> Detection:
    face = _of_type(dict, value)
    box = _of_type(dict, face["bbox"])
    x, y, width, height = (_pixels(box[side], scale) for side in ("x", "y", "width", "height"))
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
        score=_number(face.get("score")),
        age_low=age_low,
        age_high=age_high,
    )


def _ages(told: Any) -> tuple[float | None, float | None, float | None]:
    """Return the mean age, and between which ages the true one lies nine times in ten; None for what is not told."""
    if not isinstance(told, dict):
        return _number(told), None, None
    mean, variance = _number(told.get("mean")), _number(told.get("variance"))
    if mean is None or variance is None or variance < 0:
        return mean, None, None
    reach = NINE_IN_TEN * math.sqrt(variance)
    return mean, round(max(0.0, mean - reach), 1), round(mean + reach, 1)


def _of_type(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _pixels(value: Any, scale: float) -> int:
    pixels: int = round(_of_type(int | float, value) / scale)
    if abs(pixels) > LARGEST_NUMBER:
        raise ValueError
    return pixels


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
