"""Makes the storage, and what lends temporary keys to it, as the settings say."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.config import THREADS, Settings
from service.sizing import workers_of
from service.storage.disk import DiskStorage
from service.storage.signed_urls import Links
from service.storage.storage import Storage
from service.storage.temporary_credentials import Grants, NoGrants

if TYPE_CHECKING:
    from service.storage.s3 import Access

UPLOADS_TO_S3 = 12
"""Photos of one process that are checked and sent at once; each waits some milliseconds for the answer."""


def make_storage(settings: Settings, links: Links, prefixes: Sequence[str]) -> Storage:
    """Make the storage that the settings name, for keys with these prefixes. S3 connects with the first use."""
    if not settings.bucket:
        return DiskStorage(Path(settings.storage_url), links, prefixes)
    from service.storage.s3 import S3Storage

    return S3Storage(*settings.bucket, access(settings), prefixes)


def make_grants(settings: Settings) -> Grants:
    """Make what lends clients temporary keys, where the files are on S3 and a role is set."""
    if not settings.bucket:
        return NoGrants("The files are in a folder of this service: there are no credentials to lend.")
    if not settings.s3_role_arn:
        return NoGrants("There is no role that temporary keys could be made from: S3_ROLE_ARN is not set.")
    from service.storage.sts import SecurityTokens

    endpoint = settings.s3_sts_endpoint_url or settings.s3_endpoint_url
    return SecurityTokens(settings.bucket[0], settings.s3_role_arn, endpoint, access(settings))


def access(settings: Settings) -> "Access":
    """Return how the store is reached."""
    from service.storage.s3 import Access

    return Access(
        endpoint=settings.s3_endpoint_url,
        public_endpoint=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        key_id=settings.aws_access_key_id,
        secret=settings.aws_secret_access_key,
        token=settings.aws_session_token,
        timeout=settings.s3_timeout,
        # One for each thread that may use it at once: jobs, uploads, requests.
        connections=workers_of(settings) + UPLOADS_TO_S3 + THREADS,
    )
