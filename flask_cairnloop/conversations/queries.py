"""What the console reads about conversations: keyset-paged lists, cheap counts, one conversation's timeline.

Every function takes a fixed number of queries, however much there is, and walks an index of ``models.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, func, select, tuple_
from sqlalchemy.orm import Session, defer

from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationRead,
    ConversationStatus,
    CustomerRecord,
    Message,
    MessageKind,
)
from flask_cairnloop.drafting.models import OPEN_STATES, Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.errors import NotFound
from flask_cairnloop.paging import Cursor

PAGE_SIZE = 50
TIMELINE_SIZE = 100
DRAFT_HISTORY = 50
# Counts stop here: the row says "999+", and a million rows cost no more than a thousand.
COUNT_LIMIT = 999


class View(StrEnum):
    """The inbox's views. The value is what stands in ``?view=``."""

    WAITING = "waiting"
    DRAFT_READY = "draft_ready"
    WAITING_ON_THEM = "waiting_on_them"
    OPEN = "open"
    RESOLVED = "resolved"
    ALL = "all"

    @classmethod
    def parse(cls, value: str | None, default: View | None = None) -> View:
        """The view of a query value. No value: ``default``; a value we do not know: everything, which hides nothing."""
        if not value:
            return default or cls.ALL
        try:
            return cls(value)
        except ValueError:
            return cls.ALL


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One conversation as a list shows it.

    Args:
        draft: state and kind of the open draft, if there is one.
        read: sequence up to which this operator has read it.
    """

    conversation: Conversation
    customer: CustomerRecord
    draft: tuple[DraftState, DraftKind | None] | None
    read: int

    @property
    def unread(self) -> bool:
        """Whether an open conversation has words of the customer that this operator has not seen."""
        is_open = self.conversation.status is ConversationStatus.OPEN
        return is_open and self.conversation.last_customer_sequence > self.read

    def belongs_to(self, view: View) -> bool:
        """Whether the row, as it is now, stands in a view."""
        waiting = self.conversation.waiting_since is not None
        is_open = self.conversation.status is ConversationStatus.OPEN
        return {
            View.WAITING: waiting,
            View.DRAFT_READY: self.draft is not None
            and self.draft[0] is DraftState.READY
            and self.draft[1] is not DraftKind.ESCALATION,
            View.WAITING_ON_THEM: is_open and not waiting,
            View.OPEN: is_open,
            View.RESOLVED: not is_open,
            View.ALL: True,
        }[view]


@dataclass(frozen=True, slots=True)
class InboxPage:
    rows: tuple[InboxRow, ...]
    after: Cursor | None  # where the next page starts; None on the last one


@dataclass(frozen=True, slots=True)
class Timeline:
    """One conversation, as far as it is shown.

    Args:
        messages: oldest first.
        earlier: sequence before which there is more, if there is.
        following: the first message after these; ``None`` where these are the newest.
        drafts: every draft of the conversation, oldest first; the open one, if any, is the last.
        read: sequence up to which this operator had read it before.
    """

    conversation: Conversation
    customer: CustomerRecord
    messages: tuple[Message, ...]
    earlier: int | None
    following: Message | None
    drafts: tuple[Draft, ...]
    read: int

    @property
    def open_draft(self) -> Draft | None:
        return next((draft for draft in reversed(self.drafts) if draft.state in OPEN_STATES), None)

    @property
    def shown(self) -> int:
        """The newest sequence on the page: what an answer written now has seen."""
        return self.messages[-1].sequence if self.messages else self.conversation.last_sequence


def inbox_page(
    session: Session, view: View, operator_id: str, *, after: Cursor | None = None, limit: int = PAGE_SIZE
) -> InboxPage:
    """One page of a view: oldest first where somebody waits for us, else newest activity first. One query."""
    # The page is picked from one index, and only what is on it is joined: a planner that misjudges how much lies behind
    # a cursor would else join all of it.
    picked = _picked(view, after).limit(limit + 1).subquery("picked")
    statement = _rows(operator_id).join(picked, picked.c.id == Conversation.id)
    match view:
        case View.WAITING:
            statement = statement.order_by(Conversation.waiting_since.asc(), Conversation.id.asc())
        case View.DRAFT_READY:
            statement = statement.order_by(Conversation.id.asc())
        case _:
            statement = statement.order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
    rows = [_row(found) for found in session.execute(statement)]
    more = len(rows) > limit
    rows = rows[:limit]
    return InboxPage(tuple(rows), _cursor(rows[-1], view) if more else None)


def _picked(view: View, after: Cursor | None) -> Select[Any]:
    """The ids of a view in its order, from a cursor on."""
    if view is View.DRAFT_READY:  # in the order of the index on drafts to check: oldest conversation first
        ids = select(Draft.conversation_id.label("id")).where(_ready_draft())
        if after is not None:
            ids = ids.where(Draft.conversation_id > after.id)
        return ids.order_by(Draft.conversation_id)
    waits = view is View.WAITING
    at = Conversation.waiting_since if waits else Conversation.last_message_at
    ids = select(Conversation.id).where(*_conditions(view))
    if after is not None:
        place, here = tuple_(at, Conversation.id), tuple_(after.at, after.id)
        ids = ids.where(place > here if waits else place < here)
    if waits:
        return ids.order_by(at.asc(), Conversation.id.asc())
    return ids.order_by(at.desc(), Conversation.id.desc())


def inbox_row(session: Session, conversation_id: int, operator_id: str) -> InboxRow:
    """One conversation as a list shows it.

    Raises:
        NotFound: there is no such conversation.
    """
    found = session.execute(_rows(operator_id).where(Conversation.id == conversation_id)).first()
    if found is None:
        raise NotFound
    return _row(found)


def view_counts(session: Session) -> Mapping[View, int]:
    """How many conversations stand in each view that is work; at most ``COUNT_LIMIT + 1``. One query."""
    counted = (View.WAITING, View.DRAFT_READY, View.WAITING_ON_THEM, View.OPEN)
    found = session.execute(select(*(_capped(view) for view in counted))).one()
    return dict(zip(counted, found, strict=True))


def waiting(session: Session) -> int:
    """How many conversations wait for us; at most ``COUNT_LIMIT + 1``. One count."""
    return session.scalar(select(_capped(View.WAITING))) or 0


def _capped(view: View) -> Any:
    """The count of a view that stops at its limit."""
    rows = select(Conversation.id).where(*_conditions(view)).limit(COUNT_LIMIT + 1)
    if view is View.DRAFT_READY:
        rows = select(Draft.conversation_id).where(_ready_draft()).limit(COUNT_LIMIT + 1)
    return select(func.count()).select_from(rows.subquery()).scalar_subquery().label(view.value)


def resolved_since(session: Session, since: datetime) -> int:
    """How many conversations were resolved since a moment, from the audit log's index on resolutions."""
    action = bindparam("is_resolve", "conversation.resolve", AuditEntry.action.type, literal_execute=True)
    statement = select(func.count(AuditEntry.subject_id.distinct())).where(
        AuditEntry.occurred_at >= since, AuditEntry.action == action
    )
    return session.scalar(statement) or 0


