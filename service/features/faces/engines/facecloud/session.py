"""One login to FaceCloud for all threads, and the calls made with its token."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import orjson

from service.features.faces.engines.facecloud.account import Account
from service.features.faces.engines.facecloud.connections import Connections
from service.features.faces.engines.facecloud.failures import Refused, Unserved, answered, one_line, sentence
from service.features.faces.engines.facecloud.wire import Answer, read_token
from service.jobs.operation import Answered, Cancelled, Failure


class _Token(NamedTuple):
    """What one login gave. Threads compare it by identity."""

    value: str
    authorization: str


class Session:
    """Sends images under one account, and logs in when the token is missing or refused."""

    def __init__(self, connections: Connections, email: str, password: str, account: Account) -> None:
        self._connections = connections
        self._credentials = orjson.dumps({"email": email, "password": password})
        self._secrets = (email, password)
        self._account = account
        self._token: _Token | None = None
        self._lock = threading.Lock()
        self._logins = 0
        self._login_failure: Failure | None = None

    def send_image(self, jpeg: bytes, cancelled: Callable[[], bool], due_at: float) -> Answer:
        """Return the answer to a JPEG. Raise `Failure` where there is none, or no token that is taken."""
        token = self._token or self._login(None, cancelled, due_at)
        answer = self._send(jpeg, token, cancelled)
        if answer.is_unauthorized:
            token = self._login(token, cancelled, due_at)
            answer = self._send(jpeg, token, cancelled)
            if answer.is_unauthorized:
                raise self._account.token_refused(self._words_of(answer))
        return answer

    def failure(self, answer: Answer) -> Failure:
        """Return what an answer other than 200 means."""
        return answered(answer.status, self._words_of(answer), answer.retry_after)

    def _words_of(self, answer: Answer) -> str:
        token = self._token
        return one_line(answer.words, (*self._secrets, token.value) if token else self._secrets)

    def _send(self, jpeg: bytes, token: _Token, cancelled: Callable[[], bool]) -> Answer:
        headers = {"Content-Type": "image/jpeg", "Authorization": token.authorization}
        return self._connections.post("/detect?demographics=true", jpeg, headers, cancelled)

    def _login(self, stale: _Token | None, cancelled: Callable[[], bool], due_at: float) -> _Token:
        """Return a token other than `stale`. One thread logs in; those who waited share what it got."""
        seen = self._logins
        while not self._lock.acquire(timeout=0.25):
            if cancelled():
                raise Cancelled
        try:
            if self._token is not None and self._token is not stale:
                return self._token
            self._account.raise_refusal(due_at)
            if self._logins != seen and self._login_failure is not None:
                shared = self._login_failure
                if isinstance(shared, Unserved):
                    raise Unserved(shared.detail, shared.code, wait=shared.wait)
                raise type(shared)(shared.code, shared.detail, attempts=shared.attempts)
            self._token = None
            return self._log_in(cancelled)
        finally:
            self._lock.release()

    def _log_in(self, cancelled: Callable[[], bool]) -> _Token:
        self._login_failure = None
        try:
            answer = self._connections.post(
                "/login", self._credentials, {"Content-Type": "application/json"}, cancelled
            )
            value = self._read_token(answer)
        except Failure as failure:
            self._login_failure = failure
            if isinstance(failure, Refused):
                self._account.refused(failure)
            raise
        finally:
            self._logins += 1
        self._token = _Token(value, f"Bearer {value}")
        return self._token

    def _read_token(self, answer: Answer) -> str:
        if answer.status == 200:
            return read_token(answer)
        if answer.status in (400, 401, 403):
            what = f"FaceCloud answered {answer.status} to the login with FACECLOUD_EMAIL and FACECLOUD_PASSWORD"
            raise Refused("upstream_unauthorized", sentence(what, self._words_of(answer)))
        failure = self.failure(answer)
        if isinstance(failure, Answered):  # 404 and the like: the URL is wrong for every image
            raise Refused(failure.code, f"The login failed. {failure.detail}")
        raise failure
