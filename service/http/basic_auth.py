"""HTTP Basic, by flask-httpauth."""

import hashlib
import hmac

from flask import Response, g, request
from flask_httpauth import HTTPBasicAuth

from service.config import Settings
from service.http.client_address import address
from service.http.login_throttle import LoginThrottle
from service.http.problems import render
from service.http.services import provided

basic = HTTPBasicAuth(realm="service")


@basic.verify_password  # type: ignore[untyped-decorator]
def verify(username: str | None, password: str | None) -> str | None:
    """Return the user's name if both are right; raises TooManyRequests. No credentials count as no failure."""
    if not username and not password:
        return None
    if not request.headers["Authorization"].lower().startswith("basic "):
        return None  # flask-httpauth takes the pair under any scheme
    throttle = provided(LoginThrottle)
    throttle.check(f"basic {address()}")
    settings = provided(Settings)
    right = _same(username or "", settings.api_username)
    right &= _same(password or "", settings.api_password)
    if not (right and settings.api_password):
        throttle.record_failure(f"basic {address()}")
        return None
    g.asker = "basic"
    return username


def _same(given: str, expected: str) -> bool:
    """Compare in a time that shows neither where they differ nor, by their hashes, how long the secret is."""
    return hmac.compare_digest(_hash(given), _hash(expected))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@basic.error_handler  # type: ignore[untyped-decorator]
def refuse(status: int) -> Response:
    """Answer without credentials or with wrong ones; flask-httpauth adds `WWW-Authenticate`."""
    wrong = "The user name or the password is wrong. " if "Authorization" in request.headers else ""
    return render(status, f"{wrong}Send the user name and the password of this service by HTTP Basic.")


def require_basic() -> Response | None:
    """Refuse a request without the right credentials; for `before_request`."""
    refusal: Response | None = basic.login_required(lambda: None)()
    return refusal
