"""The operation of renditions: one version into its WebPs."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.features.renditions.keys import KINDS, rendition_key, rendition_name
from service.features.renditions.models import ImageVersion, OwnedImage, Rendition
from service.features.renditions.removal import remove_images, remove_versions
from service.features.renditions.representation import FileAddresses
from service.imaging import transform
from service.imaging.failures import image_failures
from service.imaging.pixel_budget import PixelBudget
from service.jobs.file_deletion import delete_later
from service.jobs.operation import Cancelled, Failure, Operation, Run
from service.storage.spools import SpoolFolder

KIND = "renditions"


@dataclass(frozen=True, slots=True)
class Made:
    """A rendition that was made and stored; size is in bytes."""

    kind: str
    name: str
    path: str
    url: str | None
    width: int
    height: int
    size: int


class Place(NamedTuple):
    """The storage key and the file name of what was uploaded as a version."""

    path: str
    name: str

    @property
    def folder(self) -> str:
        """The prefix of the version's keys."""
        return self.path[: self.path.rindex("/") + 1]


class RenditionCreation(Operation):
    """load → work → save for the versions of images. `scales` are the sizes of `KINDS`."""

    kind = KIND
    failure_code = "engine_failed"

    def __init__(self, files: FileAddresses, pixels: PixelBudget, spools: SpoolFolder, scales: Sequence[float]) -> None:
        self.files = files
        self.storage = files.storage
        self.pixels = pixels
        self.spools = spools
        self.scales = scales

    def load(self, session: Session, runs: Sequence[Run]) -> list[Place | None]:
        """Return where the versions stand, None for deleted ones."""
        ids = [run.subject for run in runs]
        query = sa.select(ImageVersion.id, ImageVersion.path, ImageVersion.name).where(ImageVersion.id.in_(ids))
        known = {version: Place(path, name) for version, path, name in session.execute(query)}
        return [known.get(version) for version in ids]

    def work(self, place: Place | None, cancelled: Callable[[], bool]) -> list[Made]:
        """Decode once, make and store each rendition: the files come before their rows."""
        if place is None:
            raise Failure("engine_failed", "The image has been deleted.")
        folder, made = place.folder, []
        with image_failures():
            original = self.storage.read(place.path)
            with closing(transform.renditions(original, self.scales, self.pixels, self.spools)) as copies:  # type: ignore[type-var]
                for kind, copy in zip(KINDS, copies, strict=True):
                    if cancelled():
                        raise Cancelled
                    path = rendition_key(folder, kind)
                    size = self.storage.save(path, copy.stream, copy.media_type)
                    name, url = rendition_name(place.name, kind), self.files.lasting(path)
                    made.append(Made(kind, name, path, url, copy.width, copy.height, size))
        return made

    def save(self, session: Session, results: Sequence[tuple[Run, list[Made]]]) -> None:
        """End the versions, and remove what they replace: all in the transaction that ends the jobs."""
        for run, made in results:
            session.execute(sa.insert(Rendition), [{"version_id": run.subject, **asdict(file)} for file in made])
            _set_status(session, run, "done", None)
            _remove_older(session, run.subject)

    def postpone(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """Set the versions back to pending, with the reason."""
        for run, failure in failures:
            _set_status(session, run, "pending", failure)

    def fail(self, session: Session, failures: Sequence[tuple[Run, Failure]]) -> None:
        """End the versions with the reason. What they were to replace stays."""
        for run, failure in failures:
            _set_status(session, run, "failed", failure)

    def undo(self, session: Session, dropped: Sequence[tuple[Run, Any]]) -> None:
        """Remove what runs wrote whose versions were deleted under their hands; others may need theirs."""
        ids = [run.subject for run, _ in dropped]
        there = set(session.scalars(sa.select(ImageVersion.id).where(ImageVersion.id.in_(ids))))
        delete_later(session, [place.folder for run, place in dropped if place and run.subject not in there])


def _set_status(session: Session, run: Run, status: str, failure: Failure | None) -> None:
    code, detail = (failure.code, failure.detail[:500]) if failure else (None, None)
    session.execute(
        sa.update(ImageVersion)
        .where(ImageVersion.id == run.subject)
        .values(status=status, error_code=code, error_detail=detail),
        execution_options={"synchronize_session": False},
    )


def _remove_older(session: Session, version_id: str) -> None:
    """Remove the older versions of this one's image, and the older images of its owner if it was to replace them."""
    version, image = session.execute(
        sa.select(ImageVersion.number, OwnedImage)
        .join(OwnedImage, OwnedImage.id == ImageVersion.image_id)
        .where(ImageVersion.id == version_id)
    ).one()
    remove_versions(session, ImageVersion.image_id == image.id, ImageVersion.number < version, awaited_by=version_id)
    if image.replaces:
        older = (
            OwnedImage.owner_type == image.owner_type,
            OwnedImage.owner_id == image.owner_id,
            OwnedImage.number < image.number,
        )
        remove_images(session, *older, awaited_by=version_id)
