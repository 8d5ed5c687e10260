"""The rows of recordings."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Model


class RecordingUser(Model):
    """Somebody who may add recordings. Of the token only the SHA-256 is kept."""

    __tablename__ = "recording_user"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    token_hash: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[str] = mapped_column(sa.String(24))


class Recording(Model):
    """An MP3; size is in bytes, seconds is the length of what was recorded."""

    __tablename__ = "recording"
    __table_args__ = (sa.Index(None, "user_id"),)

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(sa.ForeignKey("recording_user.id", ondelete="CASCADE"))
    size: Mapped[int] = mapped_column(sa.BigInteger)
    seconds: Mapped[float]
    created_at: Mapped[str] = mapped_column(sa.String(24))


def recording_key(user_id: str, recording_id: str) -> str:
    """Return the storage key of a recording's MP3."""
    return f"recordings/{user_id}/{recording_id}"
