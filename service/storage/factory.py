"""Makes the storage, and what issues temporary credentials for it, as the settings say."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.config import THREADS, Settings
from service.storage.disk import DiskStorage
from service.storage.signed_urls import SignedUrls
from service.storage.storage import Storage
from service.storage.temporary_credentials import CredentialsIssuer, NoCredentialsIssuer

if TYPE_CHECKING:
    from service.storage.s3_client import S3Access

UPLOADS_TO_S3 = 12
"""Photos of one process that are checked and sent at once; each waits some milliseconds for the answer."""


def make_storage(settings: Settings, signed_urls: SignedUrls, prefixes: Sequence[str]) -> Storage:
    """Make the storage that the settings name, for keys with these prefixes. S3 connects with the first use."""
    if not settings.bucket:
        return DiskStorage(Path(settings.storage_url), signed_urls, prefixes)
    from service.storage.s3 import S3Storage

    return S3Storage(*settings.bucket, s3_access(settings), prefixes)


def make_credentials_issuer(settings: Settings) -> CredentialsIssuer:
    """Make what issues temporary credentials to clients, where the files are on S3 and a role is set."""
    if not settings.bucket:
        return NoCredentialsIssuer("The files are in a folder of this service: there are no credentials to lend.")
    if not settings.s3_role_arn:
        return NoCredentialsIssuer("There is no role that temporary keys could be made from: S3_ROLE_ARN is not set.")
    from service.storage.sts import SecurityTokenService

    endpoint = settings.s3_sts_endpoint_url or settings.s3_endpoint_url
    return SecurityTokenService(settings.bucket[0], settings.s3_role_arn, endpoint, s3_access(settings))


def s3_access(settings: Settings) -> "S3Access":
    """Return how the object store of the settings is reached."""
    from service.storage.s3_client import S3Access

    return S3Access(
        endpoint=settings.s3_endpoint_url,
        public_endpoint=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        key_id=settings.aws_access_key_id,
        secret=settings.aws_secret_access_key,
        token=settings.aws_session_token,
        timeout=settings.s3_timeout,
        # One for each thread that may use it at once: jobs, uploads, requests.
        connections=settings.job_threads + UPLOADS_TO_S3 + THREADS,
    )
