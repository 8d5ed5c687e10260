"""Photos of this disk, as many as fit a terminal: each with a result at once, and drawn copies if asked for."""

import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.features.faces.analyze.analysis import Analysis, Seen, in_order
from service.features.faces.analyze.sources import printable_path, walk
from service.features.faces.drawing import Draw
from service.features.faces.engines.engine import Detections


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo to look at: where it is, and where each of its drawn copies goes."""

    path: Path
    copies: Sequence[tuple[Path, Draw]] = ()

    @property
    def name(self) -> str:
        """The path as it can be printed."""
        return printable_path(str(self.path))


Analysed = tuple[Photo, Seen]


def analyze(analysis: Analysis, photos: Sequence[Photo], workers: int) -> Generator[Analysed, None, None]:
    """Look at the photos, `workers` at a time; give the results in the photos' order, each when it is there."""
    return in_order(partial(_look_at, analysis), photos, workers, analysis.stopped)


def _look_at(analysis: Analysis, photo: Photo) -> Analysed:
    def write_copies(image: bytes, found: Detections) -> None:
        for target, draw in photo.copies:
            _write(target, draw(image, found.faces, analysis.pixels))

    return photo, analysis.look_at(lambda: photo.path.open("rb"), write_copies)


def find_photos(paths: Iterable[Path], drawn: Mapping[Path, Draw]) -> list[Photo]:
    """Return the files, and what is in the folders and has the name or the first bytes of a photo, in order.

    Drawn copies keep their places below their folder, and what is there already is not looked at.
    """
    photos: list[Photo] = []
    taken: set[Path] = set()
    for path in paths:
        for file in _in_folder(path, drawn) if path.is_dir() else [path]:
            inside = file.relative_to(path) if path.is_dir() else Path(file.name)
            copies = [(_free_name(folder / inside, taken), draw) for folder, draw in drawn.items()]
            photos.append(Photo(file, copies))
    return photos


def _in_folder(folder: Path, drawn: Iterable[Path]) -> list[Path]:
    """Return the photos of a folder by name, and then those of the folders below."""
    found = (Path(entry.path) for entry in walk(folder, [own.resolve() for own in drawn]))
    return sorted(found, key=lambda path: (path.parts[:-1], path.name))


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
