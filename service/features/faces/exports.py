"""A task's faces as files: rows of text, and photos with the faces drawn in or hidden."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import PurePath
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.db.prepared import Prepared
from service.errors import Conflict
from service.features.faces.annotations import FORMS, Annotated
from service.features.faces.anonymization import Style, anonymize
from service.features.faces.drawing import Draw, draw_boxes
from service.features.faces.face_members import FACE_MEMBERS, detection, face
from service.features.faces.models import Face, Image, image_key
from service.features.faces.operations import Services, find_image, find_task, unknown_image
from service.features.faces.representation import FACES
from service.features.faces.tables import FACE_COLUMNS, PHOTO_COLUMNS, as_csv, harmless
from service.storage import zip_stream as archives

BATCH = 200
"""Images read from the database at a time."""
ROWS_BATCH = 2000
"""Rows of a table read from the database at a time."""
TURN_SECONDS = 30
"""How long a photo waits for its turn to be drawn before the client is asked to come again."""
SHOWN = (Image.id, Image.name, Image.status, Image.width, Image.height, Image.rotation)
LEFT_OUT = "left-out.txt"
"""The file that names the photos that are not in a zip of blurred ones."""
_FACE_ROWS = Prepared(
    sa.select(
        *(Image.position, Face.number.label("after"), Image.id, Image.name),
        *(getattr(Face, name) for name in FACE_MEMBERS),
        sa.case((Face.corrected, sa.literal_column("'true'")), else_=sa.literal_column("'false'")),
    )
    .join(Face, Face.image_id == Image.id)
    .where(
        Image.task_id == sa.bindparam("task"),
        Image.position >= sa.bindparam("position"),  # alone it uses the index
        sa.tuple_(Image.position, Face.number) > sa.tuple_(sa.bindparam("position"), sa.bindparam("number")),
        Face.is_face,
    )
    .order_by(Image.position, Face.number)
    .limit(ROWS_BATCH)
)
_FACES_OF_PHOTO = sa.select(sa.func.count()).where(Face.image_id == Image.id, Face.is_face).scalar_subquery()
_PHOTO_ROWS = Prepared(
    sa.select(
        *(Image.position, Image.id, Image.name, Image.status),
        sa.case((Image.status == "done", _FACES_OF_PHOTO)).label("faces"),
        *(Image.error_code, Image.error_detail, Image.digest),
    )
    .where(Image.task_id == sa.bindparam("task"), Image.position > sa.bindparam("position"))
    .order_by(Image.position)
    .limit(ROWS_BATCH)
)
_LINE = orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class Export:
    """A file that is made while it is read, and a name for it that is safe everywhere."""

    file_name: str
    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Row:
    """A face: its FACE_MEMBERS, whether a person has corrected it, and what the engine said before."""

    members: Sequence[Any]
    corrected: bool
    detected: dict[str, Any] | None

    @classmethod
    def of(cls, row: sa.Row[Any]) -> "Row":
        """Return a row of FACES."""
        return cls(row[1:-3], row.corrected, row.detected)

    def as_json(self) -> dict[str, Any]:
        """Return the face as clients see it."""
        return face(self.members, corrected=self.corrected, detected=self.detected)


@dataclass(frozen=True, slots=True)
class Shown:
    """An image and the rows of its faces, in the order of their numbers."""

    faces: list[Row]
    id: str
    name: str
    status: str
    width: int
    height: int
    rotation: int | None


def faces_csv(services: Services, task_id: str, *, bom: bool = False) -> Export:
    """Return one row a face, after a header row."""
    name_of = lru_cache(1)(harmless)  # the faces of an image follow each other
    pages = (
        [(image_id, name_of(name), *members) for _, _, image_id, name, *members in page]
        for page in _rows(services, task_id, _FACE_ROWS, "position", "number")
    )
    return make_export(services, task_id, "faces.csv", lambda _: as_csv(FACE_COLUMNS, pages, bom=bom))


def photos_csv(services: Services, task_id: str, *, bom: bool = False) -> Export:
    """Return one row a photo, after a header row: a photo without faces, a failed and a missing one differ."""
    pages = (
        [
            (image_id, harmless(name), status, faces, code, harmless(detail or ""), digest)
            for _, image_id, name, status, faces, code, detail, digest in page
        ]
        for page in _rows(services, task_id, _PHOTO_ROWS, "position")
    )
    return make_export(services, task_id, "photos.csv", lambda _: as_csv(PHOTO_COLUMNS, pages, bom=bom))


def _rows(services: Services, task_id: str, statement: Prepared, *places: str) -> Iterator[Sequence[Any]]:
    """Yield the rows of a statement as `_pages` yields images: each is made by the database and costs little more.

    Rows begin with the columns of these names, after whose values the next page begins.
    """
    last = dict.fromkeys(places, -1)
    while True:
        with services.database.read() as session:
            find_task(session, task_id)
            rows: Sequence[Any] = statement.execute(session.connection(), task=task_id, **last).all()
        if not rows:
            return
        last = dict(zip(places, rows[-1], strict=False))
        yield rows


def faces_jsonl(services: Services, task_id: str) -> Export:
    """Return one JSON object a line, a face each."""
    return make_export(services, task_id, "faces.jsonl", _jsonl)


def annotations(services: Services, task_id: str, form: str, address: str) -> Export:
    """Return the photos that are done, in one of the FORMS; `address` is the task's, below which its images are."""

    def made(pages: Iterable[list[Shown]]) -> Iterator[bytes]:
        photos = (
            Annotated(
                image.name,
                f"{address}/images/{image.id}/content",
                image.width,
                image.height,
                [row.as_json() for row in image.faces],
            )
            for page in pages
            for image in page
            if image.status == "done"
        )
        return FORMS[form](photos, services.spools)

    return make_export(services, task_id, f"{form}.json", made)


