"""Drawn copies of photos, and their faces cut out, written while the photos are looked at."""

import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from service.features.faces.analyze.sources import S3
from service.features.faces.analyze.tables import write_pieces
from service.features.faces.cutting import cut_faces
from service.features.faces.drawing import Draw
from service.features.faces.engines.engine import Detections
from service.imaging.pixel_budget import PixelBudget

_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Copies:
    """Folders for copies, and how each is drawn, and a folder for faces.

    Each file is below its folder by the whole path or key of its photo; a face has its number in the name.
    """

    drawn: Mapping[Path, Draw] = field(default_factory=dict)
    crops: Path | None = None

    @property
    def folders(self) -> list[Path]:
        """All folders that are written to."""
        return [*self.drawn, *([self.crops] if self.crops else [])]

    def write(self, place: str, pixels: PixelBudget, image: bytes, found: Detections) -> None:
        """Write the copies of a photo; raise `OSError` where one cannot be, `Invalid` where it does not decode."""
        for folder, draw in self.drawn.items():
            write_pieces(_target(folder, place), [draw(image, found.faces, pixels)])
        if self.crops:
            _write_faces(_target(self.crops, place), cut_faces(image, found, pixels))

    def remove(self, place: str) -> None:
        """Remove what was written of a photo before it was changed, as far as that can be."""
        with suppress(OSError):
            for folder in self.drawn:
                _target(folder, place).unlink(missing_ok=True)
            if self.crops:
                _write_faces(_target(self.crops, place), ())


def _write_faces(target: Path, faces: Sequence[bytes]) -> None:
    """Write each face, and remove those that the photo had more of before it was changed."""
    for number, face in enumerate(faces, 1):
        write_pieces(_numbered(target, number), [face])
    number = len(faces) + 1
    while _numbered(target, number).exists():
        number += 1
    for past in range(number - 1, len(faces), -1):  # the last first, so that a crash leaves no gap
        _numbered(target, past).unlink()


def _numbered(target: Path, number: int) -> Path:
    return target.with_stem(f"{target.stem}_{number}")


def _target(folder: Path, place: str) -> Path:
    """Return a path for a JPEG that no other photo has; raise `OSError` where it could be a photo itself."""
    inside = PurePosixPath(place.removeprefix(S3).lstrip("/"))
    if ".." in inside.parts:
        raise OSError(errno.EINVAL, "leads out of the folder of copies", place)
    if not place.startswith(S3) and Path(place).resolve().is_relative_to(folder.resolve()):
        raise OSError(errno.EINVAL, "is in the folder of copies: give them another one", place)
    return folder / (inside if inside.suffix.lower() in _JPEG else inside.with_name(f"{inside.name}.copy.jpg"))
