"""The one table of what may happen to a delivery, and the one way to let it happen."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.errors import CustomerForgotten, IllegalTransition, NotFound
from flask_cairnloop.jobs import publish, send_signal
from flask_cairnloop.outbound.models import OutboundDelivery
from flask_cairnloop.outbound.types import DeliveryState

SYSTEM: Final = Actor.system("outbound")
_S = DeliveryState

# Step -> states it may start from -> state it leads to.
TRANSITIONS: Final[dict[str, tuple[frozenset[DeliveryState], DeliveryState]]] = {
    "be scheduled": (frozenset({_S.PREVIEWED}), _S.SCHEDULED),
    "be skipped": (frozenset({_S.PREVIEWED, _S.SCHEDULED}), _S.SKIPPED),
    "be handed over": (frozenset({_S.SCHEDULED, _S.SENDING}), _S.SENDING),
    "be delivered": (frozenset({_S.SCHEDULED, _S.SENDING, _S.UNCERTAIN}), _S.DELIVERED),
    "be tried again": (frozenset({_S.SENDING}), _S.SCHEDULED),
    "fail": (frozenset({_S.SCHEDULED, _S.SENDING, _S.UNCERTAIN}), _S.FAILED),
    "become uncertain": (frozenset({_S.SCHEDULED, _S.SENDING}), _S.UNCERTAIN),
    "be cancelled": (frozenset({_S.PREVIEWED, _S.SCHEDULED, _S.UNCERTAIN}), _S.CANCELLED),
    "be sent again": (frozenset({_S.FAILED, _S.UNCERTAIN}), _S.SCHEDULED),
}
# What the audit log calls them; what is not in it is told by a later step.
_RECORDED: Final = {
    "be skipped": "outbound.skip",
    "be handed over": "outbound.hand_over",
    "be delivered": "outbound.deliver",
    "be tried again": "outbound.retry",
    "fail": "outbound.fail",
    "become uncertain": "outbound.uncertain",
    "be cancelled": "outbound.cancel",
    "be sent again": "outbound.send_again",
}


def check(delivery: OutboundDelivery, name: str) -> None:
    """Refuse a step that its state does not allow.

    Raises:
        IllegalTransition: it does not.
    """
    if delivery.state not in TRANSITIONS[name][0]:
        raise IllegalTransition("follow-up", delivery.state.value, name)


def step(
    session: Session,
    delivery: OutboundDelivery,
    name: str,
    actor: Actor,
    *,
    words: str | None = None,
    **values: Any,
) -> None:
    """Take a step with a delivery that is locked.

    Args:
        words: why, in the actor's own words.
        values: what changes with it.

    Raises:
        IllegalTransition: its state does not allow it.
    """
    check(delivery, name)
    delivery.state = TRANSITIONS[name][1]
    delivery.changed_at = now()
    delivery.sending_since = now() if delivery.state is _S.SENDING else None
    for column, value in values.items():
        setattr(delivery, column, value)
    session.flush()
    if name in _RECORDED:
        record(
            session,
            actor,
            _RECORDED[name],
            "follow_up",
            delivery.id,
            words=words,
            customer_id=delivery.customer_id,
            envelope_id=delivery.envelope_id,
            conversation_id=delivery.conversation_id,
            **({"because": delivery.reason.value} if delivery.reason else {}),
        )
    tell(session, delivery)
    if delivery.state is _S.DELIVERED:
        send_signal(
            session,
            signals.outbound_delivered,
            delivery_id=delivery.id,
            envelope_id=delivery.envelope_id,
            conversation_id=delivery.conversation_id,
        )


def stop(session: Session, delivery: OutboundDelivery, name: str, actor: Actor, **values: Any) -> None:
    """Take a step after which nothing is sent. Where an earlier attempt may have sent it, that is what is said."""
    if delivery.in_doubt:
        step(session, delivery, "become uncertain", actor, failure=values.get("failure") or delivery.failure)
    else:
        step(session, delivery, name, actor, **values)


def tell(session: Session, delivery: OutboundDelivery) -> None:
    """Tell open pages of the team that a delivery is not as it was."""
    publish(
        session,
        "console",
        "outbound",
        envelope_id=delivery.envelope_id,
        conversation_id=delivery.conversation_id,
        state=delivery.state.value,
    )


def lock(session: Session, delivery_id: int) -> tuple[OutboundDelivery, Conversation | None, CustomerRecord]:
    """A delivery under its lock, as it is now, with its conversation under its own, where it has one, and its customer.

    The conversation is locked first, as whoever forgets a customer does.

    Raises:
        NotFound: there is none, or, as ``CustomerForgotten``, none any more.
    """
    session.flush()
    found = session.execute(
        select(OutboundDelivery.conversation_id, OutboundDelivery.customer_id).where(OutboundDelivery.id == delivery_id)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such follow-up.")
    conversation = None
    if found.conversation_id is None:
        person = session.get_one(CustomerRecord, found.customer_id, with_for_update=True, populate_existing=True)
    else:
        conversation = conversations.lock(session, found.conversation_id)
        person = session.get_one(CustomerRecord, found.customer_id, populate_existing=True)
    if person.forgotten_at is not None:
        raise CustomerForgotten
    delivery = session.get_one(OutboundDelivery, delivery_id, with_for_update=True, populate_existing=True)
    return delivery, conversation, person
