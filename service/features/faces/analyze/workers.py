"""Processes that look at photos: as many as keep the cores, or the calls to another machine, busy."""

import hashlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from service.config import Settings, available_cores
from service.errors import Problem
from service.features.faces.analyze.analysis import Analysis, Seen, all_of
from service.features.faces.analyze.copies import Copies
from service.features.faces.analyze.result_folder import PhotoRow, list_column
from service.features.faces.analyze.sources import S3, Found, Sources, printable_path
from service.features.faces.engines.factory import make_engine
from service.features.faces.face_members import numbered
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits
from service.server.malloc import return_freed_memory

CHUNK = 32  # photos that a thread is given at a time
FACECLOUD_CALLS = 8
S3_THREADS = 4  # photos of a bucket that a process waits for while it computes
MOST_LOST = 5
"""So many processes in a row die of a single photo each: then it is not the photos."""
PIECE = 1 << 20


class WorkersLost(Exception):
    """The processes that do the work die, whatever they are given."""


@dataclass(frozen=True)
class Work:
    """What a process needs to know: settings, how many share the work, and what is asked of a photo."""

    settings: Settings
    processes: int
    threads: int
    digests: bool
    copies: Copies

    @classmethod
    def of(cls, settings: Settings, sources: Sequence[str], *, digests: bool, copies: Copies) -> Self:
        """Share the cores, or the calls to FaceCloud, among processes."""
        cores = available_cores()
        if settings.engine != "facecloud":
            processes = settings.workers or cores
            remote = any(source.startswith(S3) for source in sources)
            return cls(settings, processes, S3_THREADS if remote else 1, digests, copies)
        calls = settings.workers or FACECLOUD_CALLS
        calls = min(calls, settings.facecloud_max_concurrency or calls)
        processes = max(number for number in range(1, cores + 1) if calls % number == 0)
        return cls(settings, processes, calls // processes, digests, copies)

    def chunk_size(self, photos: int) -> int:
        """Return how many photos go to a process at a time: fewer where there are few, so that all have some."""
        return max(1, min(CHUNK * self.threads, math.ceil(photos / (4 * self.processes))))


class Chunk(Protocol):
    """Photos that are handed to a process together."""

    @property
    def photos(self) -> Sequence[Found]:
        """The photos that are to be looked at."""


ChunkT = TypeVar("ChunkT", bound=Chunk)


class Looker:
    """Looks at photos in this process. It needs no web framework and no database."""

    def __init__(self, work: Work) -> None:
        settings, pixels = work.settings, PixelBudget()
        self._sources = Sources(settings)
        engine = make_engine(settings, pixels, calls=work.threads)
        limits = Limits(bytes=settings.max_image_bytes, pixels=settings.max_image_pixels)
        self._copies = work.copies
        self._analysis = Analysis(engine, limits, pixels, work.digests)
        self._pool = ThreadPoolExecutor(work.threads, thread_name_prefix="photo") if work.threads > 1 else None

    def look_at(self, photos: Sequence[Found]) -> list[PhotoRow]:
        """Return the rows of photos, in order; what fails is a row with a reason."""
        return all_of(self._look_at, photos, self._pool)

    def digests(self, photos: Sequence[Found]) -> list[str | None]:
        """Return the SHA-256 of photos, in order; None for one that cannot be read."""
        return all_of(self._digest, photos, self._pool)

    def _look_at(self, photo: Found) -> PhotoRow:
        write_copies = partial(self._copies.write, photo.place, self._analysis.pixels)
        seen = self._analysis.look_at(lambda: self._sources.open(photo.place, photo.size), write_copies)
        if seen.error:
            self._copies.remove(photo.place)
        return row_of(photo, seen)

    def _digest(self, photo: Found) -> str | None:
        found = hashlib.sha256()
        try:
            with self._sources.open(photo.place, photo.size) as stream:
                while piece := stream.read(PIECE):
                    found.update(piece)
        except (OSError, Problem):
            return None
        return found.hexdigest()


def row_of(photo: Found, seen: Seen) -> PhotoRow:
    """Return the row of a photo that was looked at."""
    picture, error = seen.picture, seen.error or (None, None)
    members = _members(photo) | {
        "digest": seen.digest,
        "media_type": picture and picture.media_type,
        "width": picture and picture.width,
        "height": picture and picture.height,
        "status": "failed" if seen.error else "done",
        "error_code": error[0],
        "error_detail": error[1] and printable_path(error[1]),
        "searched_width": seen.found.searched_width,
        "rotation": seen.found.rotation,
        "faces": None if seen.error else len(seen.found.faces),
        "milliseconds": round(seen.milliseconds, 3),
    }
    return PhotoRow(members, [(photo.path, *face) for face in numbered(seen.found.faces)])


def duplicate_row(photo: Found, digest: str | None, first: str) -> PhotoRow:
    """Return the row of a photo whose bytes are those of another one."""
    return PhotoRow(_members(photo) | {"digest": digest, "status": "duplicate", "duplicate_of": first})


def lost_row(photo: Found) -> PhotoRow:
    """Return the row of a photo at which a process died."""
    text = "The process that looked at it died. Its memory may not have sufficed."
    return row_of(photo, Seen(error=("worker_lost", text)))


def _members(photo: Found) -> dict[str, Any]:
    own = {"path": photo.path, "size": photo.size, "mtime_ns": photo.mtime_ns, "etag": photo.etag}
    return {list_column(name): value for name, value in photo.columns.items()} | own


class Processes:
    """The processes. A photo that kills its process becomes a failed row, and the others of its chunk are done."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pool: ProcessPoolExecutor | None = None
        self._lost = 0

    def look_at(self, chunks: Iterator[ChunkT]) -> Iterator[tuple[ChunkT, list[PhotoRow]]]:
        """Yield chunks with the rows of their photos, as they are done; few more are taken than are under way."""
        waiting: dict[Future[list[PhotoRow]], ChunkT] = {}
        for chunk in chunks:
            if not chunk.photos:
                yield chunk, []
                continue
            waiting[self._submit(_look_at, chunk.photos)] = chunk
            if len(waiting) >= 2 * self._work.processes:
                yield from self._done(waiting)
        while waiting:
            yield from self._done(waiting)

    def digests(self, pages: Iterator[Sequence[Found]]) -> Iterator[tuple[Sequence[Found], list[str | None]]]:
        """Yield pages of photos with the SHA-256 of each."""
        waiting: list[tuple[Sequence[Found], Future[list[str | None]]]] = []
        for page in pages:
            waiting.append((page, self._submit(_digests, page)))
            if len(waiting) >= 2 * self._work.processes:
                first, future = waiting.pop(0)
                yield first, future.result()
        for page, future in waiting:
            yield page, future.result()

    def close(self) -> None:
        """End the processes, at once where they are at work."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _done(self, waiting: dict[Future[list[PhotoRow]], ChunkT]) -> Iterator[tuple[ChunkT, list[PhotoRow]]]:
        ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ended:
            with suppress(BrokenProcessPool):
                rows = future.result()
                self._lost = 0
                yield waiting.pop(future), rows
        if any(future in waiting for future in ended):
            # All that was under way is lost, and any of it may be the cause.
            suspects = list(waiting.values())
            waiting.clear()
            self.close()
            for chunk in suspects:
                yield chunk, [self._look_at_alone(photo) for photo in chunk.photos]

    def _look_at_alone(self, photo: Found) -> PhotoRow:
        try:
            rows: list[PhotoRow] = self._submit(_look_at, [photo]).result()
        except BrokenProcessPool as error:
            self.close()
            self._lost += 1
            if self._lost >= MOST_LOST:
                raise WorkersLost("The processes that look at the photos die. Is there enough memory?") from error
            return lost_row(photo)
        self._lost = 0
        return rows[0]

    def _submit(self, function: Any, photos: Sequence[Found]) -> Future[Any]:
        if not self._pool:
            # The server that forks the processes has imported what they need, and runs no threads.
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["__main__", __name__])
            self._pool = ProcessPoolExecutor(self._work.processes, context, initializer=_begin, initargs=(self._work,))
        try:
            return self._pool.submit(function, photos)
        except BrokenProcessPool as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed


_looker: Looker


def _begin(work: Work) -> None:
    """Prepare a process: it leaves Ctrl-C to its parent, and dies with it."""
    global _looker  # noqa: PLW0603 - what an initializer makes has no other place
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    return_freed_memory()
    _looker = Looker(work)


def _die_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _look_at(photos: Sequence[Found]) -> list[PhotoRow]:
    return _looker.look_at(photos)


def _digests(photos: Sequence[Found]) -> list[str | None]:
    return _looker.digests(photos)