def timeline(
    session: Session,
    conversation_id: int,
    operator_id: str,
    *,
    before: int | None = None,
    limit: int = TIMELINE_SIZE,
) -> Timeline:
    """The newest messages of a conversation, or those before a sequence, with its drafts. Three queries.

    Raises:
        NotFound: there is no such conversation.
    """
    head = session.execute(
        select(Conversation, CustomerRecord, ConversationRead.sequence)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .outerjoin(ConversationRead, _read_by(operator_id))
        .where(Conversation.id == conversation_id)
    ).first()
    if head is None:
        raise NotFound
    wanted = select(Message).where(Message.conversation_id == conversation_id)
    if before is not None:  # with the message itself, which is on the next page: it says where this one ends
        wanted = wanted.where(Message.sequence <= before)
    newest_first = list(session.scalars(wanted.order_by(Message.sequence.desc()).limit(limit + 2)))
    following = newest_first.pop(0) if newest_first and newest_first[0].sequence == before else None
    messages = newest_first[:limit][::-1]
    drafts = session.scalars(
        select(Draft)
        .where(Draft.conversation_id == conversation_id)
        .order_by(Draft.id.desc())
        .limit(DRAFT_HISTORY)
        .options(defer(Draft.evidence))
    )
    return Timeline(
        conversation=head[0],
        customer=head[1],
        messages=tuple(messages),
        earlier=messages[0].sequence if len(newest_first) > limit else None,
        following=following,
        drafts=tuple(list(drafts)[::-1]),
        read=head[2] or 0,
    )


