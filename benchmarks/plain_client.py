"""A client that costs the cores that it shares with the server as little as Python can."""

from http.client import HTTPConnection
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import requests
from requests.auth import _basic_auth_str

from tests.support import Service


class PlainClient:
    """One connection of http.client with a service's credentials; it takes a third of the time of `requests`."""

    def __init__(self, service: Service) -> None:
        client = service.client()
        self._connection = HTTPConnection(urlsplit(client.url).netloc, timeout=60)
        self._credentials = {"Authorization": _basic_auth_str(*client.auth)}

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        """Send a request and return what the answer has, uncompressed; its status must be of success."""
        headers = {**self._credentials, **({"Content-Type": content_type} if content_type else {})}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._connection.close()


def form(photos: list[bytes]) -> tuple[bytes, str]:
    """Return the body and the type of a form with these photos."""
    parts = [("image", (f"{number}.jpg", photo, "image/jpeg")) for number, photo in enumerate(photos)]
    prepared = requests.Request("POST", "http://localhost", files=parts).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["Content-Type"]
