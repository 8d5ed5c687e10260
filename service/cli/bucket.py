"""`flask bucket …`: the bucket of an object store."""

import time
from collections.abc import Callable
from typing import TypeVar

import click

from service.cli.output import Group
from service.errors import Unavailable
from service.http.services import provided
from service.storage.storage import Storage, StorageMisconfigured

T = TypeVar("T")

bucket = Group("bucket", help="The bucket of an object store.")


@bucket.command("create")
@click.option("--wait", default=0.0, help="Seconds to wait for a store that does not answer yet.")
def create_bucket(wait: float) -> None:
    """Make the bucket of STORAGE_URL where there is none. It is private: only signed links lead into it."""
    from service.storage.s3 import S3Storage

    storage = provided(Storage)
    if not isinstance(storage, S3Storage):
        raise click.ClickException("STORAGE_URL is a folder: there is no bucket to make.")
    try:
        made = patiently(storage.create_bucket, wait, Unavailable)
    except (Unavailable, StorageMisconfigured) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The bucket {storage.bucket} {'was made' if made else 'is there already'}.")


def patiently(act: Callable[[], T], seconds: float, *failures: type[Exception]) -> T:
    """Return what `act` returns; after these failures try again each second for so long, then raise the last one."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except failures:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
