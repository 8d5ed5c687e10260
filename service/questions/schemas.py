"""The shapes of questions, as clients see them."""

from typing import Annotated

from pydantic import Field, RootModel

from service.api import Shape
from service.questions.sources import SourceName


class QuestionsIn(Shape):
    """How many new questions to fetch and store."""

    questions_num: Annotated[int, Field(ge=1, le=100, description="How many new questions to store.")]


class QuestionOut(Shape):
    """A stored question. Ids grow in the order of saving."""

    id: int
    question: str
    answer: str
    category: str | None
    created_at: str
    source: SourceName


class NoQuestion(Shape):
    """Nothing: no question was saved before."""


class PreviousQuestion(RootModel[QuestionOut | NoQuestion]):
    """The question saved last before this request; `{}` for the first request of all."""


class QuestionList(Shape):
    """A page of questions, newest first; `next` is the cursor of the page after it, or null."""

    items: list[QuestionOut]
    next: str | None


class ClueQuery(Shape):
    """How many questions to draw."""

    count: Annotated[int, Field(ge=1, le=100, description="How many questions to draw.")] = 1


class ClueCategory(Shape):
    """A category in the jservice form."""

    id: int
    title: str
    created_at: str
    updated_at: str
    clues_count: int


class Clue(Shape):
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


class Clues(RootModel[list[Clue]]):
    """Questions in the jservice form, drawn by chance, none twice."""
