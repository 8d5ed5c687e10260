"""The byte store on S3, or on whatever speaks its protocol."""

import errno
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError

from service.errors import NoRoom, Unavailable
from service.storage.signed_urls import Download
from service.storage.storage import Unusable, check_prefix, parts_of
from service.telemetry import logging as logs

PART = 8 * 1024 * 1024
"""A file of more bytes than this is sent in parts of so many."""
BATCH = 1000
"""So many keys can be deleted, or listed, in one call."""
TRIES = 3
"""So often a call is made, and a broken download taken up again, before the store counts as away."""
UNCHANGING = "max-age=31536000, immutable"
"""What caches are told of a file with a media type: its key never gets other bytes."""
CHECK_SECONDS = 2
"""Seconds that the answer to a check may take: who asks whether the service is ready wants no long wait."""

_MISSING = {"NoSuchKey", "404", "NotFound"}
_FULL = {"507", "InsufficientStorage", "QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull"}
_AWAY = {"429", "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "OperationAborted"}
_REFUSED = {
    *("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("NoSuchBucket", "AllAccessDisabled", "AccountProblem", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed"),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the store is reached. What is empty, boto3 finds as it does everywhere: files, instance roles."""

    endpoint: str = ""
    public_endpoint: str = ""
    region: str = ""
    key_id: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    timeout: float = 10
    connections: int = 32


class S3Storage:
    """A bucket, or the keys in it below a prefix. The bucket stays private: urls are signed and end.

    Clients are made when they are first needed, in each process its own: connections do not survive a fork.
    """

    shared = True

    def __init__(self, bucket: str, prefix: str, access: Access, prefixes: Sequence[str] = ("",)) -> None:
        """Keep keys below `prefix` of the bucket; refuse to save those below none of `prefixes`."""
        self.bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._access = access
        self._prefixes = prefixes
        self._clients: dict[tuple[int, str], Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()

    def save(self, key: str, stream: BinaryIO, media_type: str = "") -> int:
        """Send the stream, in parts where it is long; the key is there when all of it is."""
        check_prefix(key, self._prefixes)
        name = self._name(key)
        headers = {"ContentType": media_type, "CacheControl": UNCHANGING} if media_type else {}
        first = _read(stream)
        with translated(key):
            if len(first) == PART:
                return self._save_parts(name, first, stream, headers)
            self._client().put_object(Bucket=self.bucket, Key=name, Body=first, **headers)
        return len(first)

    def _save_parts(self, name: str, part: bytes, stream: BinaryIO, headers: dict[str, str]) -> int:
        client, place = self._client(), {"Bucket": self.bucket, "Key": name}
        place["UploadId"] = client.create_multipart_upload(**place, **headers)["UploadId"]
        parts: list[dict[str, Any]] = []
        size = 0
        try:
            while part or not parts:
                sent = client.upload_part(**place, PartNumber=len(parts) + 1, Body=part)
                parts.append({"PartNumber": len(parts) + 1, "ETag": sent["ETag"]})
                size += len(part)
                part = _read(stream)
            client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException:
            # Where even this fails, drop_unfinished finds it later.
            with suppress(BotoCoreError, ClientError):
                client.abort_multipart_upload(**place)
            raise
        return size

    def open(self, key: str) -> BinaryIO:
        """Ask for the bytes, which arrive while they are read. The stream can be sought, for `Range`."""
        name = self._name(key)

        def get(**options: Any) -> Any:
            with translated(key):
                return self._client().get_object(Bucket=self.bucket, Key=name, **options)

        return cast(BinaryIO, io.BufferedReader(Body(get), 256 * 1024))

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
        for page in self._pages(prefix.rstrip("/") + "/"):
            self._delete([found["Key"] for found in page])

    def _delete(self, names: Sequence[str]) -> None:
        if not names:
            return
        with translated(names[0]):
            if len(names) == 1:
                self._client().delete_object(Bucket=self.bucket, Key=names[0])
                return
            wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}
            answer = self._client().delete_objects(Bucket=self.bucket, Delete=wanted)
        for error in answer.get("Errors", ()):
            logs.event(log, "a key was not deleted", logging.ERROR, key=error.get("Key"), code=error.get("Code"))
        if answer.get("Errors"):
            raise _away()

    def url(self, key: str, lifetime: float, download: Download | None = None) -> str:
        """Return a presigned address at the public endpoint. It is computed here: no call is made."""
        wanted: dict[str, str] = {"Bucket": self.bucket, "Key": self._name(key)}
        if download:
            wanted["ResponseContentType"] = download.media_type
            if disposition := download.disposition():
                wanted["ResponseContentDisposition"] = disposition
        with translated(key):
            client = self._client("public")
            url: str = client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=max(1, int(lifetime)))
        return url

    def full_key(self, key: str) -> str:
        """Return the key with the prefix: as it is in the bucket."""
        return self._name(key)

    def keys(self, older_than: float = 0, prefix: str = "") -> Iterator[str]:
        """Walk over the listing, a thousand keys in memory at a time."""
        limit = time.time() - older_than
        for page in self._pages(prefix):
            for found in page:
                if found["LastModified"].timestamp() <= limit:
                    yield found["Key"].removeprefix(self._prefix)

    def _pages(self, prefix: str) -> Iterator[list[Any]]:
        pages = (
            self._client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._prefix + prefix)
        )
        with translated(prefix):
            for page in pages:
                yield page.get("Contents", [])

    def drop_unfinished(self, older_than: float) -> int:
        """Abort multipart uploads that nobody ended."""
        count, limit = 0, time.time() - older_than
        client = self._client()
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._prefix)
        with translated(self._prefix):
            for page in pages:
                for found in page.get("Uploads", ()):
                    if found["Initiated"].timestamp() <= limit:
                        place = {"Key": found["Key"], "UploadId": found["UploadId"]}
                        client.abort_multipart_upload(Bucket=self.bucket, **place)
                        count += 1
        return count

    def check(self) -> None:
        """List one key: this needs the address, the credentials, the bucket and the right to look into it."""
        try:
            self._client("check").list_objects_v2(Bucket=self.bucket, Prefix=self._prefix, MaxKeys=1)
        except (NoCredentialsError, CredentialRetrievalError) as error:
            raise Unusable("There are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.") from error
        except ClientError as error:
            raise self._fault(error) from error
        except BotoCoreError as error:
            raise _unreached(error) from error

    def create_bucket(self) -> bool:
        """Make the bucket, private as every new one is, and tell whether it was not there yet."""
        place = {"LocationConstraint": self._access.region} if self._access.region not in ("", "us-east-1") else None
        try:
            self.check()
        except Unusable:
            options = {"CreateBucketConfiguration": place} if place else {}
            try:
                self._client().create_bucket(Bucket=self.bucket, **options)
            except ClientError as error:
                if error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou":  # another process was quicker
                    return False
                raise self._fault(error) from error
            return True
        return False

    def _fault(self, error: ClientError) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _AWAY or _status(error) >= 500:
            return _away()
        if code in ("NoSuchBucket", "404"):
            return Unusable(f"The bucket {self.bucket!r} does not exist. Make it, or correct STORAGE_URL.")
        if code in ("PermanentRedirect", "301", "IllegalLocationConstraintException", "AuthorizationHeaderMalformed"):
            return Unusable(f"The bucket {self.bucket!r} is in another region: set S3_REGION.")
        return Unusable(
            f"The object store refuses access to the bucket {self.bucket!r} ({code}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and what they may do."
        )

    def hold(self) -> BinaryIO:
        """Hold nothing: other machines would not see it."""
        return io.BytesIO()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell that one is not alone: other machines may be at work."""
        yield False

    def _name(self, key: str) -> str:
        return self._prefix + "/".join(parts_of(key))

    def _client(self, use: str = "work") -> Any:
        """Return this process's client for one use: `work`, `check` with little patience, `public` to sign with."""
        place = (os.getpid(), use)
        client = self._clients.get(place)
        if client is None:
            with self._lock, translated(""):
                client = self._clients.get(place) or self._connect(use)
                self._clients[place] = client
        return client

    def _connect(self, use: str) -> Any:
        access = self._access
        endpoint = (use == "public" and access.public_endpoint) or access.endpoint
        checking = use == "check"
        # One session for all clients, made before the fork: the description of S3 takes ten megabytes.
        session = self._session = self._session or boto3.session.Session(
            aws_access_key_id=access.key_id or None,
            aws_secret_access_key=access.secret or None,
            aws_session_token=access.token or None,
            region_name=access.region or None,
        )
        config = Config(
            signature_version="s3v4",
            connect_timeout=min(access.timeout, CHECK_SECONDS),
            read_timeout=min(access.timeout, CHECK_SECONDS) if checking else access.timeout,
            retries={"mode": "standard", "total_max_attempts": 1 if checking else TRIES},
            max_pool_connections=access.connections,
            # Stores that are not Amazon's know bodies whose SHA-256 is signed, and not all of them newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": True},
        )
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)


class Body(io.RawIOBase):
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
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be sought."""
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
        raise _away()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        """Close the connection, unless all was read and it can serve again."""
        self._drop()
        super().close()


def _read(stream: BinaryIO) -> bytes:
    """Read one part: less only at the end of the stream, since a read may return what just has arrived."""
    pieces, room = [], PART
    while room and (piece := stream.read(room)):
        pieces.append(piece)
        room -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Turn the errors of boto3 into those that every storage has."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _FULL or _status(error) == 507:
            raise NoRoom("The store has no room: nothing was stored. Make room, then try again.") from error
        if code in _MISSING:
            raise FileNotFoundError(errno.ENOENT, "no such key", key) from error
        if code in _AWAY or code in _REFUSED or _status(error) >= 500:
            # What is refused may be an operator's slip that is soon mended; the client can do nothing but wait.
            level = logging.ERROR if code in _REFUSED else logging.WARNING
            logs.event(log, "the object store refused or failed", level, status=_status(error), code=code)
            raise _away() from error
        raise
    except BotoCoreError as error:
        raise _unreached(error) from error


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def _unreached(error: BotoCoreError) -> Unavailable:
    logs.event(log, "the object store cannot be reached", logging.WARNING, fault=type(error).__name__)
    return _away()


def _away() -> Unavailable:
    return Unavailable("The store of files cannot be reached now. Try again in a few seconds.", retry_after=5)
