"""Users of augmentation: registration, login, tokens.

An e-mail is one user's, whatever its case and its Unicode form: mail systems that tell Ann@ from ann@ are rare, and
people who type it both ways are not. Its domain is compared as IDNA writes it. It is not looked up: a service on a
machine of one's own has users at names that only that network knows.
"""

import hashlib
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import jwt
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.cpu_slots import CpuSlots
from service.db.database import Database
from service.db.results import record_result
from service.errors import Conflict, Invalid, Unauthorized
from service.features.augmentation.models import User
from service.http.login_throttle import LoginThrottle
from service.http.passwords import opaque_string, readings

if TYPE_CHECKING:
    from jwt.types import Options

TOKEN_LIFE = 24 * 3600
"""Seconds that a token is good for."""
ALGORITHM = "HS256"
# Of `iat` nothing is asked: another machine, whose clock is a little ahead, may have made the token just now.
_DEMANDS: "Options" = {"require": ["exp", "sub"], "verify_iat": False}
TURN_SECONDS = 20
"""How long a password waits for its turn to be hashed before the client is asked to come again."""

# `.local`, `.test` and the like, which the library refuses, are names that networks of one's own have.
SPECIAL_USE_DOMAIN_NAMES.clear()

# OWASP's least for Argon2id: 19 MiB, two passes, one lane. Some 30 ms of one core.
_BUSY = "Too many people are logging in just now. Try again in a few seconds."
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True)
class Accounts:
    """What the operations of users stand on. `slots` bounds how many passwords are hashed at a time."""

    database: Database
    login_throttle: LoginThrottle
    slots: CpuSlots
    secret: Callable[[], str]


def register(
    accounts: Accounts, email: str, password: str, first_name: str | None, last_name: str | None
) -> dict[str, Any]:
    """Add a user and return what `token_of` takes; raises Conflict for a known e-mail, which must be one by now."""
    with accounts.slots.hold(TURN_SECONDS, _BUSY, retry_after=5):
        hashed = _hasher.hash(opaque_string(password))
    user = User(
        id=str(uuid.uuid4()),
        email=normalized(email),
        password=hashed,
        created_at=datetime.now(UTC),
        first_name=first_name,
        last_name=last_name,
    )
    login = {"user_id": user.id, "moment": int(time.time())}
    try:
        with accounts.database.write() as session:
            if _user_with(session, _spellings(email)):
                raise _known_email()
            session.add(user)
            session.flush()
            record_result(session, lambda: login)
    except IntegrityError as error:  # only where writers do not wait for each other
        raise _known_email() from error
    return login


@contextmanager
def counting_other_bodies(accounts: Accounts, client: str) -> Iterator[None]:
    """Count another body under a known key, which the block refuses, as a wrong password of this client."""
    name = _tries_from(client)
    accounts.login_throttle.check(name)
    try:
        yield
    except Invalid:
        accounts.login_throttle.record_failure(name)
        raise


def log_in(accounts: Accounts, email: str, password: str, client: str) -> dict[str, Any]:
    """Return a token; raises Unauthorized in one text and time for an unknown e-mail and a wrong password.

    `client` is whose tries these are; they are counted for it, and for the e-mail, which takes twice as many.
    """
    addresses = _spellings(email)
    names = (_tries_from(client), f"augmentation {addresses[-1]}")
    accounts.login_throttle.check(names[0])
    accounts.login_throttle.check(names[1], times=2)
    with accounts.database.read() as session:
        user = _user_with(session, addresses)
    with accounts.slots.hold(TURN_SECONDS, _BUSY, retry_after=5):
        right = _verify(_nobody(), password, user.password if user else None)
    if not (user and right):
        accounts.login_throttle.record_failure(*names)
        raise Unauthorized("The e-mail or the password is wrong.", headers={"WWW-Authenticate": "Bearer"})
    accounts.login_throttle.forget(names[1])
    return token_of(accounts, user.id, int(time.time()))


def _tries_from(client: str) -> str:
    return f"augmentation from {client}"


def user_of(accounts: Accounts, token: str) -> str:
    """Return the id of the user whose token this is; raises Unauthorized."""
    try:
        claims = jwt.decode(token, _key(accounts), algorithms=[ALGORITHM], options=_DEMANDS)
    except jwt.InvalidTokenError as error:
        raise _refusal() from error
    with accounts.database.read() as session:
        user = session.scalar(sa.select(User.id).where(User.id == claims["sub"]))
    if not user:
        raise _refusal()
    return user


def normalized(email: str) -> str:
    """Return an e-mail as it is compared and stored: NFKC and lower case. Raise EmailNotValidError."""
    return _nfkc(_validated(_nfkc(email)))


def _spellings(email: str) -> list[str]:
    """Return how a user's e-mail may be stored: as earlier versions wrote it, whose accounts stay, then as now."""
    found = [email.lower()]
    for spell in (_validated, normalized):
        with suppress(EmailNotValidError):
            found.append(spell(email))
    return found[1:] or found


def _validated(email: str) -> str:
    return validate_email(email.strip(), check_deliverability=False, globally_deliverable=False).normalized.lower()


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _user_with(session: Session, addresses: Sequence[str]) -> User | None:
    """Return the user that has the first of these addresses that any has."""
    found = session.scalars(sa.select(User).where(User.email.in_(_without_nul(addresses))))
    named = {user.email: user for user in found}
    return next((named[address] for address in addresses if address in named), None)


def _without_nul(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if "\0" not in text]  # which PostgreSQL refuses to look for


def _known_email() -> Conflict:
    return Conflict("There is already a user with this e-mail address. Log in, or use another one.", code="email_taken")


def _verify(nobody: str, password: str, hashed: str | None) -> bool:
    """Return whether the password is right; compare an unknown user's with nobody's, so that it takes as long."""
    return any(_is_hash_of(hashed or nobody, text) for text in readings(password)) and hashed is not None


def _is_hash_of(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except VerifyMismatchError:
        return False


@cache
def _nobody() -> str:
    return _hasher.hash(str(uuid.uuid4()))


def token_of(accounts: Accounts, user_id: str, moment: int) -> dict[str, Any]:
    """Return the token of a login at this moment, in seconds since 1970: always the same one."""
    claims = {"sub": user_id, "iat": moment, "exp": moment + TOKEN_LIFE}
    token = jwt.encode(claims, _key(accounts), algorithm=ALGORITHM)
    return {"access_token": token, "token_type": "bearer", "user_id": user_id}


def _key(accounts: Accounts) -> bytes:
    """Return the key of tokens alone, so that nothing else that is signed here can pass for one."""
    return hashlib.sha256(b"augmentation token " + accounts.secret().encode()).digest()


def _refusal() -> Unauthorized:
    return Unauthorized(
        "The token is not valid, or it has expired. Log in again.",
        code="token_invalid",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )
