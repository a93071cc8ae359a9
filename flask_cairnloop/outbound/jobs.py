"""Deferred work about follow-ups: each delivery, what a customer's words stop, and what nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.errors import Conflict
from flask_cairnloop.jobs import JobContext, job
from flask_cairnloop.jobs.registry import chore
from flask_cairnloop.outbound import sending, service
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.transitions import SYSTEM
from flask_cairnloop.outbound.types import OPEN_STATES, DeliveryState, EnvelopeState

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

BATCH = 100
# Seconds. Host code is asked six times at most: who the sender is, whether they may by either of two permissions, in
# general and here; and to deliver. Each may use its whole time; the rest is ours.
TIMEOUT = 6 * LONGEST_HOOK + 60


def give_up(context: JobContext, *, delivery_id: int, **_: object) -> None:
    """The follow-up will not be sent by this job: say so on it."""
    sending.give_up(context, delivery_id)


def never_again(context: JobContext, *, delivery_id: int, **_: object) -> None:
    """Somebody wants the job run again. Whether the follow-up may be sent is decided on its envelope's page."""
    delivery = context.session.get(OutboundDelivery, delivery_id)
    if delivery is None or delivery.state is not DeliveryState.SCHEDULED:
        raise Conflict("This follow-up is over, or nobody knows how it ended. Look at its envelope.")


@job(service.JOB, max_attempts=8, timeout=TIMEOUT, on_dead=give_up, on_retry=never_again)
def deliver(context: JobContext, *, delivery_id: int, again: Mapping[str, str] | None = None, **_: object) -> None:
    """Send a follow-up."""
    sending.deliver(context, delivery_id, again)


@chore("outbound.cancel_replied", every=10)
def cancel_replied(_: Cairnloop, session: Session) -> bool:
    """Stop what waits for customers who have written meanwhile."""
    return service.cancel_replied(session, limit=BATCH) == BATCH


@chore("outbound.let_go", every=600)
def let_go(_: Cairnloop, session: Session) -> bool:
    """Let go of the texts of previews that nobody has sent within a day."""
    kept = exists().where(
        OutboundDelivery.envelope_id == OutboundEnvelope.id, OutboundDelivery.state == DeliveryState.PREVIEWED
    )
    waits = OutboundEnvelope.state == EnvelopeState.PREVIEWED
    found = session.scalars(
        select(OutboundEnvelope)
        .where(
            OutboundEnvelope.created_at < now() - service.PREVIEW_KEPT,
            waits | ((OutboundEnvelope.state == EnvelopeState.REFUSED) & kept),
        )
        .order_by(OutboundEnvelope.created_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    for envelope in found:
        service.let_go(session, envelope, SYSTEM)
    return len(found) == BATCH


@chore("outbound.cut", every=600)
def cut(cairnloop: Cairnloop, session: Session) -> bool:
    """Delete envelopes older than ``RETENTION_OUTBOUND`` of which nothing is on its way. What was sent stays in the
    chats."""
    seconds = cairnloop.settings.retention_outbound
    if seconds == 0:
        return False
    unsettled = exists().where(
        OutboundDelivery.envelope_id == OutboundEnvelope.id,
        OutboundDelivery.state.in_((*OPEN_STATES, DeliveryState.PREVIEWED)),
    )
    old = (
        select(OutboundEnvelope.id)
        .where(OutboundEnvelope.created_at < now() - timedelta(seconds=seconds), ~unsettled)
        .order_by(OutboundEnvelope.created_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    gone = session.scalars(delete(OutboundEnvelope).where(OutboundEnvelope.id.in_(old)).returning(OutboundEnvelope.id))
    return len(gone.all()) == BATCH
