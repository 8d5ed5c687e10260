"""The HTTP interface of questions."""

from functools import partial

from flask import Blueprint, Response

from service.features.questions import builtin, operations
from service.features.questions.schemas import ClueQuery, Clues, PreviousQuestion, QuestionList, QuestionsIn
from service.http.basic_auth import require_basic
from service.http.bodies import body, query
from service.http.idempotency import idempotent
from service.http.openapi_views import describe
from service.http.pagination import Page, number_of, page_answer
from service.http.responses import answer
from service.http.services import provided

questions = Blueprint("questions", __name__)
questions.before_request(require_basic)
clues = Blueprint("clues", __name__)
_services = partial(provided, operations.Services)


@questions.post("/questions")
@describe({200: PreviousQuestion}, 400, 413, 422, 503, body=QuestionsIn)
@idempotent(answer)
def fetch_questions() -> Response:
    """Store new questions and get the last one that was stored before this request; `{}` for the first request.

    Each question is stored once for ever: repeats are asked for again. Requests at once form one order, and no two
    get the same answer. Where the source fails or has nothing new, the answer is 503 with `Retry-After`, and its
    member `saved` is the number that was stored all the same.
    """
    return answer(operations.fetch_questions(_services(), body(QuestionsIn).questions_num))


@questions.get("/questions")
@describe({200: QuestionList}, 422, query=Page)
def list_questions() -> Response:
    """List the stored questions, the last saved first."""
    wanted = query(Page)
    return page_answer(*operations.list_questions(_services(), wanted.limit, number_of(wanted.cursor)))


@clues.get("/api/random")
@describe({200: Clues}, 422, query=ClueQuery, open=True)
def draw_clues() -> Response:
    """Draw questions that come with this service, in the form of jservice; nothing is stored."""
    return answer(builtin.clues(query(ClueQuery).count))
