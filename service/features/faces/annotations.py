"""Photos and their faces in the forms of other programs: COCO, Label Studio, FiftyOne.

Boxes are in the upright photo, as all three show it.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson

from service.storage.spools import Spool, SpoolFolder

_ATTRIBUTES = ("number", "gender", "male_probability", "age", "age_low", "age_high")
LABEL = "face"
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Annotated:
    """A photo that was looked at: its name, where a browser finds it, its upright size, its faces as clients see them.

    The place is a path or an address.
    """

    name: str
    place: str
    width: int
    height: int
    faces: Sequence[dict[str, Any]]


def coco(photos: Iterable[Annotated], spools: SpoolFolder) -> Iterator[bytes]:
    """Yield a document of COCO's object detection: https://cocodataset.org/#format-data.

    The list of images, which follows the faces, waits in a spool. Raises what that raises.
    """
    yield b'{"info": {"description": "Faces, as Headcount found them"}, "licenses": [],\n'
    yield b'"categories": [{"id": 1, "name": "face", "supercategory": "person"}],\n"annotations": [\n'
    count = 0
    with closing(Spool(spools)) as images:
        for number, photo in enumerate(photos, 1):
            image = {"id": number, "file_name": photo.name, "width": photo.width, "height": photo.height}
            images.append((b",\n" if number > 1 else b"") + orjson.dumps(image))
            for face in photo.faces:
                count += 1
                yield (b",\n" if count > 1 else b"") + orjson.dumps(_coco(count, number, face))
        yield b'\n],\n"images": [\n'
        for place in range(0, images.size, PIECE):
            yield images.read(place, PIECE)
    yield b"\n]}\n"


def _coco(number: int, image: int, face: dict[str, Any]) -> dict[str, Any]:
    box = face["bbox"]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [box["x"], box["y"], box["width"], box["height"]],
        "area": box["width"] * box["height"],
        "iscrowd": 0,
        "score": face["score"],
        "attributes": {name: face[name] for name in _ATTRIBUTES},
    }


def label_studio(photos: Iterable[Annotated], _: SpoolFolder) -> Iterator[bytes]:
    """Yield tasks with predictions: https://labelstud.io/guide/predictions. The control is `label`, the image `image`.

    A path is told as Label Studio's local storage with the root `/` has it.
    """
    yield from _listed(b"[\n", (_task(photo) for photo in photos), b"\n]\n")


def _task(photo: Annotated) -> bytes:
    at = photo.place
    place = at if "://" in at else f"/data/local-files/?d={at.lstrip('/')}"
    return orjson.dumps(
        {
            "data": {"image": place, "name": photo.name},
            "predictions": [{"model_version": "headcount", "result": [_region(photo, face) for face in photo.faces]}],
        }
    )


def _region(photo: Annotated, face: dict[str, Any]) -> dict[str, Any]:
    """Return a face as a rectangle, in percent of the photo."""
    x, y, width, height = _relative(photo, face)
    age = "" if face["age"] is None else f", {face['age']:.0f}"
    return {
        "id": str(face["number"]),
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": photo.width,
        "original_height": photo.height,
        "image_rotation": 0,
        "score": face["score"],
        "meta": {"text": [f"{face['gender']}{age}"]},
        "value": {
            "x": 100 * x,
            "y": 100 * y,
            "width": 100 * width,
            "height": 100 * height,
            "rotation": 0,
            "rectanglelabels": [LABEL],
        },
    }


def fiftyone(photos: Iterable[Annotated], _: SpoolFolder) -> Iterator[bytes]:
    """Yield the labels of a `FiftyOneImageDetectionDataset`.

    FiftyOne opens photos with absolute paths where they are; others are told by their names without the suffix, which
    it looks up in its `data_path`.
    """
    begin = b'{"classes": ["face"], "labels": {\n'
    yield from _listed(begin, (_labels(photo) for photo in photos), b"\n}}\n")


def _labels(photo: Annotated) -> bytes:
    labels = [
        {
            "label": 0,
            "bounding_box": _relative(photo, face),
            "confidence": face["score"],
            "attributes": {name: face[name] for name in _ATTRIBUTES},
        }
        for face in photo.faces
    ]
    # By posixpath, since pathlib interns each name: 7 MB for 100,000 photos.
    name = photo.place if posixpath.isabs(photo.place) else posixpath.splitext(photo.name)[0]
    return orjson.dumps(name) + b": " + orjson.dumps(labels)


def _relative(photo: Annotated, face: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return left, top, width and height as parts of the photo's sides."""
    box = face["bbox"]
    width, height = photo.width, photo.height
    return box["x"] / width, box["y"] / height, box["width"] / width, box["height"] / height


def _listed(begin: bytes, items: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    yield begin
    for number, item in enumerate(items):
        yield (b",\n" if number else b"") + item
    yield end


FORMS: dict[str, Callable[[Iterable[Annotated], SpoolFolder], Iterator[bytes]]] = {
    "coco": coco,
    "labelstudio": label_studio,
    "fiftyone": fiftyone,
}
"""What can be made of photos and faces, by the names of the programs."""
