"""The HTTP interface of augmentation."""

from functools import partial
from typing import Any

from flask import Blueprint, Response, g, request, url_for

from service.errors import NotFound, Unauthorized
from service.features.augmentation import operations
from service.features.augmentation.accounts import Accounts, change_password, counting_other_bodies, log_in, register
from service.features.augmentation.models import COPIES, ORIGINAL
from service.features.augmentation.schemas import (
    HistoryOut,
    HistoryQuery,
    LoginIn,
    PasswordIn,
    RegistrationIn,
    StatusOut,
    TokenOut,
    UploadedOut,
)
from service.features.augmentation.tokens import revoke, token_of, user_of
from service.features.uploads import images_form, read_images
from service.http.bodies import body, query, refuse_body
from service.http.client_address import address
from service.http.idempotency import idempotent, is_keyed, reserve_json
from service.http.openapi_views import describe
from service.http.pagination import number_of, page_answer
from service.http.responses import absolute, answer, stream_answer
from service.http.services import provided

accounts = Blueprint("accounts", __name__)
augmentation = Blueprint("augmentation", __name__)

_services = partial(provided, operations.Services)
_accounts = partial(provided, Accounts)


def _uploaded(task_id: str) -> Response:
    return answer({"task_id": task_id}, 202, Location=url_for("augmentation.show_status", task_id=task_id))


def _registered(login: dict[str, Any]) -> Response:
    return answer(token_of(_accounts().tokens, **login), 201, Cache_Control="no-store")


def _take_key() -> None:
    """Take the request's key, if it has one. Another body counts as a wrong login: else a key could try passwords."""
    g.asker = "registration"
    if is_keyed():
        with counting_other_bodies(_accounts(), address()):
            reserve_json()


@augmentation.before_request
def require_token() -> None:
    """Refuse a request without the token of a user; browsers ask what they may send (OPTIONS) without one."""
    if request.method == "OPTIONS":
        return
    given = request.authorization
    if not given or given.type != "bearer" or not given.token:
        raise Unauthorized(
            "Send the token of a POST /login: `Authorization: Bearer …`.",
            code="token_missing",
            headers={"WWW-Authenticate": "Bearer"},
        )
    g.user_id = user_of(_accounts().tokens, given.token)
    g.token = given.token
    g.asker = f"augmentation:{g.user_id}"


@accounts.post("/registration")
@describe({201: TokenOut}, 400, 403, 409, 413, 422, 429, 503, body=RegistrationIn, open=True)
@idempotent(_registered, form=True, secret=True)
def register_user() -> Response:
    """Register with an e-mail and a password of 8 to 1024 characters; the answer has a token as a login's has."""
    _take_key()
    given = body(RegistrationIn)
    return _registered(register(_accounts(), given.email, given.password, given.first_name, given.last_name, address()))


@accounts.post("/login")
@describe({200: TokenOut}, 400, 401, 413, 422, 429, 503, body=LoginIn, open=True)
def log_user_in() -> Response:
    """Log in. An unknown e-mail and a wrong password are told the same."""
    given = body(LoginIn)
    return answer(log_in(_accounts(), given.email, given.password, address()), Cache_Control="no-store")


@augmentation.post("/logout")
@describe({204: ""}, 400, 413, 422, scheme="bearer")
def log_user_out() -> Response:
    """Revoke the token of this request."""
    refuse_body()
    revoke(_accounts().tokens, g.token)
    return Response(status=204)


@augmentation.post("/password")
@describe({200: TokenOut}, 400, 413, 422, 429, 503, body=PasswordIn, scheme="bearer")
def change_user_password() -> Response:
    """Change the password. All tokens of the user are revoked; the answer has a new one."""
    given = body(PasswordIn)
    made = change_password(_accounts(), g.user_id, given.password, given.new_password, address())
    return answer(made, Cache_Control="no-store")


@augmentation.post("/upload")
@describe(
    {202: UploadedOut},
    *(400, 413, 415, 422, 429, 503, 507),
    content=images_form("files"),
    headers={202: ("Location",)},
    scheme="bearer",
)
@idempotent(_uploaded, form=True)
def upload_images() -> Response:
    """Upload images, JPEG or PNG, multipart parts `files`. All or nothing: one bad file refuses the request.

    In the background each is turned by 90° clockwise, made gray, and scaled: three copies of its own type, made of the
    upright picture, in sRGB, without metadata.
    """
    services = _services()
    with read_images("files", services.intake.limits.bytes) as uploads:
        return _uploaded(operations.add_images(services, g.user_id, uploads))


@augmentation.get("/status/<id:task_id>")
@describe({200: StatusOut}, 404, scheme="bearer")
def show_status(task_id: str) -> Response:
    """Get how far a task is, with links that live for an hour and need no token."""
    status = operations.show_status(_services(), g.user_id, task_id)
    for image in status["images"]:
        _complete(image, ("img_link", *COPIES))
    return answer(status)


@augmentation.get("/history/<id:user_id>")
@describe({200: HistoryOut}, 404, 422, query=HistoryQuery, scheme="bearer")
def show_history(user_id: str) -> Response:
    """List the user's own images, newest first, with links that live for an hour and need no token."""
    if user_id != g.user_id:
        raise NotFound("There is no such user, or it is not you.", code="user_not_found")
    wanted = query(HistoryQuery)
    items, end = operations.history(_services(), user_id, wanted.limit, number_of(wanted.cursor))
    for item in items:
        _complete(item, (ORIGINAL, *COPIES))
    return page_answer(items, end)


@augmentation.get("/task/<id:task_id>")
@describe({200: "application/zip"}, 404, 409, headers={200: ("Content-Disposition",)}, scheme="bearer")
def download_task(task_id: str) -> Response:
    """Download a finished task's originals and copies as a zip, made while it is sent."""
    return stream_answer(operations.archive(_services(), g.user_id, task_id), "application/zip", f"{task_id}.zip")


def _complete(item: dict[str, Any], names: tuple[str, ...]) -> None:
    """Make whole addresses of links that are paths of this service."""
    for name in names:
        if item[name]:
            item[name] = absolute(item[name])
