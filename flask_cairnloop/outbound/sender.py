"""Asking whether whoever sends a follow-up still may, as they are when it leaves.

Everything here calls the host's code, so no transaction of ours should be open, and nothing here writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.governance.standing import allowed, person_of
from flask_cairnloop.hooks import Hooks, Permission, Subject
from flask_cairnloop.outbound.models import OutboundEnvelope
from flask_cairnloop.outbound.types import REASON_LENGTH, Source

SEND, BULK = Permission.OUTBOUND_SEND, Permission.OUTBOUND_BULK
SENDERS: Final = (SEND, BULK)  # whoever may send to several may send to one


@dataclass(frozen=True, slots=True)
class Sender:
    """The person who stands behind a follow-up that is to leave.

    Args:
        several: whether they sent it to several at once, which takes a permission of its own.
    """

    person: Actor
    several: bool


def kept(actor: Actor) -> dict[str, str] | None:
    """Who sends one once more, as the arguments of its job keep them; ``None``: it is no person."""
    return {"id": actor.id, "name": actor.name} if actor.kind is ActorKind.OPERATOR else None


def sender_of(envelope: OutboundEnvelope, author: Actor, again: Mapping[str, str] | None) -> Sender | None:
    """Who stands behind a delivery: whoever sent it once more, else whoever sent its envelope.

    ``None`` where nobody was asked in the first place: the host's code sent it, or no person did.
    """
    if again is not None:
        return Sender(Actor(ActorKind.OPERATOR, again["id"], again["name"]), several=False)
    if envelope.source is Source.HOST or author.kind is not ActorKind.OPERATOR:
        return None
    return Sender(author, several=envelope.eligible > 1 or envelope.chosen > 1)


def denial(hooks: Hooks, sender: Sender, conversation_id: int | None) -> str | None:
    """Why somebody may not send this any more, in a sentence; ``None`` when they may.

    Without ``OPERATOR_RESOLVER`` nobody is known outside a request: then what they could when they sent it counts.

    Raises:
        HookFailed: the host could not be asked, which is no answer.
    """
    if not hooks.configured("OPERATOR_RESOLVER"):
        return None
    operator = person_of(hooks, sender.person)
    if operator is None:
        return f"{sender.person.name}, who sent it, is not an operator any more."[:REASON_LENGTH]
    needed = (BULK,) if sender.several else SENDERS
    if not any(allowed(hooks, operator, one, None) for one in needed):
        return f"{operator.name}, who sent it, lacks the permission {needed[0].value} now."[:REASON_LENGTH]
    place = Subject("conversation", conversation_id) if conversation_id is not None else None
    if place is not None and not any(allowed(hooks, operator, one, place) for one in SENDERS):
        return f"{operator.name}, who sent it, may not write to them any more."[:REASON_LENGTH]
    return None
