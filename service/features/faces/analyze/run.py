"""A run over sources into a result: what is done stays, what is new or changed is looked at, shard by shard."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from service.features.faces.analyze.analysis import REJECTED
from service.features.faces.analyze.photo_index import Done, Open, PhotoIndex
from service.features.faces.analyze.result_folder import INDEX, PhotoRow, ResultFolder
from service.features.faces.analyze.sources import Found, Sources
from service.features.faces.analyze.workers import ChunkT, duplicate_row

DIGESTS = 256  # photos whose bytes are read by a process at a time, to find duplicates
_DONE = ("path", "size", "mtime_ns", "etag", "digest", "duplicate_of", "error_code")


class Lookers(Protocol):
    """Processes, of this machine or of others, that look at photos."""

    def look_at(self, chunks: Iterator[ChunkT]) -> Iterator[tuple[ChunkT, list[PhotoRow]]]:
        """Yield chunks with the rows of their photos, as they are done."""

    def digests(self, pages: Iterator[Sequence[Found]]) -> Iterator[tuple[Sequence[Found], list[str | None]]]:
        """Yield pages of photos with the SHA-256 of each."""

    def close(self) -> None:
        """End the processes."""


class Stopping(Protocol):
    """Tells a run to begin no more."""

    def is_set(self) -> bool:
        """Return whether it is to end."""


class Progress(Protocol):
    """Whom a run tells how far it is."""

    def begin(self, found: int, open_photos: int) -> None:
        """So many photos were found, and so many of them are open."""

    def advance(self, rows: Sequence[PhotoRow]) -> None:
        """These have been done."""

    def end(self) -> None:
        """The look has ended."""


@dataclass
class Shard:
    """Photos that are written together, as one part."""

    part: int
    rows: dict[int, PhotoRow] = field(default_factory=dict)  # by the photo's place
    expected: int = 0
    is_closed: bool = False


@dataclass(frozen=True)
class Chunk:
    """A piece of a shard: its photos, and the rows that are known without looking."""

    shard: Shard
    places: Sequence[int]
    photos: Sequence[Found]
    duplicates: dict[int, PhotoRow]


class Run:
    """One process at work on a result. `stopped` lets the shards under way end, and begins no other."""

    def __init__(
        self,
        result: ResultFolder,
        lookers: Lookers,
        progress: Progress,
        *,
        shard: int,
        chunk: Callable[[int], int],
        dedupe: bool,
        stopped: Stopping,
    ) -> None:
        """Read what is done. `chunk` returns how many photos a process is given at a time, for so many in all."""
        self._result = result
        self._lookers = lookers
        self._progress = progress
        self._shard_size = shard
        self._chunk_size = chunk
        self._dedupe = dedupe
        self._stopped = stopped
        result.sweep()
        self._index = PhotoIndex(result.folder / INDEX)
        parts = result.parts()
        self._next_part = parts[-1] + 1 if parts else 0
        for part in parts:
            rows = result.photos(part, *_DONE)
            self._index.add_part(_done(row, again=row[-1] not in (None, REJECTED), part=part) for row in rows)
        self._drop_superseded()

    def close(self) -> None:
        """Forget what is done; the result keeps it."""
        self._index.close()

    def look(self, sources: Sources, names: Sequence[str], *, settled: bool = False) -> tuple[int, int]:
        """Look at what the sources have and the result has not; return how many photos were found and were open.

        With `settled` only at what the look before found in the same state: nobody writes it any more.
        """
        counts = self._index.look(map(self._as_written, sources.find(names)), settled=settled, dedupe=self._dedupe)
        if self._dedupe and counts[1]:
            self._find_duplicates()
        self._progress.begin(*counts)
        try:
            for chunk, rows in self._lookers.look_at(self._chunks(self._chunk_size(counts[1]))):
                chunk.shard.rows |= dict(zip(chunk.places, rows, strict=True)) | chunk.duplicates
                self._progress.advance([*rows, *chunk.duplicates.values()])
                self._write_if_complete(chunk.shard)
        finally:
            self._progress.end()
        return counts

    def count_gone(self) -> int:
        """Return how many photos of the result the sources do not have now."""
        return self._index.count_gone()

    def _as_written(self, found: Found) -> Found:
        text = self._result.text(found.path)
        return found if text == found.path else found._replace(path=text)

    def _chunks(self, size: int) -> Iterator[Chunk]:
        photos = self._index.open_photos()
        while not self._stopped.is_set() and (some := list(islice(photos, self._shard_size))):
            shard = Shard(self._next_part, expected=len(some))
            self._next_part += 1
            for begin in range(0, len(some), size):
                yield _chunk(shard, begin, some[begin : begin + size])

    def _write_if_complete(self, shard: Shard) -> None:
        if len(shard.rows) < shard.expected:
            return
        rows = [shard.rows[place] for place in sorted(shard.rows)]
        names = [name for name, _ in self._result.photo_columns]
        photos = [tuple(row.members.get(name) for name in names) for row in rows]
        self._result.write(shard.part, photos, [face for row in rows for face in row.faces])
        # What failed is not tried again by the same run.
        done = (_done([row.members.get(name) for name in _DONE], again=False, part=shard.part) for row in rows)
        self._index.add_part(done)
        self._drop_superseded()

    def _drop_superseded(self) -> None:
        for part, paths in self._index.superseded():
            self._result.drop(part, paths)

    def _find_duplicates(self) -> None:
        candidates = self._index.of_one_size()
        pages = iter(lambda: list(islice(candidates, DIGESTS)), [])
        numbers: list[list[int]] = []

        def photos() -> Iterator[Sequence[Found]]:
            for page in pages:
                numbers.append([one.number for one in page])
                yield [one.found for one in page]

        for _, digests in self._lookers.digests(photos()):
            self._index.add_digests(zip(digests, numbers.pop(0), strict=True))
        self._index.find_duplicates()


def _chunk(shard: Shard, begin: int, some: Sequence[Open]) -> Chunk:
    placed = list(enumerate(some, begin))
    new = [(place, one.found) for place, one in placed if one.duplicate_of is None]
    return Chunk(
        shard,
        [place for place, _ in new],
        [found for _, found in new],
        {
            place: duplicate_row(one.found, one.digest, one.duplicate_of)
            for place, one in placed
            if one.duplicate_of is not None
        },
    )


def _done(row: Sequence[Any], *, again: bool, part: int) -> Done:
    path, size, mtime_ns, etag, digest, duplicate_of, _ = row
    return Done(path, size, mtime_ns, etag, digest, duplicate_of, again, part)
