"""Writing the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, insert, select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.context import current


def record(session: Session, actor: Actor, action: str, subject_type: str, subject_id: int, **data: Any) -> None:
    """Add one entry to the caller's transaction, and let the host's ``AUDITOR`` add its own.

    Args:
        action: what was done, e.g. ``"conversation.resolve"``.
        data: identifiers and bounded values; never text that a person wrote.
    """
    entry = AuditEntry(
        actor_kind=actor.kind,
        actor_id=actor.id,
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        data=data,
    )
    session.add(entry)
    current().hooks.audit(session, entry)


def entry_of(source: FromClause, columns: dict[Any, ColumnElement[Any]]) -> CTE:
    """An entry for each row of ``source``, added within a statement that does more than that; see :func:`recorded`.

    Args:
        columns: every column of :class:`AuditEntry` but its id.
    """
    chosen = select(*columns.values()).select_from(source)
    statement = insert(AuditEntry).from_select(list(columns), chosen, include_defaults=False)
    return statement.returning(AuditEntry.id).cte("entry")


def recorded(
    session: Session,
    entry_id: int,
    occurred_at: datetime,
    actor: Actor,
    action: str,
    subject_type: str,
    subject_id: int,
    **data: Any,
) -> None:
    """Let the host's ``AUDITOR`` add its own to an entry that :func:`entry_of` has added."""
    hooks = current().hooks
    if hooks.configured("AUDITOR"):
        entry = AuditEntry(
            id=entry_id,
            occurred_at=occurred_at,
            actor_kind=actor.kind,
            actor_id=actor.id,
            action=action,
            subject_type=subject_type,
            subject_id=subject_id,
            data=data,
        )
        hooks.audit(session, entry)
