"""Reading follow-ups for pages, metrics and the doctor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import exists, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from flask_cairnloop.conversations import queries as conversations
from flask_cairnloop.conversations.filters import Filter
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.service import MOST, Recipient
from flask_cairnloop.outbound.types import DeliveryState, EnvelopeState
from flask_cairnloop.paging import Cursor

PAGE = 40
IN_THREAD = 20  # follow-ups of one conversation that are shown before its composer
LIST_PAGES = 60  # of a list of the inbox that are walked through for its conversations
SHOWN_IN_THREAD = (DeliveryState.SCHEDULED, DeliveryState.SENDING, DeliveryState.UNCERTAIN, DeliveryState.FAILED)
LINE_LENGTH = 320

Counts = Mapping[DeliveryState, int]


@dataclass(frozen=True, slots=True)
class EnvelopeRow:
    """An envelope as a list shows it, with how many of its deliveries are in which state."""

    envelope: OutboundEnvelope
    counts: Counts = field(default_factory=dict)


def envelopes(session: Session, *, after: Cursor | None = None) -> tuple[list[EnvelopeRow], Cursor | None]:
    """A page of envelopes, newest first, and where the next one starts. Previews nobody sent are left out. Two
    queries."""
    chosen = select(OutboundEnvelope).where(OutboundEnvelope.state != EnvelopeState.DISCARDED)
    if after is not None:
        place = tuple_(OutboundEnvelope.created_at, OutboundEnvelope.id)
        chosen = chosen.where(place < tuple_(after.at, after.id))
    order = (OutboundEnvelope.created_at.desc(), OutboundEnvelope.id.desc())
    found = list(session.scalars(chosen.order_by(*order).limit(PAGE + 1)))
    more = found[PAGE - 1] if len(found) > PAGE else None
    counts = counts_of(session, [one.id for one in found[:PAGE]])
    rows = [EnvelopeRow(one, counts.get(one.id, {})) for one in found[:PAGE]]
    return rows, Cursor(more.created_at, more.id) if more else None


def counts_of(session: Session, envelope_ids: Collection[int]) -> dict[int, dict[DeliveryState, int]]:
    """How many deliveries of each envelope are in which state. One query."""
    rows = session.execute(
        select(OutboundDelivery.envelope_id, OutboundDelivery.state, func.count())
        .where(OutboundDelivery.envelope_id.in_(envelope_ids))
        .group_by(OutboundDelivery.envelope_id, OutboundDelivery.state)
    )
    counts: dict[int, dict[DeliveryState, int]] = {}
    for envelope_id, state, number in rows:
        counts.setdefault(envelope_id, {})[state] = number
    return counts


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery with its customer."""

    delivery: OutboundDelivery
    customer: CustomerRecord


def deliveries(session: Session, envelope_id: int) -> list[DeliveryRow]:
    """Everybody who stands in an envelope, in the order they were chosen. One query."""
    chosen = (
        select(OutboundDelivery, CustomerRecord)
        .join(CustomerRecord, CustomerRecord.id == OutboundDelivery.customer_id)
        .where(OutboundDelivery.envelope_id == envelope_id)
        .order_by(OutboundDelivery.position, OutboundDelivery.id)
        .execution_options(populate_existing=True)
    )
    return [DeliveryRow(*row) for row in session.execute(chosen)]


def parts(session: Session, envelope_id: int) -> list[EnvelopeRow]:
    """The envelopes that a refused one was split into. Two queries."""
    found = session.scalars(
        select(OutboundEnvelope).where(OutboundEnvelope.parent_id == envelope_id).order_by(OutboundEnvelope.id)
    ).all()
    counts = counts_of(session, [one.id for one in found])
    return [EnvelopeRow(one, counts.get(one.id, {})) for one in found]


def in_thread(session: Session, conversation_id: int) -> list[OutboundDelivery]:
    """The follow-ups of a conversation that have not reached its customer and still may. One query."""
    chosen = select(OutboundDelivery).where(
        OutboundDelivery.conversation_id == conversation_id, OutboundDelivery.state.in_(SHOWN_IN_THREAD)
    )
    found = session.scalars(chosen.order_by(OutboundDelivery.id.desc()).limit(IN_THREAD))
    return list(found)[::-1]


# --- whom -------------------------------------------------------------------------------------------------------------


def of_conversations(session: Session, ids: Sequence[int]) -> list[Recipient]:
    """The customers of conversations, in this order; of what is not there, nobody. One query."""
    known = dict(
        session.execute(select(Conversation.id, Conversation.customer_id).where(Conversation.id.in_(ids))).all()
    )
    return [Recipient(known[one], one) for one in dict.fromkeys(ids) if one in known]


def of_list(session: Session, asked: Filter, operator_id: str) -> list[Recipient]:
    """The customers of a list of the inbox, in its order; one more than may be looked at where there are more."""
    found: list[Recipient] = []
    after: Cursor | None = None
    for _ in range(LIST_PAGES):
        page = conversations.inbox_page(session, asked, operator_id, after=after, limit=200)
        found += [Recipient(row.conversation.customer_id, row.conversation.id) for row in page.rows]
        after = page.after
        if after is None or len(found) > MOST:
            break
    return found[: MOST + 1]


def of_lines(session: Session, text: str) -> list[Recipient]:
    """Customers by the host's references or their e-mail addresses, one a line, each in their latest conversation.
    Two queries.

    Raises:
        InvalidInput: there are none, or too many, or nobody is known by one of them.
    """
    lines = [line.strip() for line in text.replace("\x00", "").splitlines() if line.strip()]
    names = list(dict.fromkeys(line[:LINE_LENGTH] for line in lines))
    if not names:
        raise InvalidInput("customers", "Name at least one customer.")
    if len(names) > MOST:
        raise InvalidInput("customers", f"Name at most {MOST:,} customers at once.")
    mails = [name.lower() for name in names]
    people = session.scalars(
        select(CustomerRecord)
        .where(
            CustomerRecord.forgotten_at.is_(None),
            or_(CustomerRecord.ref.in_(names), func.lower(CustomerRecord.email).in_(mails)),
        )
        .order_by(CustomerRecord.id)
    ).all()
    by_ref = {one.ref: one.id for one in people}
    by_mail = {one.email.lower(): one.id for one in people if one.email}
    unknown = [name for name in names if name not in by_ref and name.lower() not in by_mail]
    if unknown:
        listed = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise InvalidInput("customers", f"Nobody is known here as {listed}.")
    ids = [by_ref.get(name) or by_mail[name.lower()] for name in names]
    latest = dict(
        session.execute(
            select(Conversation.customer_id, Conversation.id)
            .where(Conversation.customer_id.in_(ids))
            .ext(distinct_on(Conversation.customer_id))
            .order_by(Conversation.customer_id, Conversation.last_spoken_at.desc(), Conversation.id.desc())
        ).all()
    )
    return [Recipient(one, latest.get(one)) for one in ids]


# --- what is wrong ----------------------------------------------------------------------------------------------------


def waiting(session: Session) -> bool:
    """Whether a follow-up is on its way."""
    return bool(session.scalar(select(exists().where(OutboundDelivery.state == DeliveryState.SCHEDULED))))


def uncertain(session: Session, *, most: int = 999) -> int:
    """How many follow-ups nobody knows the end of, counted no further than ``most``."""
    found = select(OutboundDelivery.id).where(OutboundDelivery.state == DeliveryState.UNCERTAIN).limit(most)
    return session.scalar(select(func.count()).select_from(found.subquery())) or 0
