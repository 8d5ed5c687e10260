"""`Idempotency-Key` on views: a request that comes again gets its first answer again, and nothing happens twice.

One line on a view, `@idempotent(render)`, under `@describe`. Who asks stands in `g.asker`, put there by whoever checks
the credentials. A request without the header costs one look for it.
"""

import codecs
import functools
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from flask import Response, g, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import RequestEntityTooLarge

from service.config import Settings
from service.db import results
from service.errors import Invalid, Malformed, TooLarge
from service.http import idempotency_store
from service.http.idempotency_store import IdempotencyStore, KeptAnswer, Reservation
from service.http.services import provided

MAX_KEY = 255

F = TypeVar("F", bound=Callable[..., Response])
Render = Callable[[Any], Response]


class Replayed(Exception):
    """The request was carried out before, with this answer."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__("carried out before")
        self.answer = answer


class KeyedRequest:
    """A request with an Idempotency-Key: from its body to its answer."""

    def __init__(self, key: str, render: Render | None, *, secret: bool) -> None:
        self.store: IdempotencyStore = provided(IdempotencyStore)
        self.key = key
        self.render = render
        self.secret = secret
        self.fingerprint = ""
        self.reservation: Reservation | None = None
        self.answer: KeptAnswer | None = None

    def reserve(self) -> None:
        """Take the key, once both the body and who asks are known; raises Replayed, Invalid, Conflict."""
        asker = g.get("asker")
        if not (asker and self.fingerprint):
            return
        taken = self.store.reserve(_hash(asker, self.key), self.fingerprint)
        if isinstance(taken, KeptAnswer):
            raise Replayed(taken)
        self.reservation = taken

    def record(self, session: Session, value: Any) -> None:
        """Write the answer in the transaction of the effect; in place of one with a secret, what it is made of."""
        if not (self.reservation and self.render):
            raise RuntimeError("this view settles without having reserved, or has no function that renders")
        self.answer = _kept(self.render(value))
        kept = KeptAnswer(self.answer.status, [], orjson.dumps(value)) if self.secret else self.answer
        idempotency_store.settle(session, self.reservation, kept)

    def replay(self, kept: KeptAnswer) -> Response:
        """Return the first answer; one with a secret is made again."""
        if self.secret and self.render:
            kept = _kept(self.render(orjson.loads(kept.body)))
        return _response(kept._replace(headers=[*kept.headers, ("Idempotency-Replayed", "true")]))

    def carry_out(self, view: Callable[[], Response]) -> Response:
        """Return the view's answer, kept for those who ask again."""
        settled = False
        try:
            response = view()
            if response.status_code >= 400:
                return response
            if not self.reservation:
                raise RuntimeError("this view did not read its body by `service.http.uploads`, or `g.asker` is not set")
            if not self.answer:
                if self.secret:
                    raise RuntimeError("an answer with a secret is not kept: its operation has to settle")
                self.answer = _kept(response)
                self.store.settle_after(self.reservation, self.answer)
            settled = True
            return _response(self.answer)
        finally:
            if self.reservation:
                self.store.release(self.reservation, settled=settled)


def idempotent(render: Render | None = None, *, form: bool = False, secret: bool = False) -> Callable[[F], F]:
    """Return a decorator that makes a view obey `Idempotency-Key`.

    `form` is for views that read their body by `service.http.uploads`, and call `reserve_json` where it is JSON.
    `render` makes the answer from what the operation settles: such an answer is written with the effect, so even a
    process killed between the two does nothing twice. Where the operation does not settle, the answer is written just
    after it. With `secret`, for a body and an answer that must not be kept, only what is settled is written, and
    `render` makes the same answer of it again.
    """

    def mark(view: F) -> F:
        @functools.wraps(view)
        def once(*args: Any, **kwargs: Any) -> Response:
            text = request.headers.get("Idempotency-Key")
            if text is None:
                return view(*args, **kwargs)
            keyed = KeyedRequest(_key(text), render, secret=secret)
            with results.recorded_by(keyed):
                try:
                    if not form:
                        reserve_json()
                    return keyed.carry_out(lambda: view(*args, **kwargs))
                except Replayed as replayed:
                    return keyed.replay(replayed.answer)

        once.idempotent = True  # type: ignore[attr-defined]
        return once  # type: ignore[return-value]

    return mark


def is_keyed() -> bool:
    """Return whether the request has a key, so that its body must be fingerprinted."""
    return _keyed() is not None


def reserve(*body: Any) -> None:
    """Take the request's key, if it has one, now that its body is known: plain values that stand for all of it."""
    if keyed := _keyed():
        # A body with a secret can be told from its fingerprint only with this service's own key.
        fingerprint = _keyed_hash if keyed.secret else _hash
        keyed.fingerprint = fingerprint(request.method, request.path, request.query_string.decode("latin-1"), body)
        keyed.reserve()


def reserve_json() -> None:
    """Take the request's key, if it has one, by its body, which is JSON."""
    if is_keyed():
        reserve("json", _canonical(read_body()))


def identify(asker: str) -> None:
    """Note who asks, where that stands in the body: a key is one asker's alone."""
    g.asker = asker
    if keyed := _keyed():
        keyed.reserve()


def read_body() -> bytes:
    """Return the body of a request that is JSON, without a byte order mark, which RFC 8259 lets a reader ignore.

    Raise TooLarge, and Malformed where the body is cut off.
    """
    try:
        text = request.get_data(cache=is_keyed())
    except RequestEntityTooLarge as error:
        most = request.max_content_length
        raise TooLarge(f"The body is too large: JSON may have at most {most} bytes. Send less.", limit=most) from error
    if len(text) < (request.content_length or 0):
        raise Malformed("The body was cut off: fewer bytes came than Content-Length says.", code="body_cut_off")
    return text.removeprefix(codecs.BOM_UTF8)


def _canonical(text: bytes) -> str:
    """Return JSON without what does not matter: the order of members and spaces. Nothing is the same as `{}`."""
    try:
        return orjson.dumps(orjson.loads(text or b"{}"), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # broken, or too deep
        return text.decode("latin-1")


def _key(text: str) -> str:
    """Return the key, bare or as the quoted string of a structured field; raises Invalid."""
    if re.fullmatch(r'"(?:[^"\\]|\\["\\])*"', text):
        text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if not re.fullmatch(rf"[ -~]{{1,{MAX_KEY}}}", text):
        detail = f"The Idempotency-Key must have 1 to {MAX_KEY} printable ASCII characters."
        raise Invalid(detail, code="idempotency_key_invalid")
    return text


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _keyed_hash(*values: Any) -> str:
    secret: str = provided(Settings).signing_key
    key = hashlib.sha256(b"fingerprint of a request " + secret.encode()).digest()
    return hmac.digest(key, json.dumps(values).encode(), "sha256").hex()


def _kept(response: Response) -> KeptAnswer:
    headers = [(name, value) for name, value in response.headers if name != "Content-Length"]
    return KeptAnswer(response.status_code, headers, response.get_data())


def _response(answer: KeptAnswer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers.clear()
    response.headers.extend(answer.headers)
    response.content_length = len(answer.body)
    return response


def _keyed() -> KeyedRequest | None:
    recorder = results.current_recorder()
    return recorder if isinstance(recorder, KeyedRequest) else None
