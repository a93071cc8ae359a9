"""The state machine of a draft, and the two things that happen to drafts because a conversation moves on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import CTE, func, select, update
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.database.base import word
from flask_cairnloop.drafting.models import OPEN_STATES, Draft, DraftState
from flask_cairnloop.errors import IllegalTransition
from flask_cairnloop.jobs import enqueue, publish_conversation, send_signal
from flask_cairnloop.jobs.outbox import request_of, request_terms, requested

JOB = "drafting.draft"
LEARN_DISCARD = "drafting.learn_discard"
NOT_ANSWERED = ("wrong", "incomplete")  # reasons for which a discarded reply did not answer its question
SYSTEM = Actor.system("drafting")

# The one table of allowed steps: step -> states it may start from -> state it leads to.
TRANSITIONS: dict[str, tuple[frozenset[DraftState], DraftState]] = {
    "become ready": (frozenset({DraftState.GENERATING}), DraftState.READY),
    "fail": (frozenset({DraftState.GENERATING}), DraftState.FAILED),
    "be tried again": (frozenset({DraftState.FAILED}), DraftState.GENERATING),
    "be withheld": (frozenset({DraftState.GENERATING}), DraftState.WITHHELD),
    "be approved": (frozenset({DraftState.READY}), DraftState.APPROVED),
    "be edited and sent": (frozenset({DraftState.READY}), DraftState.EDITED),
    "be discarded": (frozenset({DraftState.READY, DraftState.FAILED}), DraftState.DISCARDED),
    "be superseded": (frozenset(OPEN_STATES), DraftState.SUPERSEDED),
}


def check(draft: Draft, name: str) -> None:
    """Whether a step may be taken now.

    Raises:
        IllegalTransition: the draft is not in a state from which it may be.
    """
    if draft.state not in TRANSITIONS[name][0]:
        raise IllegalTransition("draft", draft.state.value, name)


def step(session: Session, draft: Draft, name: str, actor: Actor, **data: Any) -> None:
    """Take one step, with its audit row, live event and, where there is one, its signal. The draft is locked already.

    Raises:
        IllegalTransition: the draft is not in a state from which this step may be taken.
    """
    check(draft, name)
    reached = TRANSITIONS[name][1]
    draft.state = reached
    record(
        session,
        actor,
        f"draft.{reached.value}",
        "draft",
        draft.id,
        conversation_id=draft.conversation_id,
        **data,
    )
    tell(session, draft)
    if reached in (DraftState.READY, DraftState.WITHHELD, DraftState.FAILED):
        send_signal(
            session,
            signals.draft_created,
            conversation_id=draft.conversation_id,
            draft_id=draft.id,
            state=reached.value,
            kind=draft.kind.value if draft.kind else None,
            grounding=draft.grounding.value if draft.grounding else None,
        )
    elif reached in (DraftState.APPROVED, DraftState.EDITED, DraftState.DISCARDED):
        send_signal(
            session,
            signals.draft_decided,
            conversation_id=draft.conversation_id,
            draft_id=draft.id,
            decision=reached.value,
        )


def decide(draft: Draft, actor: Actor, reason: str | None = None, note: str | None = None) -> None:
    """Write down who decided, when and why."""
    draft.decided_by = actor.id
    draft.decided_by_name = actor.name
    draft.decided_at = now()
    draft.decision_reason = reason
    draft.decision_note = note


def tell(session: Session, draft: Draft) -> None:
    """Let live pages know that a draft changed."""
    publish_conversation(session, draft.conversation_id, "draft", draft_id=draft.id, state=draft.state.value)


def start(session: Session, conversation_id: int, *, answers: int, actor: Actor) -> Draft:
    """Begin a draft for the customer's newest words.

    One that is still being made is made for them instead; one that waits for a decision no longer answers them and is
    superseded. The job waits for ``DRAFT_DELAY`` seconds of quiet: a further message moves it.

    Args:
        conversation_id: the conversation, which is locked already.
        answers: the sequence of the customer's newest words.
        actor: who wants it: an operator who asked, or ourselves.
    """
    draft = find_open(session, conversation_id)
    if draft is not None and draft.state is DraftState.GENERATING:
        draft.answers_sequence = answers
    else:
        draft = _new(session, conversation_id, answers, draft, actor)
    enqueue(
        session,
        JOB,
        {"conversation_id": conversation_id, "draft_id": draft.id},
        delay=_delay(),
        unique_key=f"{JOB}:{conversation_id}",
    )
    return draft


def _delay() -> timedelta:
    return timedelta(seconds=current().settings.draft_delay)


def carried_on(words: CTE, *, held: bool) -> CTE:
    """What :func:`start` does where a draft is still being made, within the statement that takes the words in.

    Its parameters are those of :func:`carried_on_terms`.

    Args:
        words: the customer's newest, with ``conversation_id`` and ``sequence``.
        held: whether our clock is.

    Returns:
        The draft's job, for :func:`carry_on`. It has no row where no draft is being made.
    """
    draft = (
        update(Draft)
        .where(Draft.conversation_id == words.c.conversation_id, Draft.state == word(DraftState.GENERATING))
        .values({Draft.answers_sequence: words.c.sequence})
        .returning(Draft.id, Draft.conversation_id)
        .cte("draft")
    )
    of, made = draft.c.conversation_id, draft.c.id
    arguments = func.jsonb_build_object(word("conversation_id"), of, word("draft_id"), made)
    return request_of(draft, arguments=arguments, unique_key=func.concat(word(f"{JOB}:"), of), held=held)


def carried_on_terms() -> dict[str, Any]:
    """The parameters of :func:`carried_on`."""
    return request_terms(JOB, delay=_delay())


def carry_on(session: Session, job_id: int, attempt: int, terms: dict[str, Any]) -> None:
    """See to a job that :func:`carried_on` asked for by these terms."""
    requested(session, JOB, job_id, attempt, terms)


def _new(session: Session, conversation_id: int, answers: int, before: Draft | None, actor: Actor) -> Draft:
    if before is not None:
        _supersede(session, before, because="customer", actor=actor)
    draft = Draft(conversation_id=conversation_id, answers_sequence=answers)
    draft.state = DraftState.GENERATING
    session.add(draft)
    session.flush()
    record(session, actor, "draft.generating", "draft", draft.id, conversation_id=conversation_id)
    tell(session, draft)
    return draft


def withdraw(session: Session, conversation: Conversation, *, because: str, actor: Actor) -> None:
    """Supersede the open draft, if there is one, because the conversation moved on.

    Args:
        because: ``"reply"``, ``"resolve"``, ``"regenerate"``, ``"spam"`` or ``"forget"``; a customer's next words
            go through :func:`start`.
    """
    draft = find_open(session, conversation.id)
    if draft is not None:
        _supersede(session, draft, because=because, actor=actor)


def _supersede(session: Session, draft: Draft, *, because: str, actor: Actor) -> None:
    draft.superseded_by = because
    step(session, draft, "be superseded", actor, because=because)
    session.flush()  # before a new open draft is added: there is one at most


def find(session: Session, draft_id: int) -> Draft | None:
    """A draft as it is now. Call it under the conversation's lock to rely on it."""
    return session.get(Draft, draft_id, populate_existing=True)


def find_open(session: Session, conversation_id: int) -> Draft | None:
    """The draft that is being made or waits for a decision. Call it under the conversation's lock to rely on it."""
    return session.scalars(
        select(Draft)
        .where(Draft.conversation_id == conversation_id, Draft.state.in_(OPEN_STATES))
        .execution_options(populate_existing=True)
    ).one_or_none()
