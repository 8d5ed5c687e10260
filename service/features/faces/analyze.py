"""Photos from the disk straight through an engine: no task, no database, no server."""

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import Problem
from service.features.faces.drawing import draw_boxes
from service.features.faces.engines.engine import Detections, Engine
from service.imaging.media_types import media_type_of
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits, Picture, check
from service.jobs.operation import Cancelled, Failure, Postponed
from service.jobs.transitions import back_off

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif"))
MOST_ATTEMPTS = 10
NOTHING = Detections(())


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo to look at: where it is, and where the copy with boxes goes, if there is to be one."""

    path: Path
    boxed: Path | None = None

    @property
    def name(self) -> str:
        """The path as it can be printed: a name that is no UTF-8 comes out with marks in it."""
        return os.fsencode(self.path).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Analysed:
    """What became of a photo: its faces, or an error's code and sentence."""

    photo: Photo
    picture: Picture | None = None
    found: Detections = NOTHING
    error: tuple[str, str] | None = None


@dataclass(frozen=True)
class Analysis:
    """An engine and the limits of what it is given; `stopped` ends it early."""

    engine: Engine
    limits: Limits
    pixels: PixelBudget
    workers: int
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, photos: Sequence[Photo]) -> Generator[Analysed, None, None]:
        """Look at the photos, `workers` at a time; give the results in the photos' order, each when it is there.

        When the caller stops early nothing more is begun, and what is under way ends first.
        """
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="analysis")
        try:
            futures = [pool.submit(self._look_at, photo) for photo in photos]
            while futures:
                yield futures.pop(0).result()
        finally:
            self.stopped.set()
            pool.shutdown(cancel_futures=True)

    def _look_at(self, photo: Photo) -> Analysed:
        picture = None
        try:
            with photo.path.open("rb") as stream:
                picture = check(stream, "", self.limits, self.pixels)
                image = stream.read()
            found = self._detect(image)
            if photo.boxed:
                _write(photo.boxed, draw_boxes(image, found.faces, self.pixels))
        except Problem as problem:
            return Analysed(photo, picture, error=("image_rejected", problem.detail))
        except Failure as failure:
            return Analysed(photo, picture, error=(failure.code, failure.detail))
        except OSError as error:
            return Analysed(photo, picture, error=("file_failed", f"{error.filename}: {error.strerror}."))
        except Cancelled:
            return Analysed(photo, picture, error=("cancelled", "It was not looked at."))
        return Analysed(photo, picture, found)

    def _detect(self, image: bytes) -> Detections:
        """Ask the engine as often as a job of the service would, but no longer than a person wants to wait."""
        attempt = 1
        while True:
            try:
                return Detections.of(self.engine.detect(image, self.stopped.is_set))
            except Postponed as postponed:
                wait = postponed.wait
            except Failure as failure:
                if attempt >= min(failure.attempts, MOST_ATTEMPTS):
                    raise
                wait = back_off(attempt) if failure.wait is None else failure.wait
                attempt += 1
            if self.stopped.wait(wait):
                raise Cancelled


def find_photos(paths: Iterable[Path], boxed: Path | None) -> list[Photo]:
    """Return the files, and what is in the folders and has the name or the first bytes of a photo, in order.

    Copies keep their places below `boxed`, and what is there already is not looked at.
    """
    photos: list[Photo] = []
    taken: set[Path] = set()
    for path in paths:
        found = _walk(path, boxed.resolve() if boxed else None) if path.is_dir() else [path]
        for file in found:
            inside = file.relative_to(path) if path.is_dir() else Path(file.name)
            photos.append(Photo(file, _free_name(boxed / inside, taken) if boxed else None))
    return photos


def _walk(folder: Path, boxed: Path | None) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        if boxed and Path(here).resolve().is_relative_to(boxed):
            folders.clear()
            continue
        yield from (Path(here, name) for name in sorted(names) if _may_be_photo(Path(here, name)))


def _may_be_photo(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return media_type_of(stream.read(64)) is not None
    except OSError:
        return False


def _free_name(target: Path, taken: set[Path]) -> Path:
    """Return a name for a JPEG that no other photo has."""
    if target.suffix.lower() not in (".jpg", ".jpeg"):
        target = target.with_name(target.name + ".jpg")
    number, free = 1, target
    while free in taken:
        number += 1
        free = target.with_stem(f"{target.stem}-{number}")
    taken.add(free)
    return free


def _write(target: Path, data: bytes) -> None:
    """Write a file that is whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".new-{threading.get_ident()}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