def customer_messages_after(session: Session, conversation_id: int, sequence: int) -> list[Message]:
    """The customer's own messages after a sequence, oldest first, at most ten."""
    return list(
        session.scalars(
            select(Message)
            .where(
                Message.conversation_id == conversation_id,
                Message.sequence > sequence,
                Message.kind == MessageKind.CUSTOMER,
            )
            .order_by(Message.sequence)
            .limit(10)
        )
    )


def draft_of(session: Session, conversation_id: int, draft_id: int) -> Draft:
    """A draft, reached through its conversation, so that one address cannot decide on another's.

    Raises:
        NotFound: there is no such draft in this conversation.
    """
    statement = select(Draft).where(Draft.id == draft_id, Draft.conversation_id == conversation_id)
    draft = session.scalars(statement).one_or_none()
    if draft is None:
        raise NotFound("There is no such draft.")
    return draft


def conversation_with_customer(session: Session, conversation_id: int) -> tuple[Conversation, CustomerRecord]:
    """A conversation and whose it is.

    Raises:
        NotFound: there is no such conversation.
    """
    found = session.execute(
        select(Conversation, CustomerRecord)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Conversation.id == conversation_id)
    ).first()
    if found is None:
        raise NotFound
    return found[0], found[1]


def past_conversations(session: Session, customer_id: int, *, besides: int, limit: int = 6) -> tuple[Conversation, ...]:
    """The customer's other conversations, those spoken in last first."""
    return tuple(
        session.scalars(
            select(Conversation)
            .where(Conversation.customer_id == customer_id, Conversation.id != besides)
            .order_by(Conversation.last_spoken_at.desc(), Conversation.id.desc())
            .limit(limit)
        )
    )


def _rows(operator_id: str) -> Select[Any, Any, Any, Any, Any]:
    return (
        select(Conversation, CustomerRecord, Draft.state, Draft.kind, ConversationRead.sequence)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .outerjoin(Draft, and_(Draft.conversation_id == Conversation.id, _state_in(OPEN_STATES)))
        .outerjoin(ConversationRead, _read_by(operator_id))
    )


def _row(found: Row[Any, Any, Any, Any, Any]) -> InboxRow:
    conversation, customer, state, kind, read = found
    return InboxRow(conversation, customer, (state, kind) if state else None, read or 0)


def _cursor(row: InboxRow, view: View) -> Cursor:
    at = row.conversation.waiting_since if view is View.WAITING else row.conversation.last_message_at
    return Cursor(at or row.conversation.last_message_at, row.conversation.id)


def _conditions(view: View) -> tuple[ColumnElement[bool], ...]:
    # Constants are written into the statement: a partial index is used only where the planner can prove it applies.
    is_open = Conversation.status == _literal("open", ConversationStatus.OPEN)
    match view:
        case View.WAITING:
            return (Conversation.waiting_since.is_not(None),)
        case View.WAITING_ON_THEM:
            return (is_open, Conversation.waiting_since.is_(None))
        case View.OPEN:
            return (is_open,)
        case View.RESOLVED:
            return (Conversation.status == _literal("resolved", ConversationStatus.RESOLVED),)
        case View.DRAFT_READY:
            return (_ready_draft(),)
        case View.ALL:
            return ()


def _ready_draft() -> ColumnElement[bool]:
    # A hand-over to a person is no text to check: those conversations just wait. Word for word what the index holds.
    escalation = bindparam("is_escalation", DraftKind.ESCALATION, Draft.kind.type, literal_execute=True)
    return and_(Draft.state == _literal("ready", DraftState.READY), Draft.kind != escalation)


def _state_in(states: Iterable[DraftState]) -> ColumnElement[bool]:
    name = "draft_states_" + "_".join(states)
    return Draft.state.in_(bindparam(name, list(states), Draft.state.type, expanding=True, literal_execute=True))


def _literal(name: str, value: StrEnum) -> Any:
    column = Draft.state if isinstance(value, DraftState) else Conversation.status
    return bindparam(f"is_{name}", value, column.type, literal_execute=True)


def _read_by(operator_id: str) -> ColumnElement[bool]:
    return and_(ConversationRead.conversation_id == Conversation.id, ConversationRead.operator_id == operator_id)