def boxed_zip(services: Services, task_id: str) -> Export:
    """Return a zip of all photos with their faces drawn. One is drawn when the one before has been sent."""
    return make_export(
        services, task_id, "boxed.zip", lambda pages: archives.stream(_drawn(services, task_id, pages, draw_boxes))
    )


def blurred_zip(services: Services, task_id: str, style: Style) -> Export:
    """Return a zip of the photos without recognisable faces; where the faces are not known, of the photo's name."""
    return make_export(
        services, task_id, "blurred.zip", lambda pages: archives.stream(_anonymous(services, task_id, pages, style))
    )


def drawn_tag(services: Services, task_id: str, image_id: str, form: str) -> str:
    """Return a tag of the image as it is drawn in this form: another one after each change of its faces."""
    with services.database.read() as session:
        image = find_image(session, task_id, image_id)
        seen = [tuple(row.members) for row in _faces_of(session, image_id)]
    return f"{image.id}.{form}.{image.status}.{hashlib.sha256(repr(seen).encode()).hexdigest()[:16]}"


def boxed_photo(services: Services, task_id: str, image_id: str) -> bytes:
    """Return a JPEG of the image with its faces drawn."""
    return _photo(services, task_id, image_id, draw_boxes)


def anonymous_photo(services: Services, task_id: str, image_id: str, style: Style) -> bytes:
    """Return a JPEG of the image without recognisable faces; raise Conflict while its faces are not known."""
    with services.database.read() as session:
        if find_image(session, task_id, image_id).status != "done":
            detail = "The faces of this image are not known yet, so they cannot be hidden. Wait until it is done."
            raise Conflict(detail, code="image_not_done")
    return _photo(services, task_id, image_id, partial(anonymize, style=style))


def _photo(services: Services, task_id: str, image_id: str, draw: Draw) -> bytes:
    with services.database.read() as session:
        image = find_image(session, task_id, image_id)
        faces = _faces_of(session, image_id)
    try:
        return _draw(services, image_key(task_id, image.id), faces, draw)
    except FileNotFoundError as error:  # deleted between the two
        raise unknown_image() from error


