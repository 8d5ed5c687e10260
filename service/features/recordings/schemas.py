"""The shapes of recordings, as clients see them."""

from typing import Annotated

from pydantic import Field, StringConstraints

from service.http.bodies import StrictModel

_USER, _RECORDING = "0f9b5e0c-6f0e-4c39-8a26-4f1a0f6f3d11", "7c1d6a52-58c5-4b54-9a0e-0a8c3f9b7e20"
_LINK = f"http://localhost:8000/record?id={_RECORDING}&user={_USER}"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class RecordingUserIn(StrictModel, json_schema_extra={"examples": [{"name": "Ada"}]}):
    """A new user."""

    name: Annotated[Name, Field(description="For people: it need not be unique, but not be empty.")]


class RecordingUserOut(
    StrictModel, json_schema_extra={"examples": [{"id": _USER, "token": "(a UUID, shown this once)"}]}
):
    """A user's id, and the token that is shown this once."""

    id: str
    token: str


class RecordingOut(StrictModel, json_schema_extra={"examples": [{"id": _RECORDING, "url": _LINK}]}):
    """A recording, and the link to its MP3."""

    id: str
    url: str


class RecordingQuery(StrictModel):
    """Which recording, of which user."""

    id: Annotated[str, Field(description="The recording's id.")]
    user: Annotated[str, Field(description="The id of the user who added it.")]
