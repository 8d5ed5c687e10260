"""The questions that come along: a source that needs no network. data/LICENCES.md says whose they are."""

from functools import cache
from pathlib import Path
from random import SystemRandom
from typing import Any

import orjson

from service.features.questions.source import Batch, FetchedQuestion, SourceName, fetched_question, fingerprint

FILE = Path(__file__).parent / "data" / "builtin.json"
MADE_AT = "2026-01-01T12:00:00.000Z"
"""The questions are of one age; the jservice form wants a time."""

_random = SystemRandom()


class Builtin:
    """Hands out all of its questions, in another order each time, so that none is left to luck."""

    name: SourceName = "builtin"

    def fetch(self, count: int, deadline: float) -> Batch:
        """Return every question there is, shuffled; who asks takes as many as are new."""
        everything = load()
        return Batch(_random.sample(everything, len(everything)), last=True)


@cache
def load() -> tuple[FetchedQuestion, ...]:
    """Read the file, once in a process: some 20 ms."""
    rows = orjson.loads(FILE.read_bytes())["questions"]
    made = [
        fetched_question(number_of(fingerprint(row["question"])), row["question"], row["answer"], row["category"])
        for row in rows
    ]
    return tuple(question for question in made if question)


def number_of(digest: str) -> int:
    """Return a question's number: from its text, so that it stays when the file is made anew. No two share one."""
    return int(digest[:8], 16) >> 1


def clues(count: int) -> list[dict[str, Any]]:
    """Return so many different questions by chance, as jservice wrote them."""
    return [_clue(question) for question in _random.sample(load(), count)]


def _clue(question: FetchedQuestion) -> dict[str, Any]:
    number, size = _categories()[question.category or ""]
    times = {"created_at": MADE_AT, "updated_at": MADE_AT}
    return {
        "id": int(question.external_id),
        "answer": question.answer,
        "question": question.question,
        "value": None,
        "airdate": MADE_AT,
        **times,
        "category_id": number,
        "game_id": None,
        "invalid_count": None,
        "category": {"id": number, "title": question.category, **times, "clues_count": size},
    }


@cache
def _categories() -> dict[str, tuple[int, int]]:
    titles = [question.category or "" for question in load()]
    return {title: (number, titles.count(title)) for number, title in enumerate(sorted(set(titles)), 1)}
