"""HTTP Basic, by flask-httpauth."""

import hmac

from flask import Response, current_app
from flask_httpauth import HTTPBasicAuth

from service.config import Settings
from service.errors import render

basic = HTTPBasicAuth(realm="service")


@basic.verify_password  # type: ignore[untyped-decorator]
def verify(username: str, password: str) -> str | None:
    """Return the user's name if both are right. Both are compared in full, in constant time."""
    settings: Settings = current_app.extensions["settings"]
    right = hmac.compare_digest(username.encode(), settings.api_username.encode())
    right &= hmac.compare_digest(password.encode(), settings.api_password.encode())
    return username if right and settings.api_password else None


@basic.error_handler  # type: ignore[untyped-decorator]
def refuse(status: int) -> Response:
    """Answer without credentials or with wrong ones; flask-httpauth adds `WWW-Authenticate`."""
    return render(status, "Send the user name and the password of this service by HTTP Basic.")


def require_basic() -> Response | None:
    """Refuse a request without the right credentials; for `before_request`."""
    refusal: Response | None = basic.login_required(lambda: None)()
    return refusal
