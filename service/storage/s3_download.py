"""A download from S3 as a file that can be sought."""

import io
import logging
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError

from service import deadlines
from service.deadlines import Deadline, deadline
from service.storage.s3_client import TRIES
from service.storage.s3_errors import translated, unreachable
from service.telemetry import logging as logs

log = logging.getLogger(__name__)


class S3Download(io.RawIOBase):
    """A file's bytes as they arrive. After a seek, or where the connection broke, it asks for what is still wanted.

    `get` makes the call, with `Range` and `IfMatch` as options; a file that was written anew meanwhile is refused.
    Each piece that is read has so many seconds, and one more for each megabyte.
    """

    def __init__(self, key: str, get: Callable[..., Any], seconds: float) -> None:
        self._key = key
        self._get = get
        self._seconds = seconds
        with translated(key), deadline(seconds) as bound:
            answer = self._ask(bound)
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
        size = min(most, self._size - self._place)
        if size <= 0:
            return b""
        with translated(self._key), deadline(self._seconds, size) as bound:
            bound.take_over(self._bound)
            data = self._try(size, bound)
        self._place += len(data)
        return data

    def _try(self, size: int, bound: Deadline) -> bytes:
        for _ in range(TRIES):
            try:
                if self._body is None:
                    self._ask(bound, Range=f"bytes={self._place}-", IfMatch=self._tag)
                data: bytes = self._body.read(size)
            except BotoCoreError as error:
                logs.event(log, "a download broke off", logging.WARNING, byte=self._place, fault=type(error).__name__)
                data = b""
            if data:
                return data
            self._drop()
            deadlines.check()
        raise unreachable()

    def _ask(self, bound: Deadline, **options: str) -> Any:
        answer = self._get(**options)
        self._body: Any = answer["Body"]
        self._bound = bound  # it knows what the body comes by
        return answer

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        """Close the connection, unless all was read and it can serve again."""
        self._drop()
        super().close()
