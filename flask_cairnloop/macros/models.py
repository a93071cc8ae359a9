"""Macros, as their operators have written them. They hold no words of a customer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Identity, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base

NAME_LENGTH = 80
SHARED = ""  # in place of an owner


class Macro(Base):
    """A text with variables, and what is done when it is sent."""

    __tablename__ = "macros"
    __table_args__ = (
        UniqueConstraint("owner_id", "name"),
        CheckConstraint("name <> '' AND body <> ''", name="named_and_written"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # Id of the operator whose it is; empty for one of the whole team.
    owner_id: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    body: Mapped[str]
    # Names of `actions.ACTIONS`.
    actions: Mapped[list[Any]] = mapped_column(default=list)
    uses: Mapped[int] = mapped_column(default=0)
    used_at: Mapped[datetime | None]
    edited_by: Mapped[str] = mapped_column(String(200))
    edited_at: Mapped[datetime] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)
