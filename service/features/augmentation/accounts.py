"""Users of augmentation: registration, login, passwords.

An e-mail is one user's, whatever its case and its Unicode form: mail systems that tell Ann@ from ann@ are rare, and
people who type it both ways are not. Its domain is compared as IDNA writes it. It is not looked up: a service on a
machine of one's own has users at names that only that network knows.
"""

import hashlib
import time
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.cpu_slots import CpuSlots
from service.db.database import Database
from service.db.results import record_result
from service.errors import Conflict, Forbidden, Invalid, TooManyRequests, Unauthorized
from service.features.augmentation.models import KnownAddress, User
from service.features.augmentation.tokens import Tokens, revoke_all, token_of
from service.http.login_throttle import LoginThrottle
from service.http.passwords import opaque_string, readings

MOST_ADDRESSES = 20
"""Addresses of a user that are remembered."""
TURN_SECONDS = 20
"""How long a password waits for its turn to be hashed before the client is asked to come again."""

# OWASP's least for Argon2id: 19 MiB, two passes, one lane. Some 30 ms of one core.
_BUSY = "Too many people are logging in just now. Try again in a few seconds."
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True)
class Accounts:
    """What the operations of users stand on. `slots` bounds how many passwords are hashed at a time."""

    database: Database
    login_throttle: LoginThrottle
    slots: CpuSlots
    tokens: Tokens
    registrations: LoginThrottle
    is_open: bool


def register(
    accounts: Accounts, email: str, password: str, first_name: str | None, last_name: str | None, client: str
) -> dict[str, Any]:
    """Add a user and return what `token_of` takes; raises Conflict for a known e-mail, which must be one by now.

    `client` is the address that registrations are counted for.
    """
    if not accounts.is_open:
        raise Forbidden("Nobody can register here. Ask who runs this service.", code="registration_closed")
    _count_registration(accounts, f"registrations from {client}")
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
    login = _login(user.id)
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


def _count_registration(accounts: Accounts, name: str) -> None:
    try:
        accounts.registrations.check(name)
    except TooManyRequests as refusal:
        raise TooManyRequests(
            "Too many users were registered from your address. Try again later.",
            int(refusal.headers["Retry-After"]),
            code="too_many_registrations",
        ) from refusal
    accounts.registrations.record_failure(name)


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

    `client` is the address that the tries are counted for. They count for the e-mail too, which takes twice as many,
    but not from an address where its user has logged in before: tries from elsewhere lock nobody out there.
    """
    addresses = _spellings(email)
    accounts.login_throttle.check(_tries_from(client))
    with accounts.database.read() as session:
        user = _user_with(session, addresses)
        is_known = user is not None and session.get(KnownAddress, (user.id, _hash(client))) is not None
    names = [_tries_from(client)]
    if not is_known:
        names.append(f"augmentation {addresses[-1]}")
        accounts.login_throttle.check(names[1], times=2)
    with accounts.slots.hold(TURN_SECONDS, _BUSY, retry_after=5):
        right = _verify(_nobody(), password, user.password if user else None)
    if not (user and right):
        accounts.login_throttle.record_failure(*names)
        raise Unauthorized("The e-mail or the password is wrong.", headers={"WWW-Authenticate": "Bearer"})
    accounts.login_throttle.forget(f"augmentation {addresses[-1]}")
    with accounts.database.write() as session:
        _remember_address(session, user.id, client)
    return token_of(accounts.tokens, **_login(user.id, user.token_generation))


def change_password(accounts: Accounts, user_id: str, password: str, new: str, client: str) -> dict[str, Any]:
    """Set a new password, revoke all tokens of the user, and return a new one; raises Unauthorized for a wrong one."""
    names = (_tries_from(client), f"augmentation {user_id}")
    accounts.login_throttle.check(*names)
    with accounts.database.read() as session:
        known = session.get_one(User, user_id).password
    with accounts.slots.hold(TURN_SECONDS, _BUSY, retry_after=5):
        right = _verify(_nobody(), password, known)
        hashed = _hasher.hash(opaque_string(new)) if right else ""
    if not right:
        accounts.login_throttle.record_failure(*names)
        raise Unauthorized("The password is wrong.", headers={"WWW-Authenticate": "Bearer"})
    with accounts.database.write() as session:
        user = session.get_one(User, user_id, with_for_update=True)
        user.password = hashed
        generation = revoke_all(user)
    return token_of(accounts.tokens, **_login(user_id, generation))


def _login(user_id: str, generation: int = 0) -> dict[str, Any]:
    """Return what `token_of` makes a token of its own of."""
    return {
        "user_id": user_id,
        "moment": int(time.time()),
        "token_id": uuid.uuid4().hex,
        "generation": generation,
    }


def _remember_address(session: Session, user_id: str, client: str) -> None:
    """Note where a user logged in; of many addresses the last ones are kept."""
    session.merge(KnownAddress(user_id=user_id, address=_hash(client), seen_at=time.time()))
    session.flush()
    of_user = KnownAddress.user_id == user_id
    newest = sa.select(KnownAddress.address).where(of_user).order_by(KnownAddress.seen_at.desc()).limit(MOST_ADDRESSES)
    session.execute(sa.delete(KnownAddress).where(of_user, KnownAddress.address.not_in(newest)))


def _hash(client: str) -> str:
    return hashlib.sha256(client.encode()).hexdigest()


def _tries_from(client: str) -> str:
    return f"augmentation from {client}"


def normalized(email: str) -> str:
    """Return an e-mail as it is compared and stored: NFKC and lower case. Raise ValueError."""
    return _nfkc(_validated(_nfkc(email)))


def _spellings(email: str) -> list[str]:
    """Return how a user's e-mail may be stored: as earlier versions wrote it, whose accounts stay, then as now."""
    found = [email.lower()]
    for spell in (_validated, normalized):
        with suppress(ValueError):
            found.append(spell(email))
    return found[1:] or found


def _validated(email: str) -> str:
    from email_validator import SPECIAL_USE_DOMAIN_NAMES, validate_email  # here: a tenth of the start is its patterns

    # `.local`, `.test` and the like, which the library refuses, are names that networks of one's own have.
    SPECIAL_USE_DOMAIN_NAMES.clear()
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
