"""The byte store on S3, or on whatever speaks its protocol."""

import io
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError

from service.deadlines import deadline
from service.storage.s3_client import CHECK_SECONDS, Clients, S3Access, pages
from service.storage.s3_download import S3Download
from service.storage.s3_errors import code_of, translated, translated_for_operator, unreachable
from service.storage.signed_urls import Download
from service.storage.storage import StorageMisconfigured, check_prefix, parts_of
from service.telemetry import logging as logs

PART = 8 * 1024 * 1024
"""A file of more bytes than this is sent in parts of so many."""
BATCH = 1000
"""So many keys can be deleted, or listed, in one call."""
UNCHANGING = "max-age=31536000, immutable"
"""What caches are told of a file with a media type: its key never gets other bytes."""

log = logging.getLogger(__name__)


class S3Storage:
    """A bucket, or the keys in it below a prefix. The bucket stays private: urls are signed and end."""

    is_shared = True

    def __init__(self, bucket: str, prefix: str, access: S3Access, prefixes: Sequence[str] = ("",)) -> None:
        """Keep keys below `prefix` of the bucket; refuse to save those below none of `prefixes`."""
        self.bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._access = access
        self._prefixes = prefixes
        self._clients = Clients(access)

    def save(self, key: str, stream: BinaryIO, media_type: str = "", *, flushed: bool = True) -> int:
        """Send the stream, in parts where it is long; the key is there when all of it is."""
        check_prefix(key, self._prefixes)
        name = self._name(key)
        headers = {"ContentType": media_type, "CacheControl": UNCHANGING} if media_type else {}
        first = _read(stream)
        if len(first) == PART:
            return self._save_parts(name, first, stream, headers)
        with self._call(key, len(first)) as client:
            client.put_object(Bucket=self.bucket, Key=name, Body=first, **headers)
        return len(first)

    def flush(self, *keys: str) -> None:
        """Do nothing: what the store has answered is safe."""

    def _save_parts(self, name: str, part: bytes, stream: BinaryIO, headers: dict[str, str]) -> int:
        place = {"Bucket": self.bucket, "Key": name}
        with self._call(name) as client:
            place["UploadId"] = client.create_multipart_upload(**place, **headers)["UploadId"]
        parts: list[dict[str, Any]] = []
        size = 0
        try:
            while part or not parts:
                with self._call(name, len(part)):
                    sent = client.upload_part(**place, PartNumber=len(parts) + 1, Body=part)
                parts.append({"PartNumber": len(parts) + 1, "ETag": sent["ETag"]})
                size += len(part)
                part = _read(stream)
            with self._call(name):
                client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException:
            # Where even this fails, drop_unfinished finds it later.
            with suppress(BotoCoreError, ClientError, TimeoutError), deadline(self._access.timeout):
                client.abort_multipart_upload(**place)
            raise
        return size

    def open(self, key: str) -> BinaryIO:
        """Ask for the bytes, which arrive while they are read. The stream can be sought, for `Range`."""
        with translated(key):
            get = partial(self._client().get_object, Bucket=self.bucket, Key=self._name(key))
        return cast(BinaryIO, io.BufferedReader(S3Download(key, get, self._access.timeout), 256 * 1024))

    def read(self, key: str) -> bytes:
        """Fetch all the bytes."""
        with self.open(key) as stream:
            return stream.read()

    def delete(self, *keys: str) -> None:
        """Remove the keys, a thousand a call."""
        names = [self._name(key) for key in keys]
        for begin in range(0, len(names), BATCH):
            self._delete(names[begin : begin + BATCH])

    def delete_prefix(self, prefix: str) -> None:
        """Remove every key below the prefix, a thousand a call."""
        self._name(prefix.rstrip("/"))
        for page in self._pages("list_objects_v2", "Contents", prefix.rstrip("/") + "/"):
            self._delete([found["Key"] for found in page])

    def _delete(self, names: Sequence[str]) -> None:
        if not names:
            return
        with self._call(names[0]) as client:
            if len(names) == 1:
                client.delete_object(Bucket=self.bucket, Key=names[0])
                return
            wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
            answer = client.delete_objects(Bucket=self.bucket, Delete=wanted)
        for error in answer.get("Errors", ()):
            logs.event(log, "a key was not deleted", logging.ERROR, key=error.get("Key"), code=error.get("Code"))
        if answer.get("Errors"):
            raise unreachable()

    def url(self, key: str, lifetime: float, download: Download | None = None) -> str:
        """Return a presigned address at the public endpoint. It is computed here: no call is made."""
        wanted: dict[str, str] = {"Bucket": self.bucket, "Key": self._name(key)}
        if download:
            wanted["ResponseContentType"] = download.media_type
            if disposition := download.disposition():
                wanted["ResponseContentDisposition"] = disposition
        with translated(key):
            client = self._clients.client("s3", self._access.public_endpoint or self._access.endpoint)
            url: str = client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=max(1, int(lifetime)))
        return url

    def full_key(self, key: str) -> str:
        """Return the key with the prefix: as it is in the bucket."""
        return self._name(key)

    def keys(self, older_than: float = 0, prefix: str = "") -> Iterator[str]:
        """Walk over the listing, a thousand keys in memory at a time."""
        limit = time.time() - older_than
        for page in self._pages("list_objects_v2", "Contents", prefix):
            for found in page:
                if found["LastModified"].timestamp() <= limit:
                    yield found["Key"].removeprefix(self._prefix)

    def _pages(self, operation: str, part: str, prefix: str) -> Iterator[list[Any]]:
        """Yield this part of each page of a listing."""
        with translated(prefix):
            place = {"Bucket": self.bucket, "Prefix": self._prefix + prefix}
            for page in pages(self._client(), operation, self._access.timeout, **place):
                yield page.get(part, [])

    def drop_unfinished(self, older_than: float) -> int:
        """Abort multipart uploads that nobody ended."""
        count, limit = 0, time.time() - older_than
        for page in self._pages("list_multipart_uploads", "Uploads", ""):
            for found in page:
                if found["Initiated"].timestamp() <= limit:
                    place = {"Bucket": self.bucket, "Key": found["Key"], "UploadId": found["UploadId"]}
                    with self._call(found["Key"]) as client:
                        client.abort_multipart_upload(**place)
                    count += 1
        return count

    def check(self) -> None:
        """List one key: this needs the address, the credentials, the bucket and the right to look into it."""
        seconds = min(self._access.timeout, 2 * CHECK_SECONDS)
        with translated_for_operator(self.bucket):
            client = self._clients.client("s3", self._access.endpoint, checking=True)
            with deadline(seconds):
                client.list_objects_v2(Bucket=self.bucket, Prefix=self._prefix, MaxKeys=1)

    def create_bucket(self) -> bool:
        """Make the bucket, private as every new one is; return whether it was not there yet."""
        region = self._access.region
        place = {"LocationConstraint": region} if region not in ("", "us-east-1") else None
        try:
            self.check()
        except StorageMisconfigured:
            options = {"CreateBucketConfiguration": place} if place else {}
            with translated_for_operator(self.bucket):
                client = self._client()
                try:
                    with deadline(self._access.timeout):
                        client.create_bucket(Bucket=self.bucket, **options)
                except ClientError as error:
                    if code_of(error) == "BucketAlreadyOwnedByYou":  # another process was quicker
                        return False
                    raise
            return True
        return False

    def shared_lock(self) -> BinaryIO:
        """Lock nothing: other machines would not see it."""
        return io.BytesIO()

    @contextmanager
    def exclusive_lock(self) -> Iterator[bool]:
        """Yield False: other machines may be at work."""
        yield False

    @contextmanager
    def _call(self, key: str, size: int = 0) -> Iterator[Any]:
        """Yield the client for a call that sends so many bytes; bound its time, and translate its errors."""
        with translated(key):
            client = self._client()
            with deadline(self._access.timeout, size):
                yield client

    def _name(self, key: str) -> str:
        return self._prefix + "/".join(parts_of(key))

    def _client(self) -> Any:
        return self._clients.client("s3", self._access.endpoint)


def _read(stream: BinaryIO) -> bytes:
    """Read one part: less only at the end of the stream, since a read may return what just has arrived."""
    pieces, room = [], PART
    while room and (piece := stream.read(room)):
        pieces.append(piece)
        room -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
