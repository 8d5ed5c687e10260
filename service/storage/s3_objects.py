"""Objects of any bucket, to be read where they are: `s3://bucket/key`."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, cast

from service.deadlines import deadline
from service.storage.s3_client import Clients, S3Access, pages
from service.storage.s3_download import S3Download
from service.storage.s3_errors import translated, translated_for_operator


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object as a listing tells it; `size` is in bytes."""

    url: str
    size: int
    etag: str


class S3Objects:
    """Reads and lists; it writes nothing. One object serves all threads."""

    def __init__(self, access: S3Access) -> None:
        self._access = access
        self._clients = Clients(access)

    def list(self, url: str) -> Iterator[S3Object]:
        """Yield the objects whose keys begin with the one of the address, a thousand a call.

        Raises `StorageMisconfigured` where the bucket cannot be read, `Unavailable` where it is not reached.
        """
        bucket, prefix = _parts(url)
        with translated_for_operator(bucket, named_by="the source"):
            for page in pages(self._client(), "list_objects_v2", self._access.timeout, Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield S3Object(f"s3://{bucket}/{found['Key']}", found["Size"], found["ETag"].strip('"'))

    def look_up(self, url: str) -> S3Object | None:
        """Return one object; None where it is not there."""
        bucket, key = _parts(url)
        try:
            with translated(key):
                client = self._client()
                with deadline(self._access.timeout):
                    found = client.head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        return S3Object(url, found["ContentLength"], found["ETag"].strip('"'))

    def open(self, url: str, *, at_once: bool) -> BinaryIO:
        """Return the bytes as a stream that can be sought; `at_once` fetches them all in one call."""
        bucket, key = _parts(url)
        with translated(url):
            get = partial(self._client().get_object, Bucket=bucket, Key=key)
        stream = S3Download(url, get, self._access.timeout)
        if not at_once:
            return cast(BinaryIO, io.BufferedReader(stream))
        with stream:
            return io.BytesIO(stream.readall())

    def _client(self) -> Any:
        return self._clients.client("s3", self._access.endpoint)


def _parts(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
