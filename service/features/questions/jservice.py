"""Questions from a jservice-compatible server: GET /api/random?count= gives an array of clues."""

from typing import Any

from service.features.questions.http_source import JSONClient
from service.features.questions.source import (
    Batch,
    FetchedQuestion,
    SourceFailed,
    SourceName,
    fetched_question,
    strip_html,
    time_of,
)


class JService:
    """A server with the interface of jservice.io, which has been shut since 2023. `url` is its root."""

    name: SourceName = "jservice"

    def __init__(self, url: str) -> None:
        self._client = JSONClient(url)

    def fetch(self, count: int, deadline: float) -> Batch:
        """Ask for `count` clues; those without a question or an answer, or found invalid, are left out."""
        clues = self._client.get("/api/random", {"count": str(count)}, deadline)
        if not isinstance(clues, list):
            raise SourceFailed("The source of questions answered something else than a list of questions.")
        questions = [question for clue in clues if (question := _question(clue))]
        return Batch(questions, unusable=len(clues) - len(questions))


def _question(clue: Any) -> FetchedQuestion | None:
    if not isinstance(clue, dict) or clue.get("invalid_count"):
        return None
    category = clue.get("category")
    title = category.get("title") if isinstance(category, dict) else None
    texts = (clue.get("question"), clue.get("answer"), title)
    asked_at = time_of(clue.get("airdate")) or time_of(clue.get("created_at"))
    return fetched_question(clue.get("id"), *map(_text, texts), asked_at=asked_at, value=clue.get("value"))


def _text(value: Any) -> str | None:
    return strip_html(value) if isinstance(value, str) else None
