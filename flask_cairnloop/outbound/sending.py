"""The one place where follow-ups leave.

Without ``ON_OUTBOUND`` a follow-up is put into the chat, in the transaction of its job. With it, a row that says so is
committed before the host is asked, with no transaction open: if nothing is written after it, nobody knows whether the
words left, and a person is asked. Only a hook that is marked ``idempotent`` is called again by itself.

Before each attempt whoever sends it is asked about again: who has lost the permission since sends nothing any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord, MessageKind
from flask_cairnloop.errors import HookFailed, NotFound
from flask_cairnloop.governance.running import Verdict, verdict
from flask_cairnloop.governance.tools import PermanentFailure, RetryableFailure, ToolFailure
from flask_cairnloop.governance.types import ToolKind
from flask_cairnloop.hooks import Customer
from flask_cairnloop.jobs import JobContext
from flask_cairnloop.jobs.runner import backoff
from flask_cairnloop.outbound import sender, service, suppression, transitions
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.transitions import SYSTEM, step
from flask_cairnloop.outbound.types import REASON_LENGTH, REFERENCE_LENGTH, Delivery, DeliveryState, Reason
from flask_cairnloop.telemetry import OUTBOUND, Note, span

ATTEMPTS: Final = 5
CHANNEL: Final = "outbound"  # of a conversation that begins with a follow-up


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One call of the host, and by which name its end is written."""

    delivery: Delivery
    token: str


def deliver(context: JobContext, delivery_id: int, again: Mapping[str, str] | None = None) -> None:
    """Send a follow-up, if it is still to be sent and may be.

    Args:
        again: the person who sends it once more, if one does.
    """
    with span(OUTBOUND) as note:
        note("outbound.hook", context.cairnloop.hooks.configured("ON_OUTBOUND"))
        note("outbound.outcome", _deliver(context, delivery_id, again, note))


def _deliver(context: JobContext, delivery_id: int, again: Mapping[str, str] | None, note: Note) -> str:
    session, hooks = context.session, context.cairnloop.hooks
    denied = _asked(context, delivery_id, again)
    try:
        delivery, conversation, person = transitions.lock(session, delivery_id)
    except NotFound:
        return "gone"
    note("outbound.attempt", delivery.attempt + 1)
    hooked = hooks.configured("ON_OUTBOUND")
    if delivery.state is DeliveryState.SENDING:  # it was cut off
        delivery.in_doubt = True
        if denied or not (hooked and hooks.outbound_is_idempotent and delivery.attempt < ATTEMPTS):
            step(session, delivery, "become uncertain", SYSTEM, failure=denied or delivery.failure)
            return delivery.state.value
    elif delivery.state is not DeliveryState.SCHEDULED or not _due(session, delivery, again):
        return delivery.state.value
    elif (reason := stopped_by(session, delivery, conversation, person)) is not None:
        name = "be cancelled" if reason is Reason.REPLIED else "be skipped"
        transitions.stop(session, delivery, name, SYSTEM, reason=reason)
        return delivery.state.value
    elif denied:
        transitions.stop(session, delivery, "be skipped", SYSTEM, reason=Reason.FORBIDDEN, failure=denied)
        return delivery.state.value
    if not hooked:
        put_into_thread(session, delivery, conversation, person)
        step(session, delivery, "be delivered", SYSTEM, delivered_at=now(), in_doubt=False)
        return delivery.state.value
    return _outside(context, delivery, person, again)


def _asked(context: JobContext, delivery_id: int, again: Mapping[str, str] | None) -> str | None:
    """Why whoever sends this may not any more, in a sentence; ``None`` when they may. No transaction is open after it.

    Raises:
        HookFailed: the host could not be asked; the job tries again.
    """
    session = context.session
    found = session.execute(
        select(OutboundDelivery.state, OutboundDelivery.conversation_id, OutboundEnvelope)
        .join(OutboundEnvelope, OutboundEnvelope.id == OutboundDelivery.envelope_id)
        .where(OutboundDelivery.id == delivery_id)
    ).one_or_none()
    context.release()
    if found is None or found.state not in (DeliveryState.SCHEDULED, DeliveryState.SENDING):
        return None
    who = sender.sender_of(found.OutboundEnvelope, author_of(found.OutboundEnvelope), again)
    return sender.denial(context.cairnloop.hooks, who, found.conversation_id) if who else None


def _due(session: Session, delivery: OutboundDelivery, again: Mapping[str, str] | None) -> bool:
    """Whether it may leave now that its job runs; in quiet hours it is asked for again."""
    moment = now()
    at = service.due(moment)
    if at <= moment:
        return True
    delivery.due_at = at
    session.flush()
    service.ask_for(session, delivery, again=again)
    return False


def stopped_by(
    session: Session, delivery: OutboundDelivery, conversation: Conversation | None, person: CustomerRecord
) -> Reason | None:
    """What came between a preview and its sending, if anything did. The delivery is locked."""
    if suppression.suppressed(session, [person]):
        return Reason.SUPPRESSED
    if conversation is not None and conversation.status is ConversationStatus.SPAM:
        return Reason.SPAM
    said = service.said(session, [person.id]).get(person.id, 0)
    return Reason.REPLIED if delivery.cancel_on_reply and said > delivery.said else None


# --- the host ---------------------------------------------------------------------------------------------------------


