"""The rows of processing. Ids are numbers that are never given twice; times are as this slice's clients read them."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import Model

LARGEST_ID = 2**31 - 1


class ProcessingFile(Model):
    """A stored image: an upload, or a task's result. Width and height are the upright picture's; size is in bytes."""

    __tablename__ = "processing_file"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(80), unique=True)
    media_type: Mapped[str] = mapped_column(sa.String(32))
    size: Mapped[int] = mapped_column(sa.BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    created_at: Mapped[str] = mapped_column(sa.String(26))


class ProcessingTask(Model):
    """One file through one algorithm. The source may be deleted when the task has ended, so its id is a mere number."""

    __tablename__ = "processing_task"
    __table_args__ = (
        sa.Index(None, "source_id", "status"),
        sa.Index(None, "result_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    algorithm: Mapped[str] = mapped_column(sa.String(16))
    params: Mapped[dict[str, int | str]] = mapped_column(sa.JSON)
    status: Mapped[str] = mapped_column(sa.String(16), default="pending")
    source_id: Mapped[int]
    result_id: Mapped[int | None] = mapped_column(sa.ForeignKey("processing_file.id", ondelete="SET NULL"))
    created_at: Mapped[str] = mapped_column(sa.String(26))
    updated_at: Mapped[str] = mapped_column(sa.String(26))


def moment() -> str:
    """Return the time in UTC with microseconds, such as 2023-07-12 10:57:16.553720."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def upload_key(file: str) -> str:
    """Return the storage key of an upload, by a name made for it."""
    return f"processing/uploads/{file}"


def result_key(task_id: int) -> str:
    """Return the storage key of a task's result. It is known before the work, so a run that is repeated overwrites."""
    return f"processing/results/{task_id}"
