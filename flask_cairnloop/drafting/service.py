"""What an operator can do with a draft. Nothing reaches a customer but through ``conversations.service.send``."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Message
from flask_cairnloop.drafting import lifecycle, marks
from flask_cairnloop.drafting.differences import share_changed
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.retrieval.types import SimilarCase

DISCARD_REASONS = ("wrong", "incomplete", "tone", "not_needed", "other")
NOTE_LENGTH = 500  # characters


def open_draft(session: Session, conversation_id: int) -> Draft | None:
    """The draft that is being made or waits for a decision."""
    return lifecycle.find_open(session, conversation_id)


def similar_cases(session: Session, conversation_id: int) -> list[SimilarCase]:
    """Which resolved conversations were found similar when the newest draft was made; some may be gone by now."""
    numbers = session.scalar(
        select(Draft.grounding_numbers)
        .where(Draft.conversation_id == conversation_id, Draft.grounding.is_not(None))
        .order_by(Draft.id.desc())
        .limit(1)
    )
    return [SimilarCase(int(number), float(similarity)) for number, similarity in (numbers or {}).get("cases", ())]


def without_marks(draft: Draft, body: str | None = None) -> str:
    """A draft's text, or an operator's version of it, as the customer reads it: without citation numbers."""
    return marks.without((draft.body if body is None else body).replace("\r\n", "\n"), _numbers(draft))


def _numbers(draft: Draft) -> set[int]:
    return {int(citation["number"]) for citation in draft.citations}


def approve(
    session: Session, draft_id: int, *, actor: Actor, seen: int | None = None, body: str | None = None
) -> Message:
    """Send a draft, as it stands or as the operator changed it. A draft is sent at most once.

    Args:
        seen: sequence of the newest message the operator had before them.
        body: the operator's text; the draft's own when left out or the same.

    Raises:
        NotFound: there is no such draft.
        IllegalTransition: it is not ready; with state ``approved`` or ``edited`` it was sent already.
        Conflict: it is an escalation or material to copy, which cannot be sent as it stands.
        InvalidInput: the text is empty or too long.
        StaleConversation: the customer has written after ``seen``.
    """
    draft, conversation, words = approvable(session, draft_id, seen=seen, body=body)
    return send_approved(session, draft, conversation, actor, words)


def approvable(
    session: Session, draft_id: int, *, seen: int | None = None, body: str | None = None
) -> tuple[Draft, Conversation, str]:
    """A draft that can be sent now, and the words that would be; it and its conversation are locked.

    The arguments, and the errors, are those of :func:`approve`.
    """
    draft, conversation = _lock(session, draft_id)
    if draft.state is DraftState.SUPERSEDED:
        conversations.check_seen(conversation, seen)  # newer words say more than what became of the draft
    if draft.state is not DraftState.READY:
        raise IllegalTransition("draft", draft.state.value, "be approved")
    conversations.check_seen(conversation, seen)
    if draft.kind is DraftKind.ESCALATION:
        raise Conflict("This draft hands over to a person; there is no text to send. Write the reply yourself.")
    if draft.policy is PolicyDecision.DRAFT_ONLY:
        raise Conflict("The policy keeps this draft as material only. Copy it into your reply.")
    return draft, conversation, conversations.clean_body(without_marks(draft, body))


def send_automatically(session: Session, draft: Draft, conversation: Conversation, policy: str) -> Message:
    """Send a ready draft because the policy allowed it. Draft and conversation are locked already."""
    words = conversations.clean_body(without_marks(draft))
    return send_approved(session, draft, conversation, Actor.policy(policy), words)


def send_approved(session: Session, draft: Draft, conversation: Conversation, actor: Actor, words: str) -> Message:
    """Send the words of a ready draft, as they were decided on. Draft and conversation are locked already."""
    proposed = without_marks(draft)
    edited = words != proposed
    draft.changed = share_changed(proposed, words)
    lifecycle.decide(draft, actor)
    lifecycle.step(session, draft, "be edited and sent" if edited else "be approved", actor)
    return conversations.send(
        session, conversation, actor=actor, body=words, draft_id=draft.id, citations=draft.citations
    )


def discard(session: Session, draft_id: int, *, actor: Actor, reason: str, note: str | None = None) -> Draft:
    """Throw a draft away. The conversation goes on waiting for a person.

    Of a reply that was wrong or incomplete, search learns that no article answered its question, until a reply in the
    conversation cites one after all.

    Args:
        reason: one of :data:`DISCARD_REASONS`.
        note: what there is to say beside it, for the team; at most :data:`NOTE_LENGTH` characters.

    Raises:
        InvalidInput: the reason is none of those, or the note is too long.
        IllegalTransition: the draft is not open.
    """
    if reason not in DISCARD_REASONS:
        raise InvalidInput("reason", "Choose why the draft is discarded.")
    note = (note or "").replace("\r\n", "\n").replace("\x00", "").strip()
    if len(note) > NOTE_LENGTH:
        raise InvalidInput("note", f"A note has at most {NOTE_LENGTH} characters; this one has {len(note):,}.")
    draft, conversation = _lock(session, draft_id)
    lifecycle.check(draft, "be discarded")
    lifecycle.decide(draft, actor, reason, note or None)
    about = {"words": note, "customer_id": conversation.customer_id}
    lifecycle.step(session, draft, "be discarded", actor, reason=reason, **about)
    if draft.kind is DraftKind.REPLY and reason in lifecycle.NOT_ANSWERED:
        enqueue(session, lifecycle.LEARN_DISCARD, {"conversation_id": draft.conversation_id, "draft_id": draft.id})
    return draft


def regenerate(session: Session, conversation_id: int, *, actor: Actor) -> Draft:
    """Make a new draft for the customer's newest words, in place of an open one.

    Raises:
        IllegalTransition: the conversation is resolved, or the customer has not written anything.
    """
    conversation = conversations.lock(session, conversation_id)
    if conversation.status is not ConversationStatus.OPEN or not conversation.last_customer_sequence:
        raise IllegalTransition("conversation", conversation.status.value, "get a new draft")
    lifecycle.withdraw(session, conversation, because="regenerate", actor=actor)
    return lifecycle.start(session, conversation.id, answers=conversation.last_customer_sequence, actor=actor)


def _lock(session: Session, draft_id: int) -> tuple[Draft, Conversation]:
    """A draft and its conversation, the conversation locked first as everywhere else."""
    conversation_id = session.scalar(select(Draft.conversation_id).where(Draft.id == draft_id))
    if conversation_id is None:
        raise NotFound("There is no such draft.")
    conversation = conversations.lock(session, conversation_id)
    draft = session.scalars(select(Draft).where(Draft.id == draft_id).execution_options(populate_existing=True)).one()
    return draft, conversation
