"""The shapes of recordings, as clients see them."""

from typing import Annotated

from pydantic import Field, StringConstraints

from service.api import Shape

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class RecordingUserIn(Shape):
    """A new user."""

    name: Annotated[Name, Field(description="For people: it need not be unique, but not be empty.")]


class RecordingUserOut(Shape):
    """A user's id, and the token that is shown this once."""

    id: str
    token: str


class RecordingOut(Shape):
    """A recording, and the link to its MP3."""

    id: str
    url: str


class RecordingQuery(Shape):
    """Which recording, of which user."""

    id: Annotated[str, Field(description="The recording's id.")]
    user: Annotated[str, Field(description="The id of the user who added it.")]
