"""The errors of boto3 as those of every storage."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError

from service.errors import NoRoom, Unavailable
from service.storage.storage import StorageMisconfigured
from service.telemetry import logging as logs

_MISSING = {"NoSuchKey", "404", "NotFound"}
_FULL = {"507", "InsufficientStorage", "QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull"}
_BUSY = {"429", "SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "OperationAborted"}
_REFUSED = {
    *("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("NoSuchBucket", "AllAccessDisabled", "AccountProblem", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed"),
}
_OTHER_REGION = {"PermanentRedirect", "301", "IllegalLocationConstraintException", "AuthorizationHeaderMalformed"}

log = logging.getLogger(__name__)


@contextmanager
def translated(key: str = "") -> Iterator[None]:
    """Raise FileNotFoundError for a missing key, NoRoom for a full store, Unavailable for one that fails or refuses."""
    try:
        yield
    except ClientError as error:
        code, status = code_of(error), _status(error)
        if code in _FULL or status == 507:
            raise NoRoom("The store has no room: nothing was stored. Make room, then try again.") from error
        if code in _MISSING:
            raise FileNotFoundError(errno.ENOENT, "no such key", key) from error
        if code in _BUSY or code in _REFUSED or status >= 500:
            # What is refused may be an operator's slip that is soon mended; the client can do nothing but wait.
            level = logging.ERROR if code in _REFUSED else logging.WARNING
            logs.event(log, "the object store refused or failed", level, status=status, code=code)
            raise unreachable() from error
        raise
    except (BotoCoreError, TimeoutError) as error:
        raise _not_reached(error) from error


@contextmanager
def translated_for_operator(bucket: str, named_by: str = "STORAGE_URL") -> Iterator[None]:
    """Raise StorageMisconfigured, with what to correct, for whatever trying again does not help; else Unavailable."""
    try:
        yield
    except (NoCredentialsError, CredentialRetrievalError) as error:
        message = "There are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        raise StorageMisconfigured(message) from error
    except ClientError as error:
        code = code_of(error)
        if code in _BUSY or _status(error) >= 500:
            raise unreachable() from error
        if code in ("NoSuchBucket", "404"):
            message = f"The bucket {bucket!r} does not exist. Make it, or correct {named_by}."
        elif code in _OTHER_REGION:
            message = f"The bucket {bucket!r} is in another region: set S3_REGION."
        else:
            message = (
                f"The object store refuses access to the bucket {bucket!r} ({code}): check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they may do."
            )
        raise StorageMisconfigured(message) from error
    except (BotoCoreError, TimeoutError) as error:
        raise _not_reached(error) from error


def code_of(error: ClientError) -> str:
    """Return the store's own code for an error, such as `NoSuchKey`; empty where it sent none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def unreachable() -> Unavailable:
    """Return what a client is told while the store cannot be used."""
    return Unavailable(
        "The store of files cannot be reached now. Try again in a few seconds.", retry_after=5, code="store_unavailable"
    )


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def _not_reached(error: BotoCoreError | TimeoutError) -> Unavailable:
    logs.event(log, "the object store cannot be reached", logging.WARNING, fault=type(error).__name__)
    return unreachable()
