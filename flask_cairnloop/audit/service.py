"""Writing the audit log."""

from __future__ import annotations

from typing import Any

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
