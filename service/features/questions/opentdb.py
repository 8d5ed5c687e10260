"""Questions from the Open Trivia Database: 50 a call, one call in five seconds over all processes.

Its answer is `{"response_code": number, "results": [{"question", "correct_answer", "category", …}]}`, every text
percent-encoded, as asked for by `encode=url3986`. The codes: 0 here they are; 1 it has not so many; 2 a parameter is
wrong; 3 there is no such token; 4 this token has been given everything; 5 too soon after the last call (with HTTP
429). A token, which lives for six hours after its last use, keeps it from giving a question twice.
"""

import html
import math
import time
from typing import Any, TypeVar
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from service.db.database import Database
from service.features.questions.http_source import JSONClient
from service.features.questions.models import QuestionSource
from service.features.questions.source import Batch, FetchedQuestion, SourceFailed, SourceName, fetched_question

C = TypeVar("C")

INTERVAL = 5.0
"""Seconds that must lie between two calls from one address, whatever they are for."""
MARGIN = 0.05
"""Seconds added to that, for clocks that are not quite one."""
LARGEST_CALL = 50
ONE_CALL = 1.0
"""Seconds that one answer may well take, when a turn for a token is weighed."""

_TOO_SOON = "The Open Trivia Database takes one call in five seconds, and other calls come first."


class OpenTrivia:
    """The Open Trivia Database at `url`. What all processes must know, the last call and the token, is a row."""

    name: SourceName = "opentdb"

    def __init__(self, url: str, database: Database) -> None:
        self._client = JSONClient(url)
        self._database = database

    def fetch(self, count: int, deadline: float) -> Batch:
        """Return up to 50 questions; waits for its turn, and goes on after a token has run out."""
        amount = min(count, LARGEST_CALL)
        while True:
            token = self._token(count, deadline)
            parameters = {"amount": str(amount), "encode": "url3986"} | ({"token": token} if token else {})
            answer = self._call("/api.php", parameters, deadline)
            code = answer.get("response_code")
            if code == 0:
                return _batch(answer.get("results"))
            if code in (3, 4):
                # It has run out or does not exist; another process may have put a new one in its place.
                self._update(QuestionSource.token == token, token=None)
            elif code == 1 and amount > 1:
                amount //= 2
            elif code == 1:
                return Batch([], last=True)
            elif code != 5:
                raise SourceFailed(f"The Open Trivia Database refused the call with its code {code!s:.20}.", 60)

    def _call(self, path: str, parameters: dict[str, str], deadline: float) -> dict[str, Any]:
        """Wait for a turn and make one call. A 429 is an answer too: code 5."""
        self._take_turn(deadline)
        pause = 0.0
        try:
            answer = self._client.get(path, parameters, deadline)
        except SourceFailed as error:
            if error.status != 429 or time.monotonic() + max(error.retry_after, INTERVAL) > deadline:
                raise
            answer = {"response_code": 5}
            pause = max(0.0, error.retry_after - INTERVAL)
        finally:
            # The other side may have counted from the call's arrival, which was at the latest now.
            self._update(last_call_at=time.time() + pause)
        if not isinstance(answer, dict):
            raise SourceFailed("The Open Trivia Database answered something else than it promises.")
        return answer

    def _take_turn(self, deadline: float) -> None:
        """Wait until the last call of any process is five seconds ago, and take the turn by a guarded update."""
        while True:
            moment = time.time()
            free = sa.or_(
                QuestionSource.last_call_at <= moment - INTERVAL - MARGIN,
                QuestionSource.last_call_at > moment + INTERVAL,  # the clock was set back
            )
            if self._update(free, last_call_at=moment):
                return
            wait = self._wait()
            if time.monotonic() + wait >= deadline:
                raise SourceFailed(_TOO_SOON, math.ceil(wait))
            time.sleep(wait)

    def _wait(self) -> float:
        """Return the seconds until the next turn is free, a hundredth at least."""
        return max(0.01, (self._read(QuestionSource.last_call_at) or 0.0) + INTERVAL + MARGIN - time.time())

    def _token(self, count: int, deadline: float) -> str | None:
        """Return the shared token. A new one takes a turn: it is done without where the questions need them all."""
        kept = self._read(QuestionSource.token)
        if kept:
            return kept
        calls = math.ceil(count / LARGEST_CALL)
        if time.monotonic() + self._wait() + calls * (INTERVAL + 2 * MARGIN) + ONE_CALL > deadline:
            return None
        try:
            token = self._call("/api_token.php", {"command": "request"}, deadline).get("token")
        except SourceFailed as error:
            if error.status is None:
                raise
            return None  # it is up and gives no token: repeats are sorted out here too
        if not isinstance(token, str) or not 0 < len(token) <= 128:
            return None
        # Another process may have put one there meanwhile, which is shared then.
        self._update(QuestionSource.token.is_(None), token=token)
        return self._read(QuestionSource.token)

    def _read(self, column: InstrumentedAttribute[C]) -> C | None:
        """Return a column of this source's row."""
        with self._database.read() as session:
            return session.scalar(sa.select(column).where(QuestionSource.name == self.name))

    def _update(self, *which: sa.ColumnElement[bool], **values: Any) -> bool:
        """Change this source's row where these conditions hold; return whether they did."""
        change = sa.update(QuestionSource).where(QuestionSource.name == self.name, *which).values(**values)
        with self._database.write() as session:
            return session.execute(change.returning(QuestionSource.name)).first() is not None


def _batch(results: Any) -> Batch:
    if not isinstance(results, list):
        raise SourceFailed("The Open Trivia Database answered something else than it promises.")
    made = (_question(result) for result in results if isinstance(result, dict))
    questions = [question for question in made if question]
    return Batch(questions, unusable=len(results) - len(questions))


def _question(result: dict[str, Any]) -> FetchedQuestion | None:
    members = (result.get(name) for name in ("question", "correct_answer", "category", "difficulty"))
    *texts, difficulty = (html.unescape(unquote(text)) if isinstance(text, str) else None for text in members)
    return fetched_question(None, *texts, difficulty=difficulty)
