"""The values of follow-ups: their states, why one is not sent, and what ``ON_OUTBOUND`` is given and may answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from flask_cairnloop.hooks import Customer

REASON_LENGTH = 500
REFERENCE_LENGTH = 200
F = TypeVar("F", bound=Callable[..., object])


class EnvelopeState(StrEnum):
    PREVIEWED = "previewed"  # stored with the text of each, and not sent
    REFUSED = "refused"  # more than may be sent at once; it stays on record
    SUBMITTED = "submitted"  # somebody has pressed send
    DISCARDED = "discarded"  # nobody sent it, and nobody will


class DeliveryState(StrEnum):
    PREVIEWED = "previewed"
    SCHEDULED = "scheduled"  # its job sends it when it is due
    SENDING = "sending"  # your app is being asked to deliver it
    DELIVERED = "delivered"
    FAILED = "failed"  # it did not leave
    UNCERTAIN = "uncertain"  # nobody knows whether it left
    CANCELLED = "cancelled"  # it was to be sent, and something or somebody stopped it
    SKIPPED = "skipped"  # it was not to be sent, see the reason


OPEN_STATES = frozenset({DeliveryState.SCHEDULED, DeliveryState.SENDING, DeliveryState.UNCERTAIN})
OVER = frozenset({DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELLED, DeliveryState.SKIPPED})


class Reason(StrEnum):
    """Why one is not sent."""

    DUPLICATE = "duplicate"  # the same customer stands before in the same envelope
    FORBIDDEN = "forbidden"  # whoever sends it may not write to them, or not any more when it was to leave
    FORGOTTEN = "forgotten"
    SPAM = "spam"
    SUPPRESSED = "suppressed"
    VARIABLE = "variable"  # a variable of the text has no value
    TOO_LONG = "too_long"
    OPEN = "open"  # one of the same template is on its way already
    REPLIED = "replied"  # the customer wrote after it was previewed
    PERSON = "person"  # an operator stopped it
    DISCARDED = "discarded"  # the preview was thrown away


class Source(StrEnum):
    """How the recipients of an envelope were chosen."""

    CONVERSATION = "conversation"
    SELECTION = "selection"
    LIST = "list"  # a list of the inbox, by its filters
    CUSTOMERS = "customers"  # by name
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A follow-up, as ``ON_OUTBOUND`` is given it, and as it may answer it.

    To answer ``None`` says that it was sent. So does :meth:`sent`; :meth:`failed` and :meth:`later` say that nothing
    has left. A hook that raises :class:`~flask_cairnloop.PermanentFailure` or
    :class:`~flask_cairnloop.RetryableFailure` says the same. Anything else that it raises, and no answer in time, may
    have come after the words had left: then the delivery is uncertain, and a person decides.

    Args:
        key: the same over every attempt, and of no other delivery.
        conversation_id: where the words will stand; ``None`` where the customer has no conversation yet.
        subject, body: exactly what was previewed. Plain text.
        template: the name of the template, if it was made from one.
        author: who of the team sends it, as the customer reads it.
        attempt: 1-based.
        opt_out: path, on your app, of a page where this customer can ask for no more follow-ups.
        outcome: what became of it: ``"sent"``, ``"failed"`` or ``"later"``; empty as long as nobody has said.
        reason: why it was not sent, for operators. Up to 500 characters, and none of the customer's words.
        reference: what the service that took it calls it, to be found there.
    """

    key: str
    customer: Customer
    conversation_id: int | None
    subject: str
    body: str
    template: str
    author: str
    attempt: int
    opt_out: str
    outcome: str = ""
    reason: str = ""
    reference: str = ""

    def sent(self, reference: str = "") -> Delivery:
        """It was handed over.

        Args:
            reference: what the service that took it calls it. Up to 200 characters.
        """
        return replace(self, outcome="sent", reference=reference)

    def failed(self, reason: str) -> Delivery:
        """Nothing has left, and trying again will not help, e.g. as the address does not exist."""
        return replace(self, outcome="failed", reason=reason)

    def later(self, reason: str) -> Delivery:
        """Nothing has left, and it is to be tried again, with growing pauses."""
        return replace(self, outcome="later", reason=reason)


def idempotent(hook: F) -> F:
    """Mark an ``ON_OUTBOUND`` that sends once however often it is called with the same ``key``.

    One that was cut off is called again then, where it would be ``uncertain`` without.
    """
    hook.idempotent = True  # type: ignore[attr-defined]
    return hook
