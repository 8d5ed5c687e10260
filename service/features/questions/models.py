"""The rows of questions: what is stored, in which order, and what is known of the sources."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from service.db.database import BigId, Model


class Question(Model):
    """A question, stored once for ever: by its source's id for it, and by its text.

    `external_id` is the fingerprint where the source has no ids. `asked_at` is the source's date of the question,
    `created_at` the time of saving.
    """

    __tablename__ = "question"
    __table_args__ = (
        sa.UniqueConstraint("source", "external_id"),
        sa.UniqueConstraint("fingerprint"),
        # An id is never given twice: it is the order of saving.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    source: Mapped[str] = mapped_column(sa.String(16))
    external_id: Mapped[str] = mapped_column(sa.String(64))
    fingerprint: Mapped[str] = mapped_column(sa.String(64))
    question: Mapped[str] = mapped_column(sa.Text)
    answer: Mapped[str] = mapped_column(sa.Text)
    category: Mapped[str | None] = mapped_column(sa.String(200))
    asked_at: Mapped[str | None] = mapped_column(sa.String(24))
    difficulty: Mapped[str | None] = mapped_column(sa.String(32))
    value: Mapped[int | None]
    created_at: Mapped[str] = mapped_column(sa.String(24))


class QuestionSource(Model):
    """What all processes share about a source. Times are seconds since 1970.

    The row named `order` belongs to none: who saves questions locks it first, and that makes the order of requests.
    """

    __tablename__ = "question_source"

    name: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    last_call_at: Mapped[float] = mapped_column(default=0.0)
    token: Mapped[str | None] = mapped_column(sa.String(128))
