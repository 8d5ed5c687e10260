"""The shapes of augmentation, as clients see them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from pydantic_core import PydanticCustomError

from service.features.augmentation.accounts import normalized
from service.http.bodies import StrictModel
from service.http.pagination import Page

Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Status = Literal["pending", "processing", "finished", "error"]

_TASK, _USER = "b982acff-a46c-420b-b9be-24d137bd21e6", "0f9b5e0c-6f0e-4c39-8a26-4f1a0f6f3d11"
_EMAIL, _PASSWORD = "ada@example.com", "(8 characters or more)"
_LINKS = {name: f"http://localhost:8000/files/(token)/astronaut_{name}.png" for name in ("rotated", "gray", "scaled")}
_ORIGINAL = "http://localhost:8000/files/(token)/astronaut_original.png"
_IMAGE: dict[str, Any] = {"name": "astronaut.png", "status": "finished", **_LINKS}


def _an_email(text: str) -> str:
    """Return what is an e-mail address; this refuses it together with what else is wrong in the body."""
    try:
        normalized(text)
    except ValueError as error:
        why = str(error).rstrip(".")
        raise PydanticCustomError(
            "email", "must be an e-mail address: {why}", {"why": why[:1].lower() + why[1:]}
        ) from error
    return text


class RegistrationIn(
    StrictModel, json_schema_extra={"examples": [{"email": _EMAIL, "password": _PASSWORD, "first_name": "Ada"}]}
):
    """A new user. Case does not count in an e-mail."""

    email: Annotated[str, StringConstraints(max_length=254), AfterValidator(_an_email)]
    password: Password
    first_name: Name | None = None
    last_name: Name | None = None


class LoginIn(StrictModel, json_schema_extra={"examples": [{"email": _EMAIL, "password": _PASSWORD}]}):
    """A user's credentials."""

    email: Annotated[str, StringConstraints(max_length=1024)]
    password: Annotated[str, StringConstraints(max_length=1024)]


class PasswordIn(
    StrictModel, json_schema_extra={"examples": [{"password": _PASSWORD, "new_password": "(another one)"}]}
):
    """The password, and the one that takes its place."""

    password: Annotated[str, StringConstraints(max_length=1024)]
    new_password: Password


class TokenOut(
    BaseModel,
    defer_build=True,
    json_schema_extra={"examples": [{"access_token": "(a token)", "token_type": "bearer", "user_id": _USER}]},
):
    """A token for the header `Authorization: Bearer`, good for 24 hours."""

    access_token: str
    token_type: Literal["bearer"]
    user_id: str


class UploadedOut(BaseModel, defer_build=True, json_schema_extra={"examples": [{"task_id": _TASK}]}):
    """The task that an upload became."""

    task_id: str


class AugmentationError(BaseModel, defer_build=True):
    """Why an image has no copies."""

    code: str
    detail: str


class Copied(BaseModel, defer_build=True):
    """An image and its copies, whose links are null until it is finished."""

    name: str
    status: Status
    rotated: str | None
    gray: str | None
    scaled: str | None


class AugmentedImage(Copied):
    """An image; links live for an hour and need no credentials. Those of the copies are null until it is finished."""

    img_link: Annotated[str, Field(description="The original.")]
    error: AugmentationError | None


class StatusOut(
    BaseModel,
    json_schema_extra={
        "examples": [
            {"task_id": _TASK, "status": "finished", "images": [_IMAGE | {"img_link": _ORIGINAL, "error": None}]}
        ]
    },
):
    """How far a task is, with its images in the order of the parts."""

    task_id: str
    status: Status
    images: list[AugmentedImage]


class HistoryItem(Copied):
    """An image, with links that live for an hour."""

    task_id: str
    created_at: str
    original: str


class HistoryOut(
    BaseModel,
    json_schema_extra={
        "examples": [
            {
                "items": [_IMAGE | {"task_id": _TASK, "created_at": "2026-01-02T03:04:05.678Z", "original": _ORIGINAL}],
                "next": None,
            }
        ]
    },
):
    """A page of a user's images, newest first."""

    items: list[HistoryItem]
    next: str | None


class HistoryQuery(Page):
    """The query of a history."""
