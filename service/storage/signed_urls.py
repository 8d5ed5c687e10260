"""Signed urls of stored files: each has an end, and says how a browser shows the file."""

import re
import time
import unicodedata
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cached_property
from urllib.parse import quote, urlsplit

from itsdangerous import BadSignature, URLSafeSerializer

from service.errors import Forbidden, NotFound

_URL = re.compile(r"/files/([^/]+)/[^/]*$")
# What separates folders, with the dots that lead up from one, and what ends a header or a quoted string.
_UNSAFE = re.compile(r'\.*[/\\]|[\x00-\x1f\x7f"]')


@dataclass(frozen=True, slots=True)
class Download:
    """How a stored file is given out: a file name or none, a media type, shown in the browser or saved."""

    name: str = ""
    media_type: str = "application/octet-stream"
    inline: bool = False

    def disposition(self) -> str | None:
        """Return the Content-Disposition of RFC 6266, or None where there is nothing to say."""
        if not self.name:
            return None if self.inline else "attachment"
        name = self.safe_name()
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        plain = "".join(letter for letter in plain if letter not in "%;") or "file"
        text = f'{"inline" if self.inline else "attachment"}; filename="{plain}"'
        if plain == name:
            return text
        return f"{text}; filename*=UTF-8''{quote(name.encode('utf-8', 'ignore'), safe='')}"

    def safe_name(self) -> str:
        """Return the name as that of one file, wherever it is saved: it leads to no other folder."""
        name = _UNSAFE.sub("_", self.name)
        return name if name.strip(". ") else "file"


class SignedUrls:
    """Makes and reads signed urls of this service: `/files/<token>/<name>`. Whoever has one may read until its end.

    All that decides stands in the token, which is compared in constant time; the name is for people and `curl -O`.
    The token is itsdangerous' own: `[key, end, name, media type, inline]`, with the end in Unix seconds.
    """

    def __init__(self, key: Callable[[], str], base: str = "") -> None:
        """Ask for the key with the first link: it may be slow to make."""
        self._key = key
        self._base = base.rstrip("/")

    @cached_property
    def _serializer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self._key(), salt="link to a file")

    def make(self, key: str, lifetime: float, download: Download) -> str:
        """Return a url of the key: with the base before it, or without one a mere path."""
        end = int(time.time() + lifetime)
        token = self._serializer.dumps([key, end, *astuple(download)])
        return f"{self._base}/files/{token!s}/{quote(download.safe_name(), safe='')}"

    def key_of(self, url: str) -> str | None:
        """Return the key that a url leads to, or led to before it ended; None where it was not made here."""
        found = _URL.search(urlsplit(url).path)
        try:
            return str(self._serializer.loads(found[1])[0]) if found else None
        except BadSignature:
            return None

    def read(self, token: str) -> tuple[str, float, Download]:
        """Return the key, the seconds that are left, and the download; raise NotFound, or Forbidden after the end."""
        try:
            key, end, *download = self._serializer.loads(token)
        except BadSignature as error:
            raise NotFound("There is no such file.", code="file_not_found") from error
        left = end - time.time()
        if left <= 0:
            raise Forbidden("This link has expired. Ask for a new one.", code="link_expired")
        return key, left, Download(*download)
