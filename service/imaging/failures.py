"""What the storage and the decoders raise while a job works on an image, as failures of the job."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Invalid, NoRoom, TooLarge, Unavailable, UnsupportedType
from service.jobs.operation import Failure

STORE_ATTEMPTS = 20
"""So many runs outlast about ten minutes without the store: the waits between them grow to a minute."""


@contextmanager
def image_failures() -> Iterator[None]:
    """Raise errors of the block as failures, each with as many attempts as may help."""
    try:
        yield
    except FileNotFoundError as error:
        raise Failure("engine_failed", "The image's file is not in the store any more.") from error
    except (Invalid, TooLarge, UnsupportedType) as error:
        raise Failure("image_rejected", error.detail) from error
    except NoRoom as error:
        raise Failure("engine_failed", error.detail, attempts=5) from error
    except Unavailable as error:
        raise Failure("upstream_unavailable", error.detail, attempts=STORE_ATTEMPTS) from error
