"""Everything held about a customer: handed out, and forgotten for good."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, as_actor
from flask_cairnloop.audit.holdings import export_entries, export_texts, forget_texts
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.holdings import (
    export_conversations,
    export_files,
    export_ratings,
    export_unsent,
    forget_conversations,
    forget_files,
    forget_messages,
    forget_ratings,
    forget_unsent,
    path_of,
    stored_files,
)
from flask_cairnloop.conversations.models import FORGOTTEN, CustomerRecord
from flask_cairnloop.conversations.service import close_all
from flask_cairnloop.database.base import Base
from flask_cairnloop.drafting.holdings import export_drafts, forget_drafts
from flask_cairnloop.errors import NotFound
from flask_cairnloop.governance.holdings import export_actions, forget_actions, withdraw_actions
from flask_cairnloop.jobs import enqueue, publish
from flask_cairnloop.jobs.holdings import forget_jobs
from flask_cairnloop.outbound.holdings import (
    export_deliveries,
    export_suppression,
    forget_deliveries,
    forget_suppression,
    withdraw_deliveries,
)
from flask_cairnloop.privacy.clearing import CLEAR
from flask_cairnloop.realtime.events import DISCONNECT, customer_topic
from flask_cairnloop.retrieval.memory import export as export_questions
from flask_cairnloop.retrieval.memory import forget as forget_questions
from flask_cairnloop.service_levels.holdings import export_clocks, forget_clocks
from flask_cairnloop.tokens.service import export_tokens, forget_tokens
from flask_cairnloop.upkeep.holdings import export_gaps, forget_gaps
from flask_cairnloop.upkeep.suggestion_holdings import export_suggestions, forget_suggestions

# Who holds what, and how it goes: called in this order with the id of the customer's row, in one transaction, the row
# and all their conversations locked. Each returns how many rows it erased. A room that begins to hold something about
# customers adds a line here, and one below if there is something to hand out.
FORGET: tuple[tuple[str, Callable[[Session, int], int]], ...] = (
    ("drafts", forget_drafts),
    ("actions", forget_actions),
    ("follow_ups", forget_deliveries),
    ("suppressions", forget_suppression),
    ("tokens", forget_tokens),
    ("files", forget_files),
    ("unsent", forget_unsent),
    ("messages", forget_messages),
    ("ratings", forget_ratings),
    ("conversations", forget_conversations),
    ("service_levels", forget_clocks),
    ("jobs", forget_jobs),
    ("questions", forget_questions),
    ("suggestions", forget_suggestions),
    ("gaps", forget_gaps),
    ("reasons", forget_texts),
)
EXPORT: tuple[tuple[str, Callable[[Session, int], list[Any]]], ...] = (
    ("conversations", export_conversations),
    ("unsent_files", export_files),
    ("unsent", export_unsent),
    ("service_levels", export_clocks),
    ("ratings", export_ratings),
    ("drafts", export_drafts),
    ("actions", export_actions),
    ("follow_ups", export_deliveries),
    ("no_follow_ups", export_suppression),
    ("questions", export_questions),
    ("gaps", export_gaps),
    ("suggestions", export_suggestions),
    ("reasons", export_texts),
    ("tokens", export_tokens),
    ("activity", export_entries),
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of a customer.

    Args:
        customer_id: of the row that now stands for nobody.
        counts: how many rows of each kind were erased.
    """

    customer_id: int
    counts: Mapping[str, int]


def forget(session: Session, ref: str, *, actor: Acting) -> Forgotten:
    """Erase everything that says who a customer was, or what was said with them.

    Their row and the shape of their conversations stay: order, kinds, times, ratings, who of the team answered. So do
    the entries of the audit log, which know a pseudonym that from now on leads nowhere. Open conversations are closed,
    drafts and actions withdrawn, jobs discarded, and after the commit their open chats are cut and a job deletes the
    bytes of their files. Writing again makes a new customer.

    A message that comes at the same moment waits for this, or this for it: either it is erased with the others, or it
    is the first of the new customer.

    Raises:
        NotFound: no customer has this reference, or not any more. Nothing was changed.
        Conflict: a job about them is being claimed or ended, an action runs, or a follow-up leaves, at this moment.
            Roll back, and try again.
    """
    actor = as_actor(actor)
    person = _person(session, ref, lock=True)
    number = person.id
    counts = erase(session, number, actor=actor)
    record(session, actor, "customer.forget", "customer", number, **counts)
    session.flush()  # the entry above may be the customer's own, found by what goes now
    person.ref = f"forgotten-{secrets.token_hex(16)}"
    person.pseudonym = f"pseudonym-{secrets.token_hex(16)}"
    person.name = FORGOTTEN
    person.email = person.organization = None
    person.forgotten_at = now()
    session.flush()
    _read_again(session)
    publish(session, customer_topic(ref), DISCONNECT)
    return Forgotten(number, counts)


def erase(session: Session, number: int, *, actor: Actor) -> dict[str, Any]:
    """Erase everything that is held about the conversations of a customer's row, which is locked, and let a job see to
    what that leaves in the files of the database.

    Returns:
        How many rows of each kind.

    Raises:
        Conflict: as :func:`forget` says.
    """
    close_all(session, number, actor=actor)
    withdraw_actions(session, number)
    withdraw_deliveries(session, number)
    session.flush()
    counts = {name: erased(session, number) for name, erased in FORGET}
    if after := current().settings.forget_clear_after:
        enqueue(session, CLEAR, {}, delay=timedelta(seconds=after), unique_key=CLEAR, keep_earlier=True)
    return counts


def export(session: Session, ref: str, *, actor: Acting | None = None) -> dict[str, Any]:
    """Everything held about a customer, as plain values that JSON can carry. Of files it says what they are called,
    and where :func:`exported_files` puts their bytes.

    Args:
        actor: who takes it, for an entry in the audit log; the caller commits it. None is written without.

    Raises:
        NotFound: no customer has this reference, or not any more.
    """
    person = _person(session, ref)
    about = {
        "ref": person.ref,
        "name": person.name,
        "email": person.email,
        "organization": person.organization,
        "first_seen_at": person.created_at.isoformat(),
        "last_seen_at": person.last_seen_at.isoformat(),
    }
    parts = {name: give(session, person.id) for name, give in EXPORT}
    if actor is not None:
        record(session, as_actor(actor), "customer.export", "customer", person.id)
    return {"exported_at": now().isoformat(), "customer": about, **parts}


def exported_files(session: Session, ref: str) -> dict[str, str]:
    """The files that an export of a customer tells of: where each lies beside it, and its key in the storage.

    Raises:
        NotFound: no customer has this reference, or not any more.
    """
    person = _person(session, ref)
    return {path_of(file.uuid, file.name): file.storage_key for file in stored_files(session, person.id)}


def _read_again(session: Session) -> None:
    """Make the caller's session read our rows anew: they were changed in the database. The host's own are left."""
    for row in session:
        if isinstance(row, Base):
            session.expire(row)


def _person(session: Session, ref: str, *, lock: bool = False) -> CustomerRecord:
    wanted = select(CustomerRecord).where(CustomerRecord.ref == ref, CustomerRecord.forgotten_at.is_(None))
    if lock:
        wanted = wanted.with_for_update()
    person = None
    if "\x00" not in ref and ref.encode(errors="ignore").decode() == ref:  # what a row can hold
        person = session.scalars(wanted.execution_options(populate_existing=True)).one_or_none()
    if person is None:
        raise NotFound("No customer has this reference.")
    return person
