"""Uploaded images on their way into the storage: checked in full; all of a request are kept, or none."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from service.errors import Invalid, TooLarge, Unavailable, UnsupportedType
from service.imaging import validate as media
from service.imaging.header import ACCEPTED
from service.storage.storage import Storage


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came: the client's name for it, its bytes, and where it stands in the request, as a JSON pointer."""

    name: str
    stream: BinaryIO
    pointer: str = "#"


@contextmanager
def pointing_at(upload: Upload) -> Iterator[None]:
    """Let what is refused in the block say in `errors` which file of the request it is."""
    try:
        yield
    except (Invalid, TooLarge, UnsupportedType) as problem:
        problem.members["errors"] = [{"detail": problem.detail, "pointer": upload.pointer}]
        raise


def checked(stream: BinaryIO, name: str, limits: media.Limits, types: tuple[str, ...] = ACCEPTED) -> media.Picture:
    """Tell what a file is, or raise as `media.check` does; a refusal of its type lists the accepted ones."""
    try:
        return media.check(stream, name, limits, types)
    except UnsupportedType as problem:
        problem.members["accepted_types"] = list(types)
        raise


@dataclass(frozen=True)
class Intake:
    """Where uploads go, and what they may be; where it `tells_types`, the store knows what each one is."""

    storage: Storage
    pool: ThreadPoolExecutor
    limits: media.Limits
    types: tuple[str, ...] = ACCEPTED
    tells_types: bool = True

    @contextmanager
    def keeping(self, uploads: Sequence[Upload], keys: Sequence[str]) -> Iterator[list[media.Picture]]:
        """Store the files under these keys, and tell what they are; what fails, here or in the block, removes them."""
        try:
            yield self._stored(uploads, keys)
        except BaseException:
            with suppress(Unavailable):  # then the sweep takes them
                self.storage.delete(*keys)
            raise

    def _stored(self, uploads: Sequence[Upload], keys: Sequence[str]) -> list[media.Picture]:
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

    def _store(self, upload: Upload, key: str) -> media.Picture:
        with pointing_at(upload):
            picture = checked(upload.stream, upload.name, self.limits, self.types)
        self.storage.save(key, upload.stream, picture.media_type if self.tells_types else "")
        return picture