def _faces_of(session: Session, image_id: str) -> list[Row]:
    chosen = FACES.where(Face.image_id == image_id, Face.is_face).order_by(Face.number)
    return [Row.of(row) for row in session.execute(chosen)]


def make_export(
    services: Services, task_id: str, otherwise: str, make: Callable[[Iterator[list[Shown]]], Iterator[bytes]]
) -> Export:
    """Return the export that is made of pages of images, named as the task is, or `otherwise`; raise NotFound."""
    with services.database.read() as session:
        task = find_task(session, task_id)
    plain = PurePath(otherwise)
    name = archives.safe_name(f"{task.name}{plain.suffix}", plain.stem) if task.name else otherwise
    return Export(name, make(_pages(services, task_id)))


def _pages(services: Services, task_id: str) -> Iterator[list[Shown]]:
    """Yield the images in the order of upload, page by page, each in a transaction of its own: a client may be slow.

    Raise NotFound when the task goes meanwhile, so that what was sent does not look whole.
    """
    last = -1
    while True:
        with services.database.read() as session:
            find_task(session, task_id)
            later = (Image.task_id == task_id, Image.position > last)
            images: Sequence[Any] = session.execute(
                sa.select(Image.position, *SHOWN).where(*later).order_by(Image.position).limit(BATCH)
            ).all()
            if not images:
                return
            last = images[-1].position
            chosen = FACES.join(Image).where(*later, Image.position <= last, Face.is_face)
            faces: dict[str, list[Row]] = {}
            for row in session.execute(chosen.order_by(Face.number)):
                faces.setdefault(row.image_id, []).append(Row.of(row))
        yield [Shown(faces.get(image.id, []), *image[1:]) for image in images]


def _jsonl(pages: Iterable[list[Shown]]) -> Iterator[bytes]:
    """Yield a piece a page, an empty one for photos without faces: the answer begins with the first page."""
    for page in pages:
        lines = [
            orjson.dumps({"image_id": image.id, "name": image.name, **row.as_json()}, option=_LINE)
            for image in page
            for row in image.faces
        ]
        yield b"".join(lines)


def _anonymous(
    services: Services, task_id: str, pages: Iterable[list[Shown]], style: Style
) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the photos whose faces are known, and at the end a list of the others: none leaves with its faces."""
    left_out: list[str] = []

    def known() -> Iterator[list[Shown]]:
        for page in pages:
            left_out.extend(f"{image.name}\r\n" for image in page if image.status != "done")
            yield [image for image in page if image.status == "done"]

    yield from _drawn(services, task_id, known(), partial(anonymize, style=style))
    if left_out:
        yield LEFT_OUT, [b"Not done, so not in this archive:\r\n", "".join(left_out).encode()]


def _drawn(
    services: Services, task_id: str, pages: Iterable[list[Shown]], draw: Draw
) -> Iterator[tuple[str, list[bytes]]]:
    for page in pages:
        for image in page:
            try:
                photo = _draw(services, image_key(task_id, image.id), image.faces, draw)
            except FileNotFoundError:
                if is_there(services, task_id, image.id):
                    raise
            else:
                yield f"{stem(image.name)}.jpg", [photo]


def stem(name: str) -> str:
    """Return an image's name without the ending of its type."""
    return re.sub(r"(?i)(?<=.)\.(jpe?g|png|webp)$", "", name)


def is_there(services: Services, task_id: str, image_id: str) -> bool:
    """Return whether the image has not been deleted meanwhile; raise NotFound when it is the task that has."""
    with services.database.read() as session:
        find_task(session, task_id)
        return session.get(Image, image_id) is not None


def _draw(services: Services, key: str, faces: Iterable[Row], draw: Draw) -> bytes:
    busy = "Too many photos are being drawn. Try again in a minute."
    with services.drawings.hold(TURN_SECONDS, busy, retry_after=60):
        return draw(services.storage.read(key), [detection(row.members) for row in faces], services.intake.pixels)