def _outside(
    context: JobContext, delivery: OutboundDelivery, person: CustomerRecord, again: Mapping[str, str] | None
) -> str:
    session, number = context.session, delivery.id
    token = secrets.token_hex(16)
    attempts = delivery.attempt + 1
    step(session, delivery, "be handed over", SYSTEM, attempt=attempts, run_token=token)
    attempt = _Attempt(_told(session, delivery, person), token)
    context.keep()
    context.release()

    failure: Exception | None = None
    answer: Delivery | None = None
    try:
        answer = context.cairnloop.hooks.deliver_outbound(attempt.delivery)
    except (HookFailed, ToolFailure) as error:
        failure = error
    if answer is not None and answer.outcome in ("failed", "later"):
        kind = PermanentFailure if answer.outcome == "failed" else RetryableFailure
        failure = kind(answer.reason)

    try:
        delivery, conversation, person = transitions.lock(session, number)
    except NotFound:
        return "gone"
    ours = delivery.run_token == token and delivery.state in (DeliveryState.SENDING, DeliveryState.UNCERTAIN)
    if not ours:  # taken over, or settled by a person meanwhile
        return "gone"
    if failure is not None:
        return _not_sent(context, delivery, failure, again)
    put_into_thread(session, delivery, conversation, person)
    reference = _clean(answer.reference, REFERENCE_LENGTH) if answer else ""
    ended: dict[str, Any] = {"delivered_at": now(), "failure": None, "reference": reference or None, "in_doubt": False}
    step(session, delivery, "be delivered", SYSTEM, **ended)
    return delivery.state.value


def _told(session: Session, delivery: OutboundDelivery, person: CustomerRecord) -> Delivery:
    """A delivery, as the host is given it."""
    envelope = session.get_one(OutboundEnvelope, delivery.envelope_id)
    return Delivery(
        key=delivery.key,
        customer=Customer(person.ref, person.name, person.email, person.organization),
        conversation_id=delivery.conversation_id,
        subject=delivery.subject,
        body=delivery.body,
        template=envelope.template_name,
        author=author_of(envelope).name,
        attempt=delivery.attempt,
        opt_out=suppression.opt_out_path(person),
    )


def _not_sent(
    context: JobContext, delivery: OutboundDelivery, failure: Exception, again: Mapping[str, str] | None
) -> str:
    """Write down an attempt that did not succeed, and what follows: as with an action of the host's."""
    session, hooks = context.session, context.cairnloop.hooks
    decided = verdict(
        ToolKind.EXTERNAL, hooks.outbound_is_idempotent, failure, attempts_left=delivery.attempt < ATTEMPTS
    )
    if delivery.state is DeliveryState.UNCERTAIN and decided is not Verdict.FAIL:
        return delivery.state.value  # nothing is known that was not known
    words = _said(failure)
    delivery.in_doubt = delivery.in_doubt or not isinstance(failure, ToolFailure)
    if decided is Verdict.RETRY:
        delay = backoff(delivery.attempt)
        step(session, delivery, "be tried again", SYSTEM, failure=words, due_at=now() + delay)
        service.ask_for(session, delivery, delay=delay, again=again)
    elif decided is Verdict.FAIL:
        transitions.stop(session, delivery, "fail", SYSTEM, failure=words)
    else:
        step(session, delivery, "become uncertain", SYSTEM, failure=words)
    return delivery.state.value


def _said(failure: Exception) -> str:
    if isinstance(failure, ToolFailure):
        return _clean(str(failure), REASON_LENGTH) or "Your app gave no reason."
    if isinstance(failure, HookFailed) and failure.reason == "timeout":
        return "Your app did not answer in time."
    return f"Your app failed: {getattr(failure, 'detail', type(failure).__name__)}."[:REASON_LENGTH]


def _clean(text: str, length: int) -> str:
    return str(text).replace("\x00", "").strip()[:length]


def give_up(context: JobContext, delivery_id: int) -> None:
    """Its job will not run any more: say on the delivery what that means."""
    session = context.session
    try:
        delivery, _, _ = transitions.lock(session, delivery_id)
    except NotFound:
        return
    actor = context.actor or SYSTEM
    if delivery.state is DeliveryState.SENDING:
        step(session, delivery, "become uncertain", actor)
    elif delivery.state is DeliveryState.SCHEDULED:
        words = "Its job was discarded before it ran." if context.actor else "It could not be sent: its job failed."
        transitions.stop(session, delivery, "fail", actor, failure=words)


# --- the thread -------------------------------------------------------------------------------------------------------


def put_into_thread(
    session: Session, delivery: OutboundDelivery, conversation: Conversation | None, person: CustomerRecord
) -> None:
    """Let a follow-up stand in the customer's chat, word for word. Everything is locked.

    It takes nobody's place in the queue: a conversation that is resolved stays so, who waits for an answer waits on.
    """
    author = author_of(session.get_one(OutboundEnvelope, delivery.envelope_id))
    if conversation is None:
        conversation = conversations.open_for(session, person, actor=author, subject=delivery.subject, channel=CHANNEL)
    message = conversations.append(
        session,
        conversation,
        MessageKind.FOLLOW_UP,
        author,
        delivery.body,
        data={"delivery_id": delivery.id},
        key=f"outbound:{delivery.key}",
    )
    delivery.conversation_id, delivery.message_id = conversation.id, message.id


def author_of(envelope: OutboundEnvelope) -> Actor:
    """Who sends an envelope; whoever made it, as long as nobody has."""
    if envelope.submitted_by is not None:
        return Actor(
            envelope.submitted_by_kind or ActorKind.SYSTEM, envelope.submitted_by, envelope.submitted_by_name or ""
        )
    return Actor(envelope.created_by_kind, envelope.created_by, envelope.created_by_name)
