"""Files. A row is what is known of one; its bytes lie in the host's storage under the row's key."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Identity, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.actors import ID_LENGTH, NAME_LENGTH, ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice

FILE_NAME_LENGTH = 120


class KeptFor(StrEnum):
    ARTICLE = "article"  # shown and linked to by articles, by as many as like
    MESSAGE = "message"  # a part of one message, seen by whoever may read that


class File(Base):
    """One file. Its content never changes: other bytes are another file."""

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("(width IS NULL) = (height IS NULL)", name="dimensions"),
        Index("ix_files_sha256", "sha256"),
        Index("ix_files_let_go_at", "let_go_at"),
        # What a customer has sent us lately, and all of it where they are forgotten.
        Index("ix_files_of_customers", "author_id", "created_at", postgresql_where=text("author_kind = 'customer'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # What links and addresses call it: it cannot be guessed.
    uuid: Mapped[UUID] = mapped_column(unique=True, default=uuid4)
    # No room gives out what the other keeps: naming one in an article shows nobody what was said to us.
    kept_for: Mapped[KeptFor] = mapped_column(
        choice(KeptFor, "kept_for"), default=KeptFor.ARTICLE, server_default=text("'article'")
    )
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(FILE_NAME_LENGTH))
    # What its content was found to be, never what somebody said it is.
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    # In pixels, of an image.
    width: Mapped[int | None]
    height: Mapped[int | None]
    storage_key: Mapped[str] = mapped_column(String(200), unique=True)
    author_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "author_kind"))
    author_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    author_name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    created_at: Mapped[datetime] = mapped_column(default=now)
    # When something last stopped using it, or it came. What nothing has used for a day since is deleted.
    let_go_at: Mapped[datetime] = mapped_column(default=now)
