"""Faces cut out of their photos, as upright JPEGs without metadata."""

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import PIL.Image
import sqlalchemy as sa
from cachetools import LRUCache

from service.errors import NotFound
from service.features.faces.exports import TURN_SECONDS, Export, Shown, is_there, make_export, stem
from service.features.faces.models import Face, image_key
from service.features.faces.operations import Services, find_image, unknown_image
from service.imaging.decode import upright_within
from service.storage import zip_stream as archives

MARGIN = 0.4
"""How much is shown around a face on each side, as a part of the longer side of its box."""
LONGEST = 1024
"""Pixels: a longer side is scaled down to this or less."""
MEDIA_TYPE = "image/jpeg"
ROOM = 16_000_000
"""Bytes that the kept crops of a process may take in all."""
_MOST_PIXELS = 16_000_000
_BUSY = "Too many faces are being cut out. Try again in a few seconds."
_TURNS = {
    90: PIL.Image.Transpose.ROTATE_270,
    180: PIL.Image.Transpose.ROTATE_180,
    270: PIL.Image.Transpose.ROTATE_90,
}
"""What turns a picture clockwise by so many degrees."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut out of an upright photo, in its pixels, and the turn that makes the face upright, clockwise."""

    left: int
    top: int
    right: int
    bottom: int
    rotation: int

    @classmethod
    def around(cls, box: tuple[int, int, int, int], image: tuple[int, int], margin: float, rotation: int) -> "Cut":
        """Return what is cut out around a box (x, y, width, height), within an image (width, height)."""
        x, y, width, height = box
        more = round(margin * max(width, height))
        left, top = (min(max(begin - more, 0), side - 1) for begin, side in zip((x, y), image, strict=True))
        right = min(max(x + width + more, left + 1), image[0])
        return cls(left, top, right, min(max(y + height + more, top + 1), image[1]), rotation)

    @property
    def longest(self) -> int:
        """The longer side, in pixels."""
        return max(self.right - self.left, self.bottom - self.top)


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
    """Return the JPEGs; a photo whose smallest face is large is not decoded in full."""
    shrunk = min(1.0, LONGEST / min(cut.longest for cut in cuts))
    most = min(_MOST_PIXELS, max(1, round(pixels * shrunk**2)))
    with upright_within(services.storage.read(key), most, services.intake.pixels) as (picture, scale):
        return [_jpeg(picture, cut, scale) for cut in cuts]


def _jpeg(picture: PIL.Image.Image, cut: Cut, scale: float) -> bytes:
    left, top = min(round(cut.left * scale), picture.width - 1), min(round(cut.top * scale), picture.height - 1)
    right, bottom = min(round(cut.right * scale), picture.width), min(round(cut.bottom * scale), picture.height)
    crop = picture.crop((left, top, max(left + 1, right), max(top + 1, bottom)))
    if cut.rotation in _TURNS:
        crop = crop.transpose(_TURNS[cut.rotation])
    crop.thumbnail((LONGEST, LONGEST), PIL.Image.Resampling.BICUBIC)
    target = io.BytesIO()
    crop.save(target, "JPEG", quality=88)
    return target.getvalue()
