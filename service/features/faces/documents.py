"""The images of tasks as JSON, kept from one answer to the next: only what has changed since is read again."""

import threading
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
import sqlalchemy as sa
from cachetools import LRUCache

from service.features.faces import rows
from service.features.faces.representation import FacesByImage, image_with_faces, is_done

FIRST = 10_000
"""Images that the answer for a task holds; those after them come in pages."""
ROOM = 24_000_000
"""Bytes that the kept images of a process may take in all."""
OVERHEAD = 200
"""Bytes that an image takes beside its JSON."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Images as JSON by their ids, in the order of upload, and the position of the last if there are more of them."""

    by_id: dict[str, bytes] = field(default_factory=dict)
    next_after: int | None = None

    def joined(self) -> orjson.Fragment:
        """Return them as one JSON array."""
        return orjson.Fragment(b"[%b]" % b",".join(self.by_id.values()))

    def size(self) -> int:
        """Return about how many bytes they take."""
        return sum(map(len, self.by_id.values())) + OVERHEAD * len(self.by_id)


_NONE = (0, Documents())


class DocumentCache:
    """The first images of the tasks that were asked for last, each as of a version of its task."""

    def __init__(self, room: int = ROOM) -> None:
        self._kept: LRUCache[str, tuple[int, Documents]] = LRUCache(room, getsizeof=lambda kept: kept[1].size())
        self._lock = threading.Lock()

    def first_images(self, connection: sa.Connection, task_id: str, version: int) -> Documents:
        """Return a task's first images at this version, which is the one that a reading transaction sees."""
        with self._lock:
            since, before = self._kept.get(task_id, _NONE)
        if since == version:
            return before
        if since > version:  # another request sees a later moment than this one
            since, before = _NONE
        documents = up_to_date(connection, task_id, before, since)
        with self._lock:
            if documents.size() <= self._kept.maxsize // 2:
                self._kept[task_id] = version, documents
        return documents

    def forget(self, task_id: str) -> None:
        """Forget a task that is deleted."""
        with self._lock:
            self._kept.pop(task_id, None)


def up_to_date(connection: sa.Connection, task_id: str, before: Documents, since: int) -> Documents:
    """Return a task's first images as they are now, given what they were at a version; 0 is that of none at all."""
    if not since:
        return read(connection, task_id)
    removed = rows.removed_since(connection, task_id, since)
    changed = read(connection, task_id, since=since)
    by_id = {**before.by_id, **changed.by_id}  # what is new comes last, as it does in the order of upload
    for image_id in removed:
        by_id.pop(image_id, None)
    if before.next_after is None and changed.next_after is None and len(by_id) <= FIRST:
        return Documents(by_id)
    if before.next_after is not None and not removed:
        return Documents(dict(islice(by_id.items(), FIRST)), before.next_after)
    return read(connection, task_id)  # there are more than that now, or others have moved up


def read(connection: sa.Connection, task_id: str, *, since: int = 0, after: int = -1, limit: int = FIRST) -> Documents:
    """Return the images that have changed after a version, those after a position, at most so many: two queries."""
    found = rows.read_images(connection, task_id, since=since, after=after, most=limit + 1)
    shown, next_after = found[:limit], found[limit - 1][-1] if len(found) > limit else None
    faces: FacesByImage = {}
    if any(is_done(row) for row in shown):  # else there are none
        faces = rows.read_faces(connection, task_id, since=since, after=after, last=shown[-1][-1])
    return Documents({row[0]: _as_json(image_with_faces(row[:-1], faces)) for row in shown}, next_after)


def _as_json(image: dict[str, Any]) -> bytes:
    """Return a copy: what orjson returns keeps all of the room in which it was made, of 4 KB and more."""
    return bytes(memoryview(orjson.dumps(image)))
