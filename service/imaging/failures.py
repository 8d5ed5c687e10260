"""What the storage and the decoders raise while a job works on an image, as failures of the job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Invalid, NoRoom, ServiceFault, TooLarge, Unavailable, UnsupportedType
from service.jobs.operation import Failure, Unserved

log = logging.getLogger(__name__)


@contextmanager
def image_failures() -> Iterator[None]:
    """Raise errors of the block as failures: a store that is away or full costs time, not attempts."""
    try:
        yield
    except FileNotFoundError as error:
        raise Failure("engine_failed", "The image's file is not in the store any more.") from error
    except (Invalid, TooLarge, UnsupportedType) as error:
        raise Failure("image_rejected", error.detail) from error
    except NoRoom as error:
        raise Unserved(error.detail, who="The store", code="engine_failed") from error
    except ServiceFault as error:
        log.warning("this machine could not work on an image now", exc_info=error)
        raise Failure("engine_failed", error.detail, attempts=5) from error
    except Unavailable as error:
        raise Unserved(error.detail, who="The store") from error
