"""Faces cut out of the photos of tasks."""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from cachetools import LRUCache

from service.errors import NotFound
from service.features.faces.cutting import MARGIN, Cut, cut_out
from service.features.faces.exports import TURN_SECONDS, Export, Shown, is_there, make_export, stem
from service.features.faces.models import Face, image_key
from service.features.faces.operations import Services, find_image, unknown_image
from service.storage import zip_stream as archives

MEDIA_TYPE = "image/jpeg"
ROOM = 16_000_000
"""Bytes that the kept crops of a process may take in all."""
_BUSY = "Too many faces are being cut out. Try again in a few seconds."


class CropCache:
    """Crops that were made last: of a photo that was decoded, the page asks for every face."""

    def __init__(self, room: int = ROOM) -> None:
        self._kept: LRUCache[tuple[str, Cut], bytes] = LRUCache(room, getsizeof=len)
        self._lock = threading.Lock()

    def get(self, image_id: str, cut: Cut) -> bytes | None:
        """Return what was cut out of an image, if it is kept."""
        with self._lock:
            return self._kept.get((image_id, cut))

    def keep(self, image_id: str, crops: Mapping[Cut, bytes]) -> None:
        """Keep what was cut out of an image."""
        with self._lock:
            self._kept.update({(image_id, cut): crop for cut, crop in crops.items() if len(crop) < self._kept.maxsize})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A crop that is asked for, and what else is cut out of its photo with it."""

    key: str
    image_id: str
    pixels: int
    cut: Cut
    others: list[Cut]

    @property
    def tag(self) -> str:
        """A tag of the crop: another one after a change of the face's box."""
        return f"{self.image_id}.{hashlib.sha256(repr(self.cut).encode()).hexdigest()[:24]}"


def find_crop(services: Services, task_id: str, image_id: str, number: int, margin: float) -> Wanted:
    """Return what is to be cut out for a face; raise NotFound. All faces are, where the margin is the usual one."""
    with services.database.read() as session:
        image = find_image(session, task_id, image_id)
        boxes = sa.select(Face.number, Face.x, Face.y, Face.width, Face.height).where(Face.image_id == image_id)
        faces = session.execute(boxes if margin == MARGIN else boxes.where(Face.number == number)).all()
    size, rotation = (image.width, image.height), image.rotation or 0
    cuts = {one: Cut.around((x, y, wide, high), size, margin, rotation) for one, x, y, wide, high in faces}
    if number not in cuts:
        raise NotFound("There is no such face in this image.", code="face_not_found")
    cut = cuts.pop(number)
    return Wanted(image_key(task_id, image_id), image_id, image.width * image.height, cut, list(cuts.values()))


def read_crop(services: Services, cache: CropCache, wanted: Wanted) -> bytes:
    """Return the JPEG of a face; raise NotFound."""
    if kept := cache.get(wanted.image_id, wanted.cut):
        return kept
    with services.drawings.hold(TURN_SECONDS, _BUSY, retry_after=2):
        if kept := cache.get(wanted.image_id, wanted.cut):  # cut out while this request waited
            return kept
        cuts = [wanted.cut, *wanted.others]
        try:
            crops = _cut_out(services, wanted.key, cuts, wanted.pixels)
        except FileNotFoundError as error:  # deleted between the two
            raise unknown_image() from error
    cache.keep(wanted.image_id, dict(zip(cuts, crops, strict=True)))
    return crops[0]


def crops_zip(services: Services, task_id: str) -> Export:
    """Return a zip of all faces, by the names of their photos and their numbers. A photo is read at a time."""
    return make_export(services, task_id, "crops.zip", lambda pages: archives.stream(_all(services, task_id, pages)))


def _all(services: Services, task_id: str, pages: Iterable[list[Shown]]) -> Iterator[tuple[str, list[bytes]]]:
    for image in (image for page in pages for image in page if image.faces):
        try:
            crops = _crops_of(services, task_id, image)
        except FileNotFoundError:
            if is_there(services, task_id, image.id):
                raise
            continue
        for face, crop in zip(image.faces, crops, strict=True):
            yield f"{stem(image.name)}_{face.members[-1]}.jpg", [crop]


def _crops_of(services: Services, task_id: str, image: Shown) -> list[bytes]:
    size = image.width, image.height
    boxes = ((x, y, width, height) for x, y, width, height, *_ in (face.members for face in image.faces))
    cuts = [Cut.around(box, size, MARGIN, image.rotation or 0) for box in boxes]
    with services.drawings.hold(TURN_SECONDS, _BUSY, retry_after=2):
        return _cut_out(services, image_key(task_id, image.id), cuts, image.width * image.height)


def _cut_out(services: Services, key: str, cuts: list[Cut], pixels: int) -> list[bytes]:
    return cut_out(services.storage.read(key), cuts, pixels, services.intake.pixels)
