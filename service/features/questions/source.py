"""The seam: where questions come from, what one is, and when two are the same."""

import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

SourceName = Literal["jservice", "opentdb", "builtin"]

QUESTION_LENGTH = 2_000
ANSWER_LENGTH = 1_000
CATEGORY_LENGTH = 200
EXTERNAL_ID_LENGTH = 64
DIFFICULTY_LENGTH = 32
LARGEST_VALUE = 2**31 - 1  # what the database's integers hold

_BREAK = re.compile(r"</?(?:br|p|div|li|[ou]l|hr|t[rdh]|h[1-6]|blockquote|section|article)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class FetchedQuestion(NamedTuple):
    """A question as a source gave it, decoded.

    `external_id` is its id there, else its fingerprint; `asked_at` its own date, in the form of the service's times.
    """

    external_id: str
    fingerprint: str
    question: str
    answer: str
    category: str | None
    asked_at: str | None = None
    difficulty: str | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of a source gave; `last` where further calls would give nothing else.

    `unusable` is how many came with it that are no questions to store, such as those without an answer.
    """

    questions: Sequence[FetchedQuestion]
    last: bool = False
    unusable: int = 0


class SourceFailed(Exception):
    """The source gave nothing: a sentence for the client, and the seconds after which to try again."""

    def __init__(self, detail: str, retry_after: int = 5, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.status = status


class Source(Protocol):
    """Gives questions. Safe for all threads, and for processes beside each other."""

    name: SourceName

    def fetch(self, count: int, deadline: float) -> Batch:
        """Return about `count` questions, known ones among them; it may be fewer or more.

        `deadline` is a time of `time.monotonic()`, which it keeps. Raises SourceFailed.
        """


def fetched_question(
    external_id: object,
    question: object,
    answer: object,
    category: object,
    *,
    asked_at: str | None = None,
    difficulty: object = None,
    value: object = None,
) -> FetchedQuestion | None:
    """Return a question of these members; None where the text or the answer is missing, empty or without measure.

    A source without ids, or with unusable ones, has its questions told apart by their text.
    """
    if not isinstance(question, str) or not isinstance(answer, str):
        return None
    digest = fingerprint(question)
    question, answer = one_line(question), one_line(answer)
    if digest == _EMPTY or not answer or len(question) > QUESTION_LENGTH or len(answer) > ANSWER_LENGTH:
        return None
    usable = isinstance(external_id, str | int) and not isinstance(external_id, bool)
    name = one_line(str(external_id)) if usable else ""
    return FetchedQuestion(
        name if 0 < len(name) <= EXTERNAL_ID_LENGTH else digest,
        digest,
        question,
        answer,
        _short_text(category, CATEGORY_LENGTH),
        asked_at,
        _short_text(difficulty, DIFFICULTY_LENGTH),
        _whole(value),
    )


def _short_text(value: object, length: int) -> str | None:
    return (one_line(value)[:length] if isinstance(value, str) else "") or None


def _whole(value: object) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST_VALUE:
        return None
    return int(value)


def time_of(text: object) -> str | None:
    """Return a time of ISO 8601 in the form of the service's own, in UTC where it names no zone; None for no time."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(text: str) -> str:
    """Return a text on one line without control characters."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def strip_html(markup: str) -> str:
    """Return the text of a bit of HTML: without its tags, with its entities decoded."""
    return html.unescape(_without_tags(markup))


def fingerprint(text: str) -> str:
    """Return what questions of one text share: SHA-256 after entities, tags, case and spaces are taken out of play."""
    return hashlib.sha256(one_line(_without_tags(html.unescape(text))).casefold().encode()).hexdigest()


def _without_tags(markup: str) -> str:
    """Return a text without its tags, with a space where one begins a line or a cell."""
    return _TAG.sub("", _BREAK.sub(" ", markup))


_EMPTY = fingerprint("")
