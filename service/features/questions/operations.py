"""What a client can do with questions: plain values in, plain values out.

The order of requests. A request fetches first, with no transaction open, and keeps in memory what it gets. Then it
saves all of it in one transaction, which locks the row `order` of `question_source` before it reads anything. So
these transactions form one order, in SQLite and elsewhere, and a request's place in it is the place of its own. Its
answer is the last question stored when its transaction begins. Each of them stores at least one question or does not
count: one that would come short stores nothing, and the request fetches more; the last try stores what there is, and
a request that came short is answered 503. So the last question moves with every request that is answered 200, and no
two get the same.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.database import Database, now
from service.db.keyset import newest
from service.db.results import record_result
from service.errors import Unavailable
from service.features.questions.models import Question, QuestionSource
from service.features.questions.source import FetchedQuestion, Source, SourceFailed

ROUNDS = 10
"""How often a request asks its source at most."""
SECONDS = 9.5
"""How long a request may fetch; what is left of ten seconds is for saving."""
EXHAUSTED_FOR = 3600
"""Seconds after which to ask again a source that has nothing new."""
SILENT_FOR = 60
"""Seconds after which to ask again one that gives nothing that can be used."""
SHORT_FOR = 5
"""Seconds after which to ask again one that gives new questions, but too few."""
CHUNK = 200
"""How many questions are looked up in one query."""
ORDER = "order"


@dataclass(frozen=True)
class Services:
    """What the operations of questions stand on."""

    database: Database
    source: Source


class Saved(NamedTuple):
    """What a transaction stored, and the last question before it."""

    number: int
    previous: dict[str, Any]


def fetch_questions(services: Services, number: int) -> dict[str, Any]:
    """Store so many new questions and return the last one stored before them, `{}` if there was none.

    Raises Unavailable with the member `saved` where the source gives fewer; those stay.
    """
    candidates: list[FetchedQuestion] = []
    unusable = 0
    trouble: tuple[str, int] | None = None
    deadline = time.monotonic() + SECONDS
    short = number
    for _ in range(ROUNDS):
        if time.monotonic() >= deadline:
            trouble = "The source took too long to give enough new questions.", 1
            break
        try:
            batch = services.source.fetch(short, deadline)
        except SourceFailed as error:
            trouble = error.detail, error.retry_after
            break
        candidates.extend(batch.questions)
        unusable += batch.unusable
        short = number - _count_fresh(services, candidates, number)
        if not short:
            saved = _save(services, candidates, number, whole=True)
            if saved:
                return saved.previous
            short = number - _count_fresh(services, candidates, number) or 1
        if batch.last:
            trouble = "The source has no new questions left.", EXHAUSTED_FOR
            break
    saved = _save(services, candidates, number, whole=False)
    if saved and saved.number == number:
        return saved.previous
    count = saved.number if saved else 0
    detail, retry_after = trouble or _shortage(short < number, bool(candidates), bool(unusable))
    raise Unavailable(f"{detail} {count} of {number} were stored.", retry_after, code="source_unavailable", saved=count)


def list_questions(services: Services, limit: int, before: int | None) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of questions, the last saved first, and where the next page begins."""
    with services.database.read() as session:
        rows, end = newest(session, _QUESTIONS, limit, before)
    return [dict(row._mapping) for row in rows], end


def _shortage(some_new: bool, some_known: bool, some_unusable: bool) -> tuple[str, int]:
    """Say why a source that answered every time gave too few, and after how many seconds to ask again."""
    if some_new:
        return "The source gave fewer new questions than were asked for.", SHORT_FOR
    if some_known and some_unusable:
        return "The source gave only questions that are stored already or cannot be used.", EXHAUSTED_FOR
    if some_known:
        return "The source gave only questions that are stored already.", EXHAUSTED_FOR
    if some_unusable:
        return "The source gave only questions that cannot be used: without a text, without an answer.", SILENT_FOR
    return "The source gave no questions.", SILENT_FOR


def _count_fresh(services: Services, candidates: Sequence[FetchedQuestion], number: int) -> int:
    with services.database.read() as session:
        return sum(1 for _ in islice(_fresh(session, services.source.name, candidates), number))


def _save(services: Services, candidates: Sequence[FetchedQuestion], number: int, *, whole: bool) -> Saved | None:
    """Store up to `number` of the candidates in one transaction; with `whole`, all of them or none.

    Others may have stored some since they were looked at, so they are looked at again.
    """
    if not candidates:
        return None
    with services.database.write() as session:
        # Read to its end: SQLite keeps a statement's view of the database while it waits, beyond the commit.
        session.scalars(sa.select(QuestionSource.name).where(QuestionSource.name == ORDER).with_for_update()).all()
        fresh = list(islice(_fresh(session, services.source.name, candidates), number))
        if not fresh or (whole and len(fresh) < number):
            return None
        previous = session.execute(_QUESTIONS.order_by(Question.id.desc()).limit(1)).mappings().first()
        common = {"source": services.source.name, "created_at": now()}
        session.execute(sa.insert(Question), [question._asdict() | common for question in fresh])
        saved = Saved(len(fresh), dict(previous) if previous else {})
        if saved.number == number:  # else the answer will be 503, and the same request may be sent again
            record_result(session, lambda: saved.previous)
        return saved


def _fresh(session: Session, source: str, candidates: Sequence[FetchedQuestion]) -> Iterator[FetchedQuestion]:
    """Yield the candidates that are not stored, each once; look no further than is asked for."""
    ids: set[str] = set()
    texts: set[str] = set()
    for begin in range(0, len(candidates), CHUNK):
        some = candidates[begin : begin + CHUNK]
        stored = session.execute(
            sa.select(Question.source, Question.external_id, Question.fingerprint).where(
                sa.or_(
                    Question.fingerprint.in_([question.fingerprint for question in some]),
                    sa.and_(
                        Question.source == source,
                        Question.external_id.in_([question.external_id for question in some]),
                    ),
                )
            )
        ).all()
        ids |= {row.external_id for row in stored if row.source == source}
        texts |= {row.fingerprint for row in stored}
        for question in some:
            if question.external_id not in ids and question.fingerprint not in texts:
                ids.add(question.external_id)
                texts.add(question.fingerprint)
                yield question


_QUESTIONS = sa.select(
    Question.id,
    Question.question,
    Question.answer,
    Question.category,
    Question.created_at,
    Question.asked_at,
    sa.func.nullif(Question.external_id, Question.fingerprint).label("external_id"),
    Question.difficulty,
    Question.value,
    Question.source,
)
