"""Writing the audit log."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, select
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.chain import text_digest
from flask_cairnloop.audit.models import AuditEntry, AuditText
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import CustomerRecord


def record(
    session: Session,
    actor: Actor,
    action: str,
    subject_type: str,
    subject_id: int,
    *,
    words: str | None = None,
    customer_id: int | None = None,
    **data: Any,
) -> None:
    """Add one entry to the caller's transaction, and let the host's ``AUDITOR`` add its own.

    Args:
        action: what was done, e.g. ``"conversation.resolve"``.
        words: why, in the actor's own words. They stand beside the entry and can be erased.
        customer_id: whose matter it is: the words go when they are forgotten.
        data: identifiers and bounded values; never text that a person wrote.
    """
    entry = _entry(session, actor, action, subject_type, subject_id, data)
    session.add(entry)
    words = (words or "").replace("\x00", "").strip()
    if words:
        salt = secrets.token_bytes(16)
        entry.text_digest = text_digest(salt, words)
        session.flush()
        session.add(AuditText(entry_id=entry.id, customer_id=customer_id, salt=salt, words=words))
    current().hooks.audit(session, entry)


def _entry(
    session: Session, actor: Actor, action: str, subject_type: str, subject_id: int, data: dict[str, Any], **known: Any
) -> AuditEntry:
    return AuditEntry(
        actor_kind=actor.kind,
        actor_id=_recorded_id(session, actor),
        actor_name=None if actor.kind is ActorKind.CUSTOMER else actor.name,
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        data=data,
        **known,
    )


def _recorded_id(session: Session, actor: Actor) -> str:
    """What the log calls an actor. A customer stands there under a pseudonym: entries are for ever, people are not."""
    if actor.kind is not ActorKind.CUSTOMER:
        return actor.id
    return actor.pseudonym or _pseudonym(session, actor.id)


def _pseudonym(session: Session, ref: str) -> str:
    known = select(CustomerRecord.pseudonym).where(CustomerRecord.ref == ref)
    found = session.scalar(known)
    if found is None:  # somebody who has never written acts for somebody else
        session.execute(insert(CustomerRecord).values(ref=ref).on_conflict_do_nothing())
        found = session.scalars(known).one()
    return found


def entry_of(source: FromClause, columns: dict[Any, ColumnElement[Any]]) -> CTE:
    """An entry for each row of ``source``, added within a statement that does more than that; see :func:`recorded`.

    Args:
        columns: every column of :class:`AuditEntry` but its id.
    """
    chosen = select(*columns.values()).select_from(source)
    statement = plain_insert(AuditEntry).from_select(list(columns), chosen, include_defaults=False)
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
        known = {"id": entry_id, "occurred_at": occurred_at}
        hooks.audit(session, _entry(session, actor, action, subject_type, subject_id, data, **known))
