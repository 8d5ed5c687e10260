"""HTTP Basic, by flask-httpauth."""

import hashlib
import hmac
from functools import lru_cache

from flask import Response, g, request
from flask_httpauth import HTTPBasicAuth

from service.config import Settings
from service.http.client_address import address
from service.http.login_throttle import LoginThrottle
from service.http.passwords import opaque_string
from service.http.problems import render
from service.http.services import provided


class BasicAuth(HTTPBasicAuth):  # type: ignore[misc]
    """HTTP Basic that asks for UTF-8 (RFC 7617, section 2.1)."""

    def authenticate_header(self) -> str:
        """Return the value of `WWW-Authenticate`."""
        return f'{super().authenticate_header()}, charset="UTF-8"'


basic = BasicAuth(realm="service")


@basic.verify_password  # type: ignore[untyped-decorator]
def verify(username: str | None, password: str | None) -> str | None:
    """Return the user's name if both are right; raises TooManyRequests. No credentials count as no failure."""
    if not username and not password:
        return None
    if not request.headers["Authorization"].lower().startswith("basic "):
        return None  # flask-httpauth takes the pair under any scheme
    throttle, name = provided(LoginThrottle), f"basic {address()}"
    settings = provided(Settings)
    right = _same(username or "", settings.api_username)
    right &= _same(password or "", settings.api_password)
    if not (right and settings.api_password):
        throttle.check(name)
        throttle.record_failure(name)
        return None
    throttle.check_right(name)
    g.asker = "basic"
    return username


def _same(given: str, expected: str) -> bool:
    """Compare in a time that shows neither where they differ nor, by their hashes, how long the secret is.

    Clients send UTF-8, or Latin-1, which may look like UTF-8.
    """
    sent = {given, given.encode("utf-8", "surrogatepass").decode("latin-1")}
    right = [hmac.compare_digest(_hash(text), _hash_of_secret(expected)) for text in sent]
    return any(right)


def _hash(text: str) -> bytes:
    return hashlib.sha256(opaque_string(text).encode("utf-8", "surrogatepass")).digest()


_hash_of_secret = lru_cache(2)(_hash)


_REFUSALS = {
    "": ("credentials_missing", ""),
    "basic": ("credentials_wrong", "The user name or the password is wrong. "),
}
_OTHER_SCHEME = (
    "scheme_not_accepted",
    "This call takes no such credentials: tokens (`Bearer`) are for augmentation alone. ",
)


@basic.error_handler  # type: ignore[untyped-decorator]
def refuse(status: int) -> Response:
    """Answer without credentials or with wrong ones; flask-httpauth adds `WWW-Authenticate`."""
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    code, wrong = _REFUSALS.get(scheme, _OTHER_SCHEME)
    return render(status, f"{wrong}Send the user name and the password of this service by HTTP Basic.", code)


@basic.login_required  # type: ignore[untyped-decorator]
def require_basic() -> Response | None:
    """Refuse a request without the right credentials; for `before_request`."""
    return None
