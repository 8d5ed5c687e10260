"""What a client can do with recordings: plain values and streams in, plain values out."""

import hashlib
import hmac
import re
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.cpu_slots import CpuSlots
from service.db.database import Database, now
from service.db.results import record_result
from service.errors import NotFound, Unauthorized, Unavailable
from service.features.recordings.models import Recording, RecordingUser, recording_key
from service.storage.signed_urls import Download
from service.storage.spools import SpoolFolder
from service.storage.storage import Storage
from service.storage.stored_file import StoredFile

TURN_SECONDS = 60
"""How long a recording waits for its turn to be encoded before the client is asked to come again."""
_MOST_BYTES_A_SECOND = 40_000
"""Of the highest bit rate that MP3 has."""
_BUSY = "Too many recordings are being encoded. Try again in a minute."
_NOBODY = hashlib.sha256(b"").hexdigest()
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Limits:
    """What a recording may be, and how it is encoded: `quality` 0 to 9, or None for the `bitrate` in kbit/s."""

    bytes: int
    seconds: float
    bitrate: int
    quality: int | None


@dataclass(frozen=True)
class Services:
    """What the operations of recordings stand on. `slots` bounds how many are encoded at a time."""

    database: Database
    storage: Storage
    limits: Limits
    slots: CpuSlots
    spools: SpoolFolder


def add_user(services: Services, name: str) -> dict[str, Any]:
    """Add a user and return the id and the token, which is not kept and cannot be shown again."""
    token = str(uuid.uuid4())
    user = RecordingUser(id=str(uuid.uuid4()), name=name, token_hash=_hash(token), created_at=now())
    with services.database.write() as session:
        session.add(user)
    return {"id": user.id, "token": token}


def same_uuid(text: str) -> str:
    """Return a UUID as it is stored, whatever case it came in (RFC 9562, section 4); any other text as it is."""
    return text.lower() if _UUID.fullmatch(text.lower()) else text


def check_token(services: Services, user_id: str, token: str) -> None:
    """Raise Unauthorized, with one text, for an unknown user and for a wrong token."""
    known = None
    if _UUID.fullmatch(user_id):
        with services.database.read() as session:
            known = session.scalar(sa.select(RecordingUser.token_hash).where(RecordingUser.id == user_id))
    # The comparison is made for an unknown user too, so that the time tells as little as the text.
    right = hmac.compare_digest(_hash(token), known or _NOBODY)
    if not (right and known):
        raise Unauthorized(
            "The user is unknown, or the token is not this user's.",
            code="user_or_token_wrong",
            headers={"WWW-Authenticate": 'Token realm="recordings"'},
        )


def add_recording(services: Services, user_id: str, stream: BinaryIO) -> tuple[str, str]:
    """Encode a WAV, store it as MP3, and return its id and its user's. The token has been checked."""
    # A heavy import, and numpy starts threads with it: for those processes only that get a recording, after the fork.
    from service.features.recordings import audio

    wave, seconds = audio.read_header(stream, services.limits.seconds)
    recording = Recording(id=str(uuid.uuid4()), user_id=user_id, seconds=seconds)
    with services.spools.file(int(seconds * _MOST_BYTES_A_SECOND)) as mp3:
        with services.slots.hold(TURN_SECONDS, _BUSY, retry_after=60):
            audio.convert(stream, wave, mp3, services.limits.bitrate, services.limits.quality)
        mp3.seek(0)
        _store(services, recording, mp3)
    return recording.id, user_id


def open_recording(services: Services, user_id: str, recording_id: str) -> StoredFile:
    """Return a recording's MP3; raises NotFound for whatever is not there."""
    recording = _find(services, user_id, recording_id)
    try:
        stream = services.storage.open(recording_key(user_id, recording_id))
    except FileNotFoundError as error:
        raise _unknown() from error
    return StoredFile(stream, recording.size, recording_id, _download(recording))


def recording_url(services: Services, user_id: str, recording_id: str, lifetime: float) -> str:
    """Return an address of a recording's MP3 that lives for so many seconds; raises NotFound."""
    recording = _find(services, user_id, recording_id)
    return services.storage.url(recording_key(user_id, recording_id), lifetime, _download(recording))


def _download(recording: Recording) -> Download:
    return Download(f"{recording.id}.mp3", "audio/mpeg")


def known_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Return those of the storage keys that some row knows."""
    ids = {key.rpartition("/")[2] for key in keys}
    rows = session.execute(sa.select(Recording.user_id, Recording.id).where(Recording.id.in_(ids)))
    return {recording_key(user, recording) for user, recording in rows}


def _find(services: Services, user_id: str, recording_id: str) -> Recording:
    recording = None
    if _UUID.fullmatch(user_id) and _UUID.fullmatch(recording_id):
        with services.database.read() as session:
            recording = session.get(Recording, recording_id)
    if not recording or recording.user_id != user_id:
        raise _unknown()
    return recording


def _hash(token: str) -> str:
    # A token is 122 random bits: nobody can try them all, so it needs no slow hash, as passwords do.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _store(services: Services, recording: Recording, mp3: BinaryIO) -> None:
    """Store the file, then the row; without the row the file goes again."""
    key = recording_key(recording.user_id, recording.id)
    try:
        recording.size = services.storage.save(key, mp3)
        recording.created_at = now()
        with services.database.write() as session:
            session.add(recording)
            session.flush()
            record_result(session, lambda: (recording.id, recording.user_id))
    except BaseException:
        with suppress(Unavailable):  # then the sweep takes it
            services.storage.delete(key)
        raise


def _unknown() -> NotFound:
    return NotFound("There is no such recording.", code="recording_not_found")
