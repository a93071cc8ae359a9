"""What pages ask about actions. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.errors import NotFound
from flask_cairnloop.governance.models import ActionApproval, ActionEvent, ActionProposal
from flask_cairnloop.governance.types import OPEN_STATES, ProposalState
from flask_cairnloop.paging import Cursor

PAGE_SIZE: Final = 50
SHOWN_IN_CONVERSATION: Final = 8  # the newest; older ones are found under approvals


class Queue(StrEnum):
    """A list of actions."""

    WAITING = "waiting"  # for a decision: most risk first, and of that what runs out first
    LOOK = "look"  # approved and not over; those first of which nobody knows how they ended
    DEFERRED = "deferred"
    OVER = "over"  # newest first

    @classmethod
    def parse(cls, value: str | None) -> Queue:
        """A list from a query value; what waits, for anything that is none."""
        return next((one for one in cls if one.value == value), cls.WAITING)


_STATES: Final[dict[Queue, tuple[ProposalState, ...]]] = {
    Queue.WAITING: (ProposalState.PENDING,),
    Queue.LOOK: (ProposalState.UNCERTAIN, ProposalState.RUNNING, ProposalState.APPROVED),
    Queue.DEFERRED: (ProposalState.DEFERRED,),
}


@dataclass(frozen=True, slots=True)
class Found:
    """An action with where it belongs and what was said and done about it."""

    proposal: ActionProposal
    subject: str | None = None
    customer: str | None = None
    organization: str | None = None
    approvals: Sequence[ActionApproval] = ()
    events: Sequence[ActionEvent] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. ``after`` leads on; ``None`` at its end."""

    rows: list[Found] = field(default_factory=list)
    after: str | None = None


def page(session: Session, queue: Queue, *, after: str | None = None) -> Page:
    """A page of a list, by keyset. One query.

    Args:
        after: as a page before gave it; anything else is the first page.
    """
    wanted = _with_place()
    if queue is Queue.OVER:
        cursor = Cursor.parse(after)
        wanted = wanted.where(ActionProposal.finished_at.is_not(None))
        if cursor is not None:
            at = tuple_(ActionProposal.finished_at, ActionProposal.id)
            wanted = wanted.where(at < tuple_(cursor.at, cursor.id))
        wanted = wanted.order_by(ActionProposal.finished_at.desc(), ActionProposal.id.desc())
    elif queue is Queue.WAITING:
        wanted = wanted.where(ActionProposal.state == ProposalState.PENDING)
        weight, _, rest = (after or "").partition("-")
        cursor = Cursor.parse(rest)
        if cursor is not None and weight in ("0", "1", "2", "3"):
            wanted = wanted.where(_behind(int(weight), cursor))
        wanted = wanted.order_by(ActionProposal.weight.desc(), ActionProposal.expires_at, ActionProposal.id)
    else:
        cursor = Cursor.parse(after)
        wanted = wanted.where(ActionProposal.state.in_(_STATES[queue]))
        if cursor is not None:
            wanted = wanted.where(ActionProposal.id < cursor.id)
        wanted = wanted.order_by(ActionProposal.id.desc())
    rows = [Found(*row) for row in session.execute(wanted.limit(PAGE_SIZE + 1))]
    shown = rows[:PAGE_SIZE]
    return Page(shown, _after(queue, shown[-1].proposal) if len(rows) > PAGE_SIZE else None)


def _behind(weight: int, cursor: Cursor) -> ColumnElement[bool]:
    later = tuple_(ActionProposal.expires_at, ActionProposal.id) > tuple_(cursor.at, cursor.id)
    return or_(ActionProposal.weight < weight, and_(ActionProposal.weight == weight, later))


def _after(queue: Queue, last: ActionProposal) -> str:
    if queue is Queue.OVER and last.finished_at is not None:
        return str(Cursor(last.finished_at, last.id))
    if queue is Queue.WAITING:
        return f"{last.weight}-{Cursor(last.expires_at, last.id)}"
    return str(Cursor(last.created_at, last.id))


def counts(session: Session) -> dict[Queue, int]:
    """How many actions each list of open ones has. One query over what is open."""
    rows = session.execute(
        select(ActionProposal.state, func.count())
        .where(ActionProposal.state.in_(OPEN_STATES))
        .group_by(ActionProposal.state)
    ).all()
    by_state = {row[0]: row[1] for row in rows}
    return {queue: sum(by_state.get(state, 0) for state in states) for queue, states in _STATES.items()}


def waiting_count(session: Session) -> int:
    """How many actions wait for a decision. One query."""
    return (
        session.scalar(
            select(func.count()).select_from(ActionProposal).where(ActionProposal.state == ProposalState.PENDING)
        )
        or 0
    )


def found(session: Session, proposal_id: int) -> Found:
    """An action with everything about it. Three queries.

    Raises:
        NotFound: there is none.
    """
    row = session.execute(_with_place().where(ActionProposal.id == proposal_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such action.")
    return _complete(session, [Found(*row)])[0]


def open_of(session: Session, token: str) -> list[int]:
    """The numbers of the open actions that a token asked for, oldest first. One query."""
    return list(
        session.scalars(
            select(ActionProposal.id)
            .where(
                ActionProposal.proposed_by_kind == ActorKind.TOKEN,
                ActionProposal.proposed_by == token,
                ActionProposal.state.in_(OPEN_STATES),
            )
            .order_by(ActionProposal.id)
        )
    )


def of_conversation(session: Session, conversation_id: int) -> list[Found]:
    """The newest actions of a conversation, oldest first. One query where there is none, else three."""
    rows = session.execute(
        _with_place()
        .where(ActionProposal.conversation_id == conversation_id)
        .order_by(ActionProposal.id.desc())
        .limit(SHOWN_IN_CONVERSATION)
    ).all()
    return _complete(session, [Found(*row) for row in reversed(rows)])


def _complete(session: Session, rows: list[Found]) -> list[Found]:
    if not rows:
        return []
    numbers: Collection[int] = [row.proposal.id for row in rows]
    approvals = session.scalars(
        select(ActionApproval).where(ActionApproval.proposal_id.in_(numbers)).order_by(ActionApproval.id)
    ).all()
    events = session.scalars(
        select(ActionEvent).where(ActionEvent.proposal_id.in_(numbers)).order_by(ActionEvent.id)
    ).all()
    return [
        Found(
            row.proposal,
            row.subject,
            row.customer,
            row.organization,
            [one for one in approvals if one.proposal_id == row.proposal.id],
            [one for one in events if one.proposal_id == row.proposal.id],
        )
        for row in rows
    ]


def _with_place() -> Select[ActionProposal, str, str | None, str | None]:
    return (
        select(ActionProposal, Conversation.subject, CustomerRecord.name, CustomerRecord.organization)
        .outerjoin(Conversation, Conversation.id == ActionProposal.conversation_id)
        .outerjoin(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .execution_options(populate_existing=True)
    )
