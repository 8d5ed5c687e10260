"""A stored file that is ready to be sent."""

from dataclasses import dataclass
from typing import BinaryIO

from service.storage.signed_urls import Download


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Bytes that never change, as a stream that the caller closes. `size` is in bytes; `etag` is without quotes."""

    stream: BinaryIO
    size: int
    etag: str
    download: Download
