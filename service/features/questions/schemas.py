"""The shapes of questions, as clients see them."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from service.features.questions.source import SourceName
from service.http.bodies import StrictModel, WholeNumber

_QUESTION: dict[str, Any] = {
    "id": 41,
    "question": "Which planet is the largest of the solar system?",
    "answer": "Jupiter",
    "category": "Astronomy",
    "created_at": "2026-01-02T03:04:05.678Z",
    "asked_at": None,
    "external_id": "1204832",
    "difficulty": None,
    "value": None,
    "source": "builtin",
}
_TIMES = {"created_at": "2026-01-02T12:00:00.000Z", "updated_at": "2026-01-02T12:00:00.000Z"}


class QuestionsIn(StrictModel, json_schema_extra={"examples": [{"questions_num": 3}]}):
    """How many new questions to fetch and store."""

    questions_num: Annotated[int, Field(ge=1, le=100, description="How many new questions to store.")]


class QuestionOut(StrictModel):
    """A stored question. Ids grow in the order of saving."""

    id: int
    question: str
    answer: str
    category: str | None
    created_at: Annotated[str, Field(description="The time of saving.")]
    asked_at: Annotated[str | None, Field(description="The question's own date at its source.")]
    external_id: Annotated[str | None, Field(description="The question's id at its source.")]
    difficulty: str | None
    value: int | None
    source: SourceName


class NoQuestion(StrictModel):
    """Nothing: no question was saved before."""


class PreviousQuestion(RootModel[QuestionOut | NoQuestion], json_schema_extra={"examples": [_QUESTION, {}]}):
    """The question saved last before this request; `{}` for the first request of all."""


class QuestionList(StrictModel, json_schema_extra={"examples": [{"items": [_QUESTION], "next": None}]}):
    """A page of questions, newest first; `next` is the cursor of the page after it, or null."""

    items: list[QuestionOut]
    next: str | None


class ClueQuery(StrictModel):
    """How many questions to draw."""

    count: Annotated[WholeNumber, Field(ge=1, le=100, description="How many questions to draw.")] = 1


class ClueCategory(StrictModel):
    """A category in the jservice form."""

    id: int
    title: str
    created_at: str
    updated_at: str
    clues_count: int


class Clue(StrictModel):
    """A question in the jservice form."""

    id: int
    answer: str
    question: str
    value: int | None
    airdate: str
    created_at: str
    updated_at: str
    category_id: int
    game_id: int | None
    invalid_count: int | None
    category: ClueCategory


class Clues(
    RootModel[list[Clue]],
    json_schema_extra={
        "examples": [
            [
                {
                    "id": 1,
                    "answer": "Jupiter",
                    "question": "Which planet is the largest of the solar system?",
                    "value": None,
                    "airdate": _TIMES["created_at"],
                    **_TIMES,
                    "category_id": 7,
                    "game_id": None,
                    "invalid_count": None,
                    "category": {
                        "id": 7,
                        "title": "astronomy",
                        **_TIMES,
                        "clues_count": 12,
                    },
                }
            ]
        ]
    },
):
    """Questions in the jservice form, drawn by chance, none twice."""
