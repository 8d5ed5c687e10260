"""A download from S3 as a file that can be sought."""

import io
import logging
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError

from service.storage.s3_client import TRIES
from service.storage.s3_errors import unreachable
from service.telemetry import logging as logs

log = logging.getLogger(__name__)


class S3Download(io.RawIOBase):
    """A file's bytes as they arrive. After a seek, or where the connection broke, it asks for what is still wanted.

    `get` makes the call, with `Range` and `IfMatch` as options; a file that was written anew meanwhile is refused.
    """

    def __init__(self, get: Callable[..., Any]) -> None:
        self._get = get
        answer = get()
        self._body: Any = answer["Body"]
        self._size: int = answer["ContentLength"]
        self._tag: str = answer["ETag"]
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; what comes from the old one is given up."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if place != self._place:
            self._drop()
            self._place = place
        return place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived, at most as much as there is room for."""
        data = self._some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Read all the rest."""
        return b"".join(iter(lambda: self._some(1024 * 1024), b""))

    def _some(self, most: int) -> bytes:
        for _ in range(TRIES):
            if self._place >= self._size:
                return b""
            try:
                if self._body is None:
                    self._body = self._get(Range=f"bytes={self._place}-", IfMatch=self._tag)["Body"]
                data: bytes = self._body.read(min(most, self._size - self._place))
            except BotoCoreError as error:
                logs.event(log, "a download broke off", logging.WARNING, byte=self._place, fault=type(error).__name__)
                data = b""
            if data:
                self._place += len(data)
                return data
            self._drop()
        raise unreachable()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        """Close the connection, unless all was read and it can serve again."""
        self._drop()
        super().close()
