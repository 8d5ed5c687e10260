"""The shapes of renditions, as clients see them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.features.renditions.keys import Owner
from service.http.bodies import StrictModel
from service.http.pagination import Page
from service.storage.temporary_credentials import Action

_KEY = "renditions/b982acff-a46c-420b-b9be-24d137bd21e6/original.jpg"
_FILE = {
    "key": _KEY,
    "url": f"http://localhost:8000/files/(token)/{_KEY[-12:]}",
    "width": 800,
    "height": 600,
    "size": 91342,
}
_IMAGE: dict[str, Any] = {
    "id": "b982acff-a46c-420b-b9be-24d137bd21e6",
    "owner_type": "user",
    "owner_id": "1",
    "name": "ada.jpg",
    "status": "done",
    "created_at": "2026-01-02T03:04:05.678Z",
    "error": None,
    "original": _FILE,
    "renditions": [_FILE | {"kind": "full"}],
}
_OF_A_PRESIGNED_URL = re.compile(r"(x-amz-|response-|x-id$)", re.IGNORECASE)
OwnerId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]


def _text_of_number(value: Any) -> Any:
    """Return a number of JSON as text: ids of users mostly are numbers."""
    return str(value) if type(value) is int and value >= 0 else value


class OwnerIn(StrictModel):
    """Whose the image is: `owner_type` and `owner_id`, or `user_id`, which is short for the type `user`."""

    owner_type: Annotated[
        str | None, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="The kind of owner, such as `product`.")
    ] = None
    owner_id: Annotated[OwnerId | None, Field(description="The owner's id among those of its kind.")] = None
    user_id: Annotated[
        OwnerId | None,
        BeforeValidator(_text_of_number),
        Field(description="Short for `owner_type=user` with this `owner_id`; in JSON a number will do."),
    ] = None

    def has_owner(self) -> bool:
        """Return whether anything of an owner was given."""
        return (self.owner_type, self.owner_id, self.user_id) != (None, None, None)

    def owner(self) -> Owner:
        """Return the owner; it was checked that there is one."""
        return Owner(self.owner_type or "user", self.owner_id or self.user_id or "")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.owner_type is None) != (self.owner_id is None):
            raise PydanticCustomError("owner", "must have both `owner_type` and `owner_id`, or `user_id` alone")
        if self.user_id is not None and self.owner_id is not None:
            raise PydanticCustomError("owner", "must name one owner: by `owner_type` and `owner_id`, or by `user_id`")
        return self


class WholeOwner(OwnerIn):
    """An owner that must be there."""

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if not self.has_owner():
            raise PydanticCustomError("owner", "must name the owner: by `owner_type` and `owner_id`, or by `user_id`")
        return self


class ImagesQuery(Page, OwnerIn):
    """The query of the list."""


class DeleteQuery(OwnerIn):
    """Which images go."""

    url: Annotated[
        str | None, Field(min_length=1, description="The `url` of an original, expired or not, or its `key`.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_the_urls_own(cls, members: dict[str, Any]) -> dict[str, Any]:
        """Drop what a presigned url that was not encoded brought along: its path alone tells which image it is."""
        if "url" not in members:
            return members
        return {name: text for name, text in members.items() if not _OF_A_PRESIGNED_URL.match(name)}

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.url is not None) == self.has_owner():
            raise PydanticCustomError("owner", "must say what to delete: a `url`, or an owner")
        return self


class CredentialsIn(
    WholeOwner,
    json_schema_extra={"examples": [{"owner_type": "user", "owner_id": "1", "actions": ["read"], "lifetime": 900}]},
):
    """What temporary credentials are wanted for."""

    actions: Annotated[list[Action], Field(min_length=1, max_length=2)]
    lifetime: Annotated[
        int | None,
        Field(ge=900, le=43_200, description="Seconds; the role may allow fewer. Without it: as is usual there."),
    ] = None


class CredentialsOut(
    StrictModel,
    json_schema_extra={
        "examples": [
            {
                "access_key_id": "(an id)",
                "secret_access_key": "(shown this once)",
                "session_token": "(a token)",
                "expires_at": "2026-01-02T04:04:05Z",
                "bucket": "photos",
                "prefix": "renditions/user/1/",
                "endpoint_url": None,
                "region": "us-east-1",
                "actions": ["read"],
            }
        ]
    },
):
    """Temporary credentials of S3, good for keys that begin with `prefix`."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: str
    bucket: str
    prefix: str
    endpoint_url: Annotated[str | None, Field(description="Null: Amazon's.")]
    region: str
    actions: list[Action]


class StoredFile(StrictModel):
    """A stored file: bytes, and pixels. `url` ends after an hour, unless it is a CDN's."""

    key: str
    url: str
    width: int
    height: int
    size: int


class RenditionOut(StoredFile):
    """A WebP made of the original."""

    kind: Literal["full", "large", "medium", "small"]


class RenditionError(StrictModel):
    """Why the renditions could not be made, or, while they are pending, why the last attempt failed."""

    code: Literal["image_rejected", "upstream_unavailable", "engine_failed", "worker_lost"]
    detail: str


class OwnedImageOut(StrictModel, json_schema_extra={"examples": [_IMAGE]}):
    """An image. While it is pending or failed, `renditions` are those of what it was to replace, if anything."""

    id: str
    owner_type: str
    owner_id: str
    name: str
    status: Literal["pending", "done", "failed"]
    created_at: str
    error: RenditionError | None
    original: StoredFile
    renditions: list[RenditionOut]


class OwnedImageList(StrictModel, json_schema_extra={"examples": [{"items": [_IMAGE], "next": None}]}):
    """A page of images, newest first; `next` is the cursor of the page after it, or null."""

    items: list[OwnedImageOut]
    next: str | None
