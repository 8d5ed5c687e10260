"""A result for other programs: documents in its folder, and sidecars beside its photos."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.features.faces.analyze.result_folder import ResultFolder
from service.features.faces.analyze.sources import S3
from service.features.faces.analyze.tables import write_pieces
from service.features.faces.analyze.xmp import write_sidecar
from service.features.faces.annotations import FORMS, Annotated
from service.features.faces.face_members import face
from service.storage.spools import SpoolFolder


@dataclass
class Sidecars:
    """How many sidecars there are now, were left since another program made them, and could not be written."""

    written: int = 0
    left: int = 0
    failed: int = 0


def write_documents(result: ResultFolder, forms: Iterable[str]) -> list[Path]:
    """Write documents of these FORMS into the folder `exports` of a result; return their files."""
    files = []
    spools = SpoolFolder(result.folder / "exports", sys.maxsize)
    for form in forms:
        files.append(result.folder / "exports" / f"{form}.json")
        write_pieces(files[-1], FORMS[form]((photo for photo, _ in _photos(result)), spools))
    return files


def write_sidecars(result: ResultFolder) -> Sidecars:
    """Write a sidecar beside each photo on the disk that was looked at."""
    count = Sidecars()
    for photo, mtime_ns in _photos(result):
        if photo.place.startswith(S3):
            continue
        try:
            if write_sidecar(Path(photo.place), photo.faces, mtime_ns):
                count.written += 1
            else:
                count.left += 1
        except OSError:
            count.failed += 1
    return count


def _photos(result: ResultFolder) -> Iterator[tuple[Annotated, int]]:
    """Yield the photos that were looked at, each with its time; duplicates are left out."""
    for part in result.parts():
        faces: dict[str, list[dict[str, Any]]] = {}
        for path, *members in result.faces(part):
            faces.setdefault(path, []).append(face(members))
        for path, width, height, status, mtime_ns in result.photos(
            part, "path", "width", "height", "status", "mtime_ns"
        ):
            if status == "done":
                yield Annotated(path, path, width, height, faces.get(path, [])), mtime_ns
