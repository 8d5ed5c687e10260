"""Faces cut out of their photos, as upright JPEGs without metadata."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import PIL.Image

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


def crop_tag(services: Services, task_id: str, image_id: str, number: int, margin: float) -> str:
    """Return a tag of a crop: another one after a change of the face's box."""
    cut, _ = _find(services, task_id, image_id, number, margin)
    return f"{image_id}.{number}.{hashlib.sha256(repr(cut).encode()).hexdigest()[:16]}"


def read_crop(services: Services, task_id: str, image_id: str, number: int, margin: float) -> bytes:
    """Return the JPEG of a face; raise NotFound."""
    cut, pixels = _find(services, task_id, image_id, number, margin)
    try:
        (crop,) = _cut_out(services, image_key(task_id, image_id), [cut], pixels)
    except FileNotFoundError as error:  # deleted between the two
        raise unknown_image() from error
    return crop


def crops_zip(services: Services, task_id: str) -> Export:
    """Return a zip of all faces, by the names of their photos and their numbers. A photo is read at a time."""
    return make_export(services, task_id, "crops.zip", lambda pages: archives.stream(_all(services, task_id, pages)))


def _find(services: Services, task_id: str, image_id: str, number: int, margin: float) -> tuple[Cut, int]:
    """Return what to cut out of an image, and how many pixels that has."""
    with services.database.read() as session:
        image = find_image(session, task_id, image_id)
        face = session.get(Face, (image_id, number))
    if not face:
        raise NotFound("There is no such face in this image.", code="face_not_found")
    box = (face.x, face.y, face.width, face.height)
    size = image.width, image.height
    return Cut.around(box, size, margin, image.rotation or 0), image.width * image.height


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
    return _cut_out(services, image_key(task_id, image.id), cuts, image.width * image.height)


def _cut_out(services: Services, key: str, cuts: list[Cut], pixels: int) -> list[bytes]:
    """Return the JPEGs; a photo whose smallest face is large is not decoded in full."""
    shrunk = min(1.0, LONGEST / min(cut.longest for cut in cuts))
    with services.drawings.hold(TURN_SECONDS, _BUSY, retry_after=2):
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
