"""A random sample of a result as a task with a review, so that a person can check it on the page of the service.

The sample's photos are copied into the folder of the review, which has a database of its own.
"""

import hashlib
import heapq
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from flask import Flask

from service.config import Settings
from service.db.database import now, open_database
from service.features.faces import operations, reviews
from service.features.faces.analyze.result_folder import BadResult, ResultFolder, read_run
from service.features.faces.analyze.sources import Sources
from service.features.faces.analyze.tables import write_json
from service.features.faces.estimation import Sample, Table, estimate, totals
from service.features.faces.face_members import FACE_MEMBERS, detection
from service.features.faces.figures import FIGURES, Estimate, columns_of
from service.features.faces.models import Face, Image, Task, image_key
from service.features.faces.statistics import count
from service.http.services import provided
from service.storage.storage import Storage

FOLDER, DATABASE, REVIEW = "review", "service.db", "review.json"
_COLUMNS = ("path", "size", "media_type", "width", "height", "searched_width", "rotation", "status")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Drawn:
    """What review.json says: the task and its review, and of how many photos they are a sample."""

    task: str
    review: str
    photos: int

    @classmethod
    def read(cls, result: Path) -> "Drawn | None":
        """Return the sample of a result; None where none was drawn."""
        file = result / FOLDER / REVIEW
        return cls(**orjson.loads(file.read_bytes())) if file.exists() else None


def draw(app: Flask, result: ResultFolder, photos: int, seed: int | None) -> Drawn:
    """Draw so many photos of a result, and make a task and a review of them in the application's database.

    It is the first of the photos that are done in the order of the SHA-256 of `seed:path`. Raises `BadResult` where one
    of them is not there any more, or there are none.
    """
    chosen_seed = secrets.randbelow(reviews.SEEDS) if seed is None else seed
    done = 0

    def placed() -> Iterator[tuple[bytes, str]]:
        nonlocal done
        for part in result.parts():
            for path, status in result.photos(part, "path", "status"):
                if status == "done":
                    done += 1
                    yield hashlib.sha256(f"{chosen_seed}:{path}".encode()).digest(), path

    sample = {path for _, path in heapq.nsmallest(photos, placed())}
    if not sample:
        raise BadResult(f"{result.folder} has no photos that are done: there is nothing to review.")
    run = read_run(result.folder) or {}
    services = provided(operations.Services, app)
    task = _make_task(app, result, sample, run["engine"]["name"])
    review = reviews.create_review(services, task, len(sample), chosen_seed)
    drawn = Drawn(task, review["id"], done)
    write_json(result.folder / FOLDER / REVIEW, {"task": drawn.task, "review": drawn.review, "photos": drawn.photos})
    return drawn


def _make_task(app: Flask, result: ResultFolder, sample: set[str], engine: str) -> str:
    """Make a task that has ended, with the photos and faces that the result has; return its id."""
    storage, task_id, moment = provided(Storage, app), str(uuid.uuid4()), now()
    rows: list[Image | Face] = []
    counts: dict[str, int] = {}
    for photo, faces in _rows(result, sample):
        image_id = str(uuid.uuid4())
        _copy(app, storage, photo, image_key(task_id, image_id))
        members = {name: photo[name] for name in _COLUMNS if name != "path"}
        position = sum(isinstance(row, Image) for row in rows)
        rows.append(
            Image(
                **members, id=image_id, task_id=task_id, position=position, name=photo["path"][-255:], attempts=1,
                engine=engine,
            )
        )  # fmt: skip
        rows += [Face(image_id=image_id, **dict(zip(FACE_MEMBERS, face, strict=True))) for face in faces]
        for name, number in count(map(detection, faces), engine).items():
            counts[name] = counts.get(name, 0) + number
    images = sum(isinstance(row, Image) for row in rows)
    times = {"created_at": moment, "started_at": moment, "finished_at": moment}
    task = Task(
        id=task_id, name=f"Sample of {result.folder.name}"[:200], status="completed", next_position=images,
        total=images, done=images, **times, **counts,
    )  # fmt: skip
    with provided(operations.Services, app).database.write() as session:
        session.add(task)
        session.flush()
        session.add_all([row for row in rows if isinstance(row, Image)])
        session.flush()
        session.add_all([row for row in rows if isinstance(row, Face)])
    return task_id


def _copy(app: Flask, storage: Storage, photo: Mapping[str, Any], key: str) -> None:
    try:
        with Sources(provided(Settings, app)).open(photo["path"], photo["size"]) as stream:
            size = storage.save(key, stream)
    except FileNotFoundError:
        size = None
    if size != photo["size"]:
        raise BadResult(f"{photo['path']} is gone or has changed: run `headcount analyze` again, then the review.")


def _rows(result: ResultFolder, sample: set[str]) -> Iterator[tuple[dict[str, Any], list[tuple[Any, ...]]]]:
    """Yield the photos of the sample, each with the FACE_MEMBERS of its faces."""
    for part in result.parts():
        chosen = [row for row in result.photos(part, *_COLUMNS) if row[0] in sample]
        faces: dict[str, list[tuple[Any, ...]]] = {row[0]: [] for row in chosen}
        for path, *members in result.faces(part) if chosen else ():
            if path in faces:
                faces[path].append(tuple(members))
        yield from ((dict(zip(_COLUMNS, row, strict=True)), faces[row[0]]) for row in chosen)


def estimates(result: ResultFolder) -> dict[str, Any] | None:
    """Return the figures of all photos as far as the sample has been checked; None where there is no sample.

    `figures` is by name, each with value, low and high, or None. It is empty where the result has changed since the
    sample was drawn. The totals of all photos are in memory: 64 MB a million.
    """
    drawn = Drawn.read(result.folder)
    if drawn is None:
        return None
    with closing(open_database(f"sqlite:///{result.folder / FOLDER / DATABASE}")) as database:
        checked = reviews.read_sample(database, drawn.task, drawn.review)
    every = _totals(result)
    found = {"checked": len(checked.true), "is_current": len(every) == drawn.photos, "figures": {}}
    if found["is_current"]:
        sample = Sample(every, checked.engine, checked.true)
        found["figures"] = {name: _shown(estimate(sample, figure, CONFIDENCE)) for name, figure in FIGURES.items()}
    return found


def _totals(result: ResultFolder) -> Table:
    """Return the totals of all photos that are done, a part's names in memory at a time."""
    gender, age = FACE_MEMBERS.index("gender") + 1, FACE_MEMBERS.index("age") + 1
    tables = [totals(0)]
    for part in result.parts():
        places = {path: place for place, path in enumerate(_done_paths(result, part))}
        tables.append(totals(len(places)))
        for row in result.faces(part):
            for column, value in columns_of(row[gender], row[age]):
                tables[-1][places[row[0]], column] += value
    return np.concatenate(tables)


def _done_paths(result: ResultFolder, part: int) -> list[str]:
    return [path for path, status in result.photos(part, "path", "status") if status == "done"]


def _shown(found: Estimate | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {"value": found.powered.value, "low": found.powered.low, "high": found.powered.high}
