"""Follow-ups in words. Total: every state and reason has some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from flask_cairnloop.console.presenters import Person, Times, customer_person, linkified
from flask_cairnloop.conversations.models import CustomerRecord
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.queries import Counts, EnvelopeRow
from flask_cairnloop.outbound.service import due, why
from flask_cairnloop.outbound.types import DeliveryState, EnvelopeState, Source

S = DeliveryState
# State -> its word, icon and tone.
STATES: Final[Mapping[DeliveryState, tuple[str, str, str]]] = {
    S.PREVIEWED: ("Would be sent", "", "muted"),
    S.SCHEDULED: ("Scheduled", "clock", "slate"),
    S.SENDING: ("Sending", "half", "slate"),
    S.DELIVERED: ("Delivered", "check", "moss"),
    S.FAILED: ("Failed", "warn", "danger"),
    S.UNCERTAIN: ("Nobody knows", "warn", "ember"),
    S.CANCELLED: ("Cancelled", "x", "muted"),
    S.SKIPPED: ("Left out", "x", "muted"),
}
SOURCES: Final[Mapping[Source, str]] = {
    Source.CONVERSATION: "from a conversation",
    Source.SELECTION: "to conversations ticked in the inbox",
    Source.LIST: "to a list of the inbox",
    Source.CUSTOMERS: "to customers by name",
    Source.HOST: "by your app",
}
IN_THE_CHAT: Final = "Your app delivers no follow-ups, so they stand in the chat and the widget only."


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One recipient of an envelope.

    Args:
        said: why it is in its state, where there is more to say.
        actions: what may be done with it: ``cancel``, ``retry`` or ``settle``.
    """

    id: int
    customer: Person
    conversation_id: int | None
    state: tuple[str, str, str]
    said: str
    subject: str
    text: Markup
    notes: tuple[str, ...]
    action: str
    moment: datetime


def delivery_view(one: OutboundDelivery, customer: CustomerRecord, times: Times, *, hooked: bool) -> DeliveryView:
    """A recipient as the page of an envelope shows them."""
    notes = []
    if one.state is S.PREVIEWED:
        if one.had_at is not None:
            notes.append(f"Had this one {times.when(one.had_at)}")
        if hooked and not customer.email:
            notes.append("No e-mail address is known")
        if one.conversation_id is None:
            notes.append("Opens a conversation")
    action = {S.SCHEDULED: "cancel", S.FAILED: "retry", S.UNCERTAIN: "settle"}.get(one.state, "")
    return DeliveryView(
        one.id,
        customer_person(customer),
        one.conversation_id,
        STATES[one.state],
        said(one, times),
        one.subject,
        linkified(one.body),
        tuple(notes),
        action,
        one.changed_at,
    )


def said(one: OutboundDelivery, times: Times) -> str:
    """Why a delivery is in its state, or when it will leave it."""
    match one.state:
        case S.SCHEDULED:
            again = f" It was tried {times_word(one.attempt)}: {one.failure}" if one.failure else ""
            return f"Leaves {times.when(one.due_at)}.{again}"
        case S.SENDING:
            return "Your app is being asked to deliver it."
        case S.DELIVERED:
            where = f" Your app calls it {one.reference}." if one.reference else ""
            return f"{times.at(one.delivered_at)}.{where}"
        case S.FAILED:
            return one.failure or ""
        case S.UNCERTAIN:
            how = one.failure or "The worker was lost while it was sent."
            return f"{how} It may have reached the customer. Look there first."
        case S.SKIPPED | S.CANCELLED:
            return why(one)
        case _:
            return ""


def times_word(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


@dataclass(frozen=True, slots=True)
class EnvelopeView:
    """An envelope as a list shows it.

    Args:
        state: word, icon and tone.
        line: how far it is, in a sentence.
    """

    id: int
    title: str
    state: tuple[str, str, str]
    line: str
    by: str
    moment: datetime
    done: int
    total: int


def envelope_view(row: EnvelopeRow) -> EnvelopeView:
    """An envelope in words."""
    envelope = row.envelope
    by = envelope.submitted_by_name or envelope.created_by_name
    return EnvelopeView(
        envelope.id,
        title(envelope),
        envelope_state(envelope, row.counts),
        progress(envelope, row.counts),
        f"{by}, {SOURCES[envelope.source]}",
        envelope.submitted_at or envelope.created_at,
        over(row.counts),
        to_send(row.counts),
    )


def title(envelope: OutboundEnvelope) -> str:
    return envelope.template_name or "A text of your app’s"


def envelope_state(envelope: OutboundEnvelope, counts: Counts) -> tuple[str, str, str]:
    """How an envelope stands: word, icon and tone."""
    if envelope.state is EnvelopeState.PREVIEWED:
        return ("Preview", "", "ember")
    if envelope.state is EnvelopeState.REFUSED:
        return ("Refused", "warn", "danger")
    if envelope.state is EnvelopeState.DISCARDED:
        return ("Discarded", "x", "muted")
    if counts.get(S.UNCERTAIN):
        return ("Needs a look", "warn", "ember")
    if counts.get(S.SENDING):
        return ("Sending", "half", "slate")
    if counts.get(S.SCHEDULED):
        return ("Scheduled", "clock", "slate")
    if counts.get(S.FAILED):
        return ("Some failed", "warn", "danger")
    if not counts.get(S.DELIVERED):
        return ("Nothing sent", "x", "muted")
    return ("Delivered", "check", "moss")


def to_send(counts: Counts) -> int:
    """How many were to be sent, or are."""
    return sum(number for state, number in counts.items() if state is not S.SKIPPED)


def over(counts: Counts) -> int:
    """How many of these have come to an end."""
    ended = (S.DELIVERED, S.FAILED, S.CANCELLED)
    return sum(number for state, number in counts.items() if state in ended)


def progress(envelope: OutboundEnvelope, counts: Counts) -> str:
    """How far an envelope is, in a sentence."""
    if envelope.state is EnvelopeState.REFUSED:
        return f"{people(envelope.eligible)}, and at most {envelope.cap} at once."
    if envelope.state is EnvelopeState.DISCARDED:
        return "Nobody sent it."
    if envelope.state is EnvelopeState.PREVIEWED:
        return f"{people(envelope.eligible)} would get it. Nothing is sent yet."
    told = [f"{counts[state]} {word}" for state, word in _COUNTED if counts.get(state)]
    return f"{', '.join(told)}." if told else "Nobody was sent anything."


_COUNTED: Final = (
    (S.DELIVERED, "delivered"),
    (S.SENDING, "being sent"),
    (S.SCHEDULED, "scheduled"),
    (S.UNCERTAIN, "that nobody knows of"),
    (S.FAILED, "failed"),
    (S.CANCELLED, "cancelled"),
    (S.SKIPPED, "left out"),
)


def people(number: int) -> str:
    return "1 customer" if number == 1 else f"{number:,} customers"


def leaving(envelope: OutboundEnvelope, times: Times) -> str:
    """When a preview would leave, in a sentence."""
    wanted = max(envelope.send_at or times.now, times.now)
    at = due(wanted)
    if at > wanted:
        return f"In quiet hours nothing leaves, so it waits until {times.at(at)}."
    return f"It leaves {times.when(at)}." if envelope.send_at and envelope.send_at > times.now else "It leaves at once."


def until_reply(envelope: OutboundEnvelope) -> str:
    return (
        "Who writes before it leaves gets none."
        if envelope.cancel_on_reply
        else "It leaves even where the customer writes before."
    )


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A follow-up in the thread of its conversation that has not reached the customer."""

    id: int
    envelope_id: int
    state: tuple[str, str, str]
    said: str
    subject: str
    text: Markup
    action: str


def thread_view(one: OutboundDelivery, times: Times) -> ThreadView:
    action = {S.SCHEDULED: "cancel", S.FAILED: "retry", S.UNCERTAIN: "settle"}.get(one.state, "")
    return ThreadView(
        one.id, one.envelope_id, STATES[one.state], said(one, times), one.subject, linkified(one.body), action
    )
