"""The shapes of augmentation, as clients see them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from service.api import Page, Shape

Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Status = Literal["pending", "processing", "finished", "error"]


class RegistrationIn(Shape):
    """A new user. Case does not count in an e-mail."""

    email: Annotated[str, StringConstraints(max_length=254)]
    password: Password
    first_name: Name | None = None
    last_name: Name | None = None


class LoginIn(Shape):
    """A user's credentials."""

    email: Annotated[str, StringConstraints(max_length=1024)]
    password: Annotated[str, StringConstraints(max_length=1024)]


class TokenOut(BaseModel):
    """A token for the header `Authorization: Bearer`, good for 24 hours."""

    access_token: str
    token_type: Literal["bearer"]
    user_id: str


class UploadedOut(BaseModel):
    """The task that an upload became."""

    task_id: str


class AugmentationError(BaseModel):
    """Why an image has no copies."""

    code: str
    detail: str


class AugmentedImage(BaseModel):
    """An image; links live for an hour and need no credentials. Those of the copies are null until it is finished."""

    img_link: Annotated[str, Field(description="The original.")]
    status: Status
    name: str
    rotated: str | None
    gray: str | None
    scaled: str | None
    error: AugmentationError | None


class StatusOut(BaseModel):
    """How far a task is, with its images in the order of the parts."""

    task_id: str
    status: Status
    images: list[AugmentedImage]


class HistoryItem(BaseModel):
    """An image, with links that live for an hour."""

    task_id: str
    created_at: str
    name: str
    status: Status
    original: str
    rotated: str | None
    gray: str | None
    scaled: str | None


class HistoryOut(BaseModel):
    """A page of a user's images, newest first."""

    items: list[HistoryItem]
    next: str | None


class HistoryQuery(Page):
    """The query of a history."""
