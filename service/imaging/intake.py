"""Uploaded images on their way into the storage: checked in full; all of a request are kept, or none."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from service.errors import Invalid, TooLarge, Unavailable, UnsupportedType
from service.imaging.media_types import ACCEPTED
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits, Picture, check
from service.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came: the client's name for it, its bytes, and where it stands in the request, as a JSON pointer.

    `digest` is that of the bytes: `sha-256:` and 64 hexadecimal digits.
    """

    name: str
    stream: BinaryIO
    digest: str
    pointer: str = "#"


@contextmanager
def pointing_at(upload: Upload) -> Iterator[None]:
    """Add to what is refused in the block, in `errors`, which file of the request it is."""
    try:
        yield
    except (Invalid, TooLarge, UnsupportedType) as problem:
        problem.members["errors"] = [{"detail": problem.detail, "pointer": upload.pointer}]
        raise


@dataclass(frozen=True)
class Intake:
    """Where uploads go, and what they may be. With `tells_types` the store keeps the media type of each."""

    storage: Storage
    pool: ThreadPoolExecutor
    limits: Limits
    pixels: PixelBudget
    types: tuple[str, ...] = ACCEPTED
    tells_types: bool = True

    @contextmanager
    def keeping(self, uploads: Sequence[Upload], keys: Sequence[str]) -> Iterator[list[Picture]]:
        """Store the files under these keys, and give what they are; a failure, here or in the block, removes them."""
        try:
            pictures = self._stored(uploads, keys)
            self.storage.flush(*keys)
            yield pictures
        except BaseException:
            with suppress(Unavailable):  # then the sweep takes them
                self.storage.delete(*keys)
            raise

    def _stored(self, uploads: Sequence[Upload], keys: Sequence[str]) -> list[Picture]:
        if len(uploads) == 1:
            return [self._store(uploads[0], keys[0])]
        # Decoding and storing let other threads run, so a batch uses every core. After an error nothing more begins,
        # but what has begun ends before anything is judged, so that no file appears after the clean-up. They begin in
        # order, so the first error of all is among those that have ended.
        futures = [self.pool.submit(self._store, *pair) for pair in zip(uploads, keys, strict=True)]
        wait(futures, return_when=FIRST_EXCEPTION)
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
        return [future.result() for future in begun]

    def _store(self, upload: Upload, key: str) -> Picture:
        with pointing_at(upload):
            picture = self._check(upload)
        self.storage.save(key, upload.stream, picture.media_type if self.tells_types else "", flushed=False)
        return picture

    def _check(self, upload: Upload) -> Picture:
        try:
            return check(upload.stream, upload.name, self.limits, self.pixels, self.types)
        except UnsupportedType as problem:
            problem.members["accepted_types"] = list(self.types)
            raise
