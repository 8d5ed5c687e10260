"""Tokens of users: signed, good for a day, and revoked singly or all at once."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import sqlalchemy as sa

from service.db.database import Database
from service.errors import Unauthorized
from service.features.augmentation.models import RevokedToken, User

if TYPE_CHECKING:
    from jwt.types import Options

TOKEN_LIFE = 24 * 3600
"""Seconds that a token is good for."""
KEPT_LONGER = 30 * 24 * 3600
"""Seconds that a revocation is kept beyond the token's end: the clock may be ahead now and be set back."""
ALGORITHM = "HS256"
# Of `iat` nothing is asked: another machine, whose clock is a little ahead, may have made the token just now.
_DEMANDS: "Options" = {"require": ["exp", "sub"], "verify_iat": False}


@dataclass(frozen=True)
class Tokens:
    """What tokens stand on."""

    database: Database
    secret: Callable[[], str]


def token_of(tokens: Tokens, user_id: str, moment: int, token_id: str = "", generation: int = 0) -> dict[str, Any]:
    """Return the token of a login at this moment, in seconds since 1970: always the same one."""
    claims: dict[str, Any] = {"sub": user_id, "iat": moment, "exp": moment + TOKEN_LIFE, "gen": generation}
    if token_id:
        claims["jti"] = token_id
    token = jwt.encode(claims, _key(tokens), algorithm=ALGORITHM)
    return {"access_token": token, "token_type": "bearer", "user_id": user_id}


def user_of(tokens: Tokens, token: str) -> str:
    """Return the id of the user whose token this is; raises Unauthorized, also for a revoked one."""
    claims = _claims(tokens, token)
    generation = sa.select(User.token_generation).where(User.id == claims["sub"])
    revoked = sa.exists().where(RevokedToken.token == _hash(token))
    with tokens.database.read() as session:
        current = session.scalar(generation.where(~revoked))
    if current is None or current != claims.get("gen", 0):
        raise _refusal()
    return str(claims["sub"])


def revoke(tokens: Tokens, token: str) -> None:
    """Revoke a token, which was good just now."""
    claims, now = _claims(tokens, token), time.time()
    with tokens.database.write() as session:
        session.execute(sa.delete(RevokedToken).where(RevokedToken.expires_at < now - KEPT_LONGER))
        if session.get(RevokedToken, _hash(token)) is None:
            session.add(RevokedToken(token=_hash(token), expires_at=float(claims["exp"])))


def revoke_all(user: User) -> int:
    """Revoke all tokens of a user in the row's transaction; return the generation of those made from now on."""
    user.token_generation += 1
    return user.token_generation


def _claims(tokens: Tokens, token: str) -> dict[str, Any]:
    try:
        return jwt.decode(token, _key(tokens), algorithms=[ALGORITHM], options=_DEMANDS)
    except jwt.InvalidTokenError as error:
        raise _refusal() from error


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _key(tokens: Tokens) -> bytes:
    """Return the key of tokens alone, so that nothing else that is signed here can pass for one."""
    return hashlib.sha256(b"augmentation token " + tokens.secret().encode()).digest()


def _refusal() -> Unauthorized:
    return Unauthorized(
        "The token is not valid, or it has expired. Log in again.",
        code="token_invalid",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )
