"""What can be done with follow-ups. Every function takes a session, names its actor and never commits.

What is sent was previewed: the text of every recipient is made and stored first, and exactly that is sent, to those who
may still be written to when their turn comes. Each of the others stays on record with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord
from flask_cairnloop.errors import Conflict, IllegalTransition, InvalidInput, NotFound, NotSent
from flask_cairnloop.jobs import enqueue, publish
from flask_cairnloop.macros import language
from flask_cairnloop.macros.service import values
from flask_cairnloop.outbound import suppression, templates, transitions
from flask_cairnloop.outbound.models import SUBJECT_LENGTH, OutboundDelivery, OutboundEnvelope, OutboundTemplate
from flask_cairnloop.outbound.quiet import QuietHours
from flask_cairnloop.outbound.sender import kept
from flask_cairnloop.outbound.transitions import SYSTEM, step
from flask_cairnloop.outbound.types import OPEN_STATES, REASON_LENGTH, DeliveryState, EnvelopeState, Reason, Source

JOB: Final = "outbound.deliver"
MOST: Final = 1_000  # recipients that are looked at for one envelope
FURTHEST: Final = timedelta(days=366)
PREVIEW_KEPT: Final = timedelta(days=1)
KEY_LENGTH: Final = 200

REASONS: Final[Mapping[Reason, str]] = {
    Reason.DUPLICATE: "The same customer stands here already.",
    Reason.FORBIDDEN: "You may not write to them.",
    Reason.FORGOTTEN: "The customer was forgotten.",
    Reason.SPAM: "Their conversation is marked as spam.",
    Reason.SUPPRESSED: "They get no follow-ups.",
    Reason.VARIABLE: "A variable of the text has no value for them.",
    Reason.TOO_LONG: "With their values the text is too long.",
    Reason.OPEN: "One of this template is on its way to them already.",
    Reason.REPLIED: "The customer has written since.",
    Reason.PERSON: "It was stopped.",
    Reason.DISCARDED: "Nobody sent it.",
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a follow-up is for: a customer, in one of their conversations if they have one."""

    customer_id: int
    conversation_id: int | None


def quiet_hours() -> QuietHours | None:
    """The desk's quiet hours, if it has some."""
    settings = current().settings
    return QuietHours.parse(settings.quiet_hours, ZoneInfo(settings.quiet_hours_zone))


def due(moment: datetime) -> datetime:
    """When something leaves that is to leave at a moment: then, or when the quiet hours are over."""
    hours = quiet_hours()
    return hours.after(moment) if hours else moment.astimezone(UTC)


# --- one, for the host ------------------------------------------------------------------------------------------------


def follow_up(
    session: Session,
    conversation_id: int,
    *,
    actor: Acting,
    body: str | None = None,
    template: str | None = None,
    subject: str | None = None,
    send_at: datetime | None = None,
    cancel_on_reply: bool | None = None,
    key: str | None = None,
) -> OutboundDelivery:
    """Send a follow-up to the customer of a conversation, once, now or later.

    It goes out by ``CAIRNLOOP_ON_OUTBOUND`` and stands in the chat. It reopens nothing and assigns nobody. In quiet
    hours it waits for their end.

    Args:
        body: the text, exactly as it is to be read. Either this or ``template``.
        template: the name of a template, whose variables are filled in.
        subject: for channels that have one; the template's, or the conversation's, when left out.
        send_at: not before this time; with a time zone.
        cancel_on_reply: whether words of the customer's that come before it leaves cancel it; as the template says, or
            yes, when left out.
        key: the caller's own key: a second call with it returns the first follow-up and changes nothing.

    Raises:
        NotFound: there is no such conversation, or no such template.
        InvalidInput: the text or a time does not fit, both or neither of ``body`` and ``template`` are given.
        NotSent: this customer gets none, e.g. as they asked for that; ``reason`` says why.
    """
    actor = as_actor(actor)
    if key is not None and (first := _keyed(session, _client_key(actor, key))):
        return first
    if (body is None) == (template is None):
        raise InvalidInput("body", "Give either a text or the name of a template.")
    found = templates.named(session, template) if template is not None else None
    conversation = conversations.lock(session, conversation_id)
    envelope = _envelope(
        session,
        [Recipient(conversation.customer_id, conversation_id)],
        actor=actor,
        source=Source.HOST,
        template=found,
        text=_Text.of(found, subject, body),
        send_at=send_at,
        cancel_on_reply=cancel_on_reply,
        allowed=None,
    )
    if key is not None:
        envelope.client_key = _client_key(actor, key)
    delivery = _rows(session, envelope.id)[0]
    if delivery.reason is not None:
        raise NotSent(delivery.reason.value, why(delivery))
    submit(session, envelope.id, actor=actor)
    return delivery


def _client_key(actor: Actor, key: str) -> str:
    if not 1 <= len(key) <= KEY_LENGTH:
        raise InvalidInput("key", f"A key has 1 to {KEY_LENGTH} characters.")
    return suppression.digests(f"{actor.kind.value}:{actor.id}:{key}")[0]


def _keyed(session: Session, client_key: str) -> OutboundDelivery | None:
    return session.scalars(
        select(OutboundDelivery)
        .join(OutboundEnvelope, OutboundEnvelope.id == OutboundDelivery.envelope_id)
        .where(OutboundEnvelope.client_key == client_key)
    ).one_or_none()


def why(delivery: OutboundDelivery) -> str:
    """Why one is not sent, in a sentence."""
    if delivery.reason is Reason.FORBIDDEN and delivery.failure:  # found when it was to leave: it names the sender
        return delivery.failure
    if delivery.reason is Reason.VARIABLE:
        return f"There is no value for {', '.join(f'{{{{{name}}}}}' for name in delivery.missing)} here."
    return REASONS[delivery.reason] if delivery.reason else ""


# --- the preview ------------------------------------------------------------------------------------------------------


def preview(
    session: Session,
    recipients: Sequence[Recipient],
    template_id: int,
    *,
    actor: Acting,
    source: Source,
    send_at: datetime | None = None,
    allowed: Collection[int] | None = None,
) -> OutboundEnvelope:
    """Make and store the text of every recipient, and say who is left out and why. Nothing is sent by it.

    More than ``BULK_LIMIT`` are refused, on record: the envelope is, and can be split.

    Args:
        allowed: ids of the conversations that the actor may write into; all when left out.

    Raises:
        InvalidInput: there are none, or the time does not fit.
        IllegalTransition: the template is archived.
        NotFound: there is no such template.
    """
    template = templates.get(session, template_id)
    if template.archived_at is not None:
        raise IllegalTransition("template", "archived", "be used")
    return _envelope(
        session,
        recipients,
        actor=as_actor(actor),
        source=source,
        template=template,
        text=_Text.of(template, None, None),
        send_at=send_at,
        cancel_on_reply=None,
        allowed=allowed,
    )


@dataclass(frozen=True, slots=True)
class _Text:
    """A subject and a text in their parts. The conversation's own subject where there is none."""

    subject: Sequence[language.Part]
    body: Sequence[language.Part]

    @classmethod
    def of(cls, template: OutboundTemplate | None, subject: str | None, body: str | None) -> _Text:
        if subject is not None:
            subject = " ".join(subject.replace("\x00", "").split())
            if not 0 < len(subject) <= SUBJECT_LENGTH:
                raise InvalidInput("subject", f"A subject has 1 to {SUBJECT_LENGTH} characters.")
        if template is not None:
            named = (subject,) if subject is not None else templates.parsed("subject", template.subject)
            return cls(named, templates.parsed("body", template.body))
        own = (subject,) if subject is not None else (language.Variable("conversation.subject"),)
        return cls(own, (conversations.clean_body(body or ""),))

    def missing(self, known: Mapping[str, str | None]) -> list[str]:
        return list(dict.fromkeys((*language.missing(self.subject, known), *language.missing(self.body, known))))


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of the recipients, read at once."""

    people: Mapping[int, CustomerRecord]
    conversations: Mapping[int, Conversation]
    suppressed: set[int]
    said: Mapping[int, int]
    open: set[int]
    had: Mapping[int, datetime]


def _envelope(
    session: Session,
    recipients: Sequence[Recipient],
    *,
    actor: Actor,
    source: Source,
    template: OutboundTemplate | None,
    text: _Text,
    send_at: datetime | None,
    cancel_on_reply: bool | None,
    allowed: Collection[int] | None,
) -> OutboundEnvelope:
    if not recipients:
        raise InvalidInput("recipients", "Choose at least one customer.")
    _check_time(send_at)
    cairnloop = current()
    envelope = OutboundEnvelope(
        state=EnvelopeState.PREVIEWED,
        source=source,
        template_id=template.id if template else None,
        template_name=template.name if template else "",
        cancel_on_reply=(template.cancel_on_reply if template else True)
        if cancel_on_reply is None
        else cancel_on_reply,
        chosen=len(recipients),
        eligible=0,
        cap=cairnloop.settings.bulk_limit,
        hooked=cairnloop.hooks.configured("ON_OUTBOUND"),
        send_at=send_at,
        created_by_kind=actor.kind,
        created_by=actor.id,
        created_by_name=actor.name,
        created_at=now(),
    )
    session.add(envelope)
    session.flush()
    if len(recipients) > MOST:  # too many even to be looked at one by one
        envelope.eligible = len(recipients)
        return _refuse(session, envelope, actor)
    facts = _facts(session, recipients, template)
    seen: set[int] = set()
    for position, recipient in enumerate(recipients):
        delivery = _written(envelope, position, recipient, facts, text, actor, seen, allowed)
        session.add(delivery)
        envelope.eligible += delivery.state is DeliveryState.PREVIEWED
    session.flush()
    if envelope.eligible > envelope.cap:
        return _refuse(session, envelope, actor)
    record(
        session,
        actor,
        "envelope.preview",
        "envelope",
        envelope.id,
        template_id=envelope.template_id,
        chosen=envelope.chosen,
        eligible=envelope.eligible,
    )
    return envelope


def _refuse(session: Session, envelope: OutboundEnvelope, actor: Actor) -> OutboundEnvelope:
    envelope.state = EnvelopeState.REFUSED
    session.flush()
    record(
        session,
        actor,
        "envelope.refuse",
        "envelope",
        envelope.id,
        template_id=envelope.template_id,
        chosen=envelope.chosen,
        eligible=envelope.eligible,
        cap=envelope.cap,
    )
    return envelope


def _check_time(send_at: datetime | None) -> None:
    if send_at is None:
        return
    if send_at.tzinfo is None:
        raise InvalidInput("send_at", "A time needs a time zone.")
    if send_at > now() + FURTHEST:
        raise InvalidInput("send_at", "Choose a time within the next year.")


def _written(
    envelope: OutboundEnvelope,
    position: int,
    recipient: Recipient,
    facts: _Facts,
    text: _Text,
    actor: Actor,
    seen: set[int],
    allowed: Collection[int] | None,
) -> OutboundDelivery:
    """One recipient's part of an envelope: the text, or why there is none."""
    delivery = OutboundDelivery(
        envelope_id=envelope.id,
        position=position,
        customer_id=recipient.customer_id,
        conversation_id=recipient.conversation_id,
        template_id=envelope.template_id,
        cancel_on_reply=envelope.cancel_on_reply,
        said=facts.said.get(recipient.customer_id, 0),
        had_at=facts.had.get(recipient.customer_id),
        state=DeliveryState.PREVIEWED,
    )
    person = facts.people[recipient.customer_id]
    conversation = facts.conversations.get(recipient.conversation_id or 0)
    delivery.reason = _left_out(recipient, person, conversation, facts, seen, allowed)
    seen.add(recipient.customer_id)
    if delivery.reason is None:
        known = values(conversation, person, actor if actor.kind is ActorKind.OPERATOR else None)
        if missing := text.missing(known):
            delivery.reason, delivery.missing = Reason.VARIABLE, missing
        else:
            subject = " ".join(language.render(text.subject, known).split())[:SUBJECT_LENGTH]
            body = language.render(text.body, known)
            if len(body) > current().settings.message_limit:
                delivery.reason = Reason.TOO_LONG
            else:
                delivery.subject, delivery.body = subject, body.strip()
    if delivery.reason is not None:
        delivery.state = DeliveryState.SKIPPED
    return delivery


def _left_out(
    recipient: Recipient,
    person: CustomerRecord,
    conversation: Conversation | None,
    facts: _Facts,
    seen: Collection[int],
    allowed: Collection[int] | None,
) -> Reason | None:
    forbidden = allowed is not None and recipient.conversation_id is not None
    checks = (
        (person.forgotten_at is not None or (conversation and conversation.erased_at), Reason.FORGOTTEN),
        (forbidden and recipient.conversation_id not in (allowed or ()), Reason.FORBIDDEN),
        (recipient.customer_id in seen, Reason.DUPLICATE),
        (person.id in facts.suppressed, Reason.SUPPRESSED),
        (conversation and conversation.status is ConversationStatus.SPAM, Reason.SPAM),
        (person.id in facts.open, Reason.OPEN),
    )
    return next((reason for applies, reason in checks if applies), None)


def _facts(session: Session, recipients: Iterable[Recipient], template: OutboundTemplate | None) -> _Facts:
    """Six queries, however many recipients.

    Raises:
        NotFound: one of them is not there, or a conversation is another customer's.
    """
    wanted = list(recipients)
    ids = {one.customer_id for one in wanted}
    places = {one.conversation_id for one in wanted if one.conversation_id is not None}
    people = {one.id: one for one in session.scalars(select(CustomerRecord).where(CustomerRecord.id.in_(ids)))}
    found = {one.id: one for one in session.scalars(select(Conversation).where(Conversation.id.in_(places)))}
    for one in wanted:
        place = found.get(one.conversation_id or 0)
        if one.customer_id not in people or (one.conversation_id is not None) != (place is not None):
            raise NotFound("There is no such conversation.")
        if place is not None and place.customer_id != one.customer_id:
            raise NotFound("There is no such conversation.")
    open_ones: set[int] = set()
    had: dict[int, datetime] = {}
    if template is not None:
        theirs = (OutboundDelivery.template_id == template.id, OutboundDelivery.customer_id.in_(ids))
        chosen = select(OutboundDelivery.customer_id).where(*theirs, OutboundDelivery.state.in_(OPEN_STATES))
        open_ones = set(session.scalars(chosen))
        last = select(OutboundDelivery.customer_id, func.max(OutboundDelivery.delivered_at)).where(*theirs)
        rows = session.execute(last.group_by(OutboundDelivery.customer_id))
        had = {number: at for number, at in rows if at is not None}
    return _Facts(people, found, suppression.suppressed(session, people.values()), said(session, ids), open_ones, had)


def said(session: Session, customer_ids: Collection[int]) -> dict[int, int]:
    """How much customers have said in all their conversations: it grows with every word of theirs. One query."""
    rows = session.execute(
        select(Conversation.customer_id, func.sum(Conversation.last_customer_sequence))
        .where(Conversation.customer_id.in_(customer_ids))
        .group_by(Conversation.customer_id)
    )
    return {number: int(total) for number, total in rows}


# --- sending ----------------------------------------------------------------------------------------------------------


def submit(session: Session, envelope_id: int, *, actor: Acting) -> OutboundEnvelope:
    """Send what was previewed: exactly that, each by a job of its own. Of two who do this at once, one does.

    Raises:
        NotFound: there is no such envelope.
        IllegalTransition: it was sent, refused or discarded already.
        Conflict: it was previewed more than a day ago.
    """
    actor = as_actor(actor)
    envelope = lock(session, envelope_id)
    if envelope.state is not EnvelopeState.PREVIEWED:
        raise IllegalTransition("envelope", envelope.state.value, "be sent")
    if now() - envelope.created_at > PREVIEW_KEPT:
        raise Conflict("This preview is older than a day. Make it anew.")
    rows = [one for one in _rows(session, envelope_id) if one.state is DeliveryState.PREVIEWED]
    if not rows:
        raise Conflict("There is nobody to send this to.")
    cap = current().settings.bulk_limit
    if len(rows) > cap:  # the cap is lower than it was
        envelope.cap, envelope.eligible = cap, len(rows)
        return _refuse(session, envelope, actor)
    taken = _on_their_way(session, envelope.template_id, {one.customer_id for one in rows})
    envelope.state, envelope.submitted_at = EnvelopeState.SUBMITTED, now()
    envelope.submitted_by_kind, envelope.submitted_by, envelope.submitted_by_name = actor.kind, actor.id, actor.name
    session.flush()
    at = due(max(envelope.send_at or now(), now()))
    for delivery in rows:
        if delivery.customer_id in taken:
            step(session, delivery, "be skipped", actor, reason=Reason.OPEN)
        else:
            step(session, delivery, "be scheduled", actor, due_at=at)
            ask_for(session, delivery)
    record(
        session,
        actor,
        "envelope.send",
        "envelope",
        envelope.id,
        template_id=envelope.template_id,
        recipients=len(rows) - len(taken),
    )
    return envelope


def _on_their_way(session: Session, template_id: int | None, customers: Collection[int]) -> set[int]:
    """Who of these customers has one of this template on its way. Nobody else sends it until the commit."""
    if template_id is None:
        return set()
    session.execute(select(OutboundTemplate.id).where(OutboundTemplate.id == template_id).with_for_update())
    found = session.scalars(
        select(OutboundDelivery.customer_id).where(
            OutboundDelivery.template_id == template_id,
            OutboundDelivery.customer_id.in_(customers),
            OutboundDelivery.state.in_(OPEN_STATES),
        )
    )
    return set(found)


def ask_for(
    session: Session,
    delivery: OutboundDelivery,
    *,
    delay: timedelta | None = None,
    again: Mapping[str, str] | None = None,
) -> None:
    """Have a delivery sent when it is due.

    Args:
        delay: not before so long from now.
        again: the person who sends it once more, see :func:`~flask_cairnloop.outbound.sender.kept`.
    """
    # The conversation stands there so that the job goes when its customer is forgotten.
    arguments: dict[str, Any] = {"delivery_id": delivery.id, "conversation_id": delivery.conversation_id}
    enqueue(
        session,
        JOB,
        arguments | ({"again": dict(again)} if again else {}),
        run_at=None if delay else delivery.due_at,
        delay=delay,
        unique_key=f"{JOB}:{delivery.id}",
    )


def split(session: Session, envelope_id: int, *, actor: Acting) -> list[OutboundEnvelope]:
    """Make previews under the cap out of one that was refused. Their texts are those that were previewed.

    Raises:
        NotFound: there is no such envelope.
        IllegalTransition: it was not refused, or was split already.
        Conflict: there is nothing to be split, as it had too many or is too old.
    """
    actor = as_actor(actor)
    envelope = lock(session, envelope_id)
    if envelope.state is not EnvelopeState.REFUSED or envelope.split_at is not None:
        raise IllegalTransition("envelope", "split" if envelope.split_at else envelope.state.value, "be split")
    rows = [one for one in _rows(session, envelope_id) if one.state is DeliveryState.PREVIEWED]
    if not rows:
        raise Conflict("This cannot be split any more. Choose the customers again.")
    cap = current().settings.bulk_limit
    parts = []
    for start in range(0, len(rows), cap):
        chunk = rows[start : start + cap]
        part = OutboundEnvelope(
            state=EnvelopeState.PREVIEWED,
            source=envelope.source,
            template_id=envelope.template_id,
            template_name=envelope.template_name,
            cancel_on_reply=envelope.cancel_on_reply,
            chosen=len(chunk),
            eligible=len(chunk),
            cap=cap,
            hooked=envelope.hooked,
            send_at=envelope.send_at,
            parent_id=envelope.id,
            created_by_kind=actor.kind,
            created_by=actor.id,
            created_by_name=actor.name,
            created_at=now(),
        )
        session.add(part)
        session.flush()
        for position, delivery in enumerate(chunk):
            delivery.envelope_id, delivery.position = part.id, position
        parts.append(part)
    envelope.split_at = now()
    session.flush()
    record(session, actor, "envelope.split", "envelope", envelope.id, parts=len(parts), recipients=len(rows))
    return parts


def discard(session: Session, envelope_id: int, *, actor: Acting) -> OutboundEnvelope:
    """Throw a preview away. Its texts go.

    Raises:
        NotFound: there is no such envelope.
        IllegalTransition: it is no preview any more.
    """
    envelope = lock(session, envelope_id)
    if envelope.state is not EnvelopeState.PREVIEWED:
        raise IllegalTransition("envelope", envelope.state.value, "be discarded")
    let_go(session, envelope, as_actor(actor))
    return envelope


def let_go(session: Session, envelope: OutboundEnvelope, actor: Actor) -> None:
    """End a preview that nobody sends, or what a refused one has kept. It is locked."""
    if envelope.state is EnvelopeState.PREVIEWED:
        envelope.state = EnvelopeState.DISCARDED
        record(session, actor, "envelope.discard", "envelope", envelope.id)
    session.execute(
        update(OutboundDelivery)
        .where(OutboundDelivery.envelope_id == envelope.id, OutboundDelivery.state == DeliveryState.PREVIEWED)
        .values(
            state=DeliveryState.CANCELLED, reason=Reason.DISCARDED, subject="", body="", missing=[], changed_at=now()
        )
        .execution_options(synchronize_session=False)
    )
    session.expire_all()


# --- what a person decides about one ----------------------------------------------------------------------------------


def cancel(session: Session, delivery_id: int, *, actor: Acting) -> OutboundDelivery:
    """Stop a follow-up that has not left. One that an earlier attempt may have sent is uncertain then.

    Raises:
        NotFound: there is none.
        IllegalTransition: it is leaving, or has left, or is over.
    """
    delivery, _, _ = transitions.lock(session, delivery_id)
    if delivery.state is not DeliveryState.SCHEDULED:
        raise IllegalTransition("follow-up", delivery.state.value, "be cancelled")
    transitions.stop(session, delivery, "be cancelled", as_actor(actor), reason=Reason.PERSON)
    return delivery


def cancel_pending(session: Session, envelope_id: int, *, actor: Acting, allowed: Collection[int] | None = None) -> int:
    """Stop all of an envelope that have not left. Returns how many.

    Args:
        allowed: only these deliveries; all when left out.

    Raises:
        NotFound: there is no such envelope.
    """
    return _each(session, envelope_id, DeliveryState.SCHEDULED, partial(cancel, actor=actor), allowed)


def retry(session: Session, delivery_id: int, *, actor: Acting) -> OutboundDelivery:
    """Send a follow-up that failed once more, under its key and with its text.

    Raises:
        NotFound: there is none.
        IllegalTransition: it has not failed.
        Conflict: another one of its template is on its way to this customer.
    """
    delivery, _, _ = transitions.lock(session, delivery_id)
    if delivery.state is not DeliveryState.FAILED:
        raise IllegalTransition("follow-up", delivery.state.value, "be tried again")
    return _again(session, delivery, as_actor(actor))


def retry_failed(session: Session, envelope_id: int, *, actor: Acting, allowed: Collection[int] | None = None) -> int:
    """Send all of an envelope that failed once more. Returns how many.

    Args:
        allowed: only these deliveries; all when left out.

    Raises:
        NotFound: there is no such envelope.
    """
    return _each(session, envelope_id, DeliveryState.FAILED, partial(retry, actor=actor), allowed)


def mark_delivered(session: Session, delivery_id: int, *, actor: Acting, reason: str) -> OutboundDelivery:
    """Say that one of which nobody knew has reached the customer. Its words stand in the chat then.

    Args:
        reason: how the actor knows.

    Raises:
        NotFound: there is none.
        IllegalTransition: it is not uncertain.
        InvalidInput: no reason is given.
    """
    from flask_cairnloop.outbound.sending import put_into_thread

    delivery, conversation, person = transitions.lock(session, delivery_id)
    if delivery.state is not DeliveryState.UNCERTAIN:
        raise IllegalTransition("follow-up", delivery.state.value, "be marked as delivered")
    words = _reason(reason)
    put_into_thread(session, delivery, conversation, person)
    step(
        session,
        delivery,
        "be delivered",
        as_actor(actor),
        words=words,
        delivered_at=now(),
        failure=None,
        in_doubt=False,
    )
    return delivery


def send_again(session: Session, delivery_id: int, *, actor: Acting, reason: str) -> OutboundDelivery:
    """Send one of which nobody knows whether it left once more, under its key.

    Args:
        reason: how the actor knows that it did not leave, or why it does not matter.

    Raises:
        NotFound: there is none.
        IllegalTransition: it is not uncertain.
        InvalidInput: no reason is given.
    """
    delivery, _, _ = transitions.lock(session, delivery_id)
    if delivery.state is not DeliveryState.UNCERTAIN:
        raise IllegalTransition("follow-up", delivery.state.value, "be sent again")
    return _again(session, delivery, as_actor(actor), _reason(reason))


def _again(session: Session, delivery: OutboundDelivery, actor: Actor, words: str | None = None) -> OutboundDelivery:
    if delivery.state is DeliveryState.FAILED and _on_their_way(session, delivery.template_id, [delivery.customer_id]):
        raise Conflict(REASONS[Reason.OPEN])
    anew = {"due_at": due(now()), "attempt": 0, "failure": None, "run_token": None, "in_doubt": False}
    step(session, delivery, "be sent again", actor, words=words, **anew)
    ask_for(session, delivery, again=kept(actor))
    return delivery


def _each(
    session: Session,
    envelope_id: int,
    state: DeliveryState,
    do: Callable[[Session, int], object],
    allowed: Collection[int] | None,
) -> int:
    find(session, envelope_id)
    done = 0
    for one in [row.id for row in _rows(session, envelope_id) if row.state is state]:
        if allowed is not None and one not in allowed:
            continue
        try:
            do(session, one)
            done += 1
        except (Conflict, NotFound):  # it has gone on meanwhile
            continue
    return done


def _reason(reason: str) -> str:
    reason = reason.replace("\x00", "").replace("\r\n", "\n").strip()
    if not 0 < len(reason) <= REASON_LENGTH:
        raise InvalidInput("reason", f"Say in up to {REASON_LENGTH} characters how you know.")
    return reason


# --- what the relay does ----------------------------------------------------------------------------------------------


def cancel_replied(session: Session, *, limit: int) -> int:
    """Stop what waits for customers who have written meanwhile, where the template says so. Returns how many.

    Each is looked at again before it is sent; this is so that nobody reads of one that will not be.
    """
    total = (
        select(func.coalesce(func.sum(Conversation.last_customer_sequence), 0))
        .where(Conversation.customer_id == OutboundDelivery.customer_id)
        .scalar_subquery()
    )
    found = session.scalars(
        select(OutboundDelivery)
        .where(
            OutboundDelivery.state == DeliveryState.SCHEDULED,
            OutboundDelivery.cancel_on_reply,
            ~OutboundDelivery.in_doubt,
            total > OutboundDelivery.said,
        )
        .order_by(OutboundDelivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=OutboundDelivery)
        .execution_options(populate_existing=True)
    ).all()
    for delivery in found:
        step(session, delivery, "be cancelled", SYSTEM, reason=Reason.REPLIED)
    return len(found)


# --- shared -----------------------------------------------------------------------------------------------------------


def find(session: Session, envelope_id: int) -> OutboundEnvelope:
    """An envelope.

    Raises:
        NotFound: there is none.
    """
    found = session.get(OutboundEnvelope, envelope_id)
    if found is None:
        raise NotFound("There is no such envelope.")
    return found


def lock(session: Session, envelope_id: int) -> OutboundEnvelope:
    """An envelope under its lock, as it is now.

    Raises:
        NotFound: there is none.
    """
    session.flush()
    found = session.get(OutboundEnvelope, envelope_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound("There is no such envelope.")
    publish(session, "console", "outbound", envelope_id=envelope_id, conversation_id=None, state="envelope")
    return found


def _rows(session: Session, envelope_id: int) -> list[OutboundDelivery]:
    return list(
        session.scalars(
            select(OutboundDelivery)
            .where(OutboundDelivery.envelope_id == envelope_id)
            .order_by(OutboundDelivery.position, OutboundDelivery.id)
        )
    )
