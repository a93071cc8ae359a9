"""The state machine of an action: which steps there are, and what every step leaves behind.

A step is taken under the proposal's row lock. Its event, its audit row, the live event and the signal belong to the
same transaction.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.errors import IllegalTransition, NotFound
from flask_cairnloop.governance.models import ActionApproval, ActionEvent, ActionProposal
from flask_cairnloop.governance.types import OVER_STATES, ApprovalState, EventKind, ProposalState
from flask_cairnloop.jobs import publish, publish_conversation, send_signal

SYSTEM: Final = Actor.system("governance")

S = ProposalState
# The one table of allowed steps: step -> states it may start from -> state it leads to, None where it leads nowhere
# else -> the event it leaves.
TRANSITIONS: Final[dict[str, tuple[frozenset[ProposalState], ProposalState | None, EventKind]]] = {
    "be edited": (frozenset({S.PENDING}), None, EventKind.EDITED),
    "be approved by one": (frozenset({S.PENDING}), None, EventKind.APPROVAL_GIVEN),
    "lose an approval": (frozenset({S.PENDING}), None, EventKind.APPROVAL_SET_ASIDE),
    "be approved": (frozenset({S.PENDING}), S.APPROVED, EventKind.APPROVED),
    "be approved by itself": (frozenset({S.PENDING}), S.APPROVED, EventKind.AUTO_APPROVED),
    "be rejected": (frozenset({S.PENDING, S.DEFERRED}), S.REJECTED, EventKind.REJECTED),
    "be deferred": (frozenset({S.PENDING}), S.DEFERRED, EventKind.DEFERRED),
    "come back": (frozenset({S.DEFERRED}), S.PENDING, EventKind.CAME_BACK),
    "expire": (frozenset({S.PENDING, S.APPROVED}), S.EXPIRED, EventKind.EXPIRED),
    "be withdrawn": (frozenset({S.PENDING, S.DEFERRED, S.APPROVED}), S.WITHDRAWN, EventKind.WITHDRAWN),
    "be invalidated": (frozenset({S.APPROVED}), S.INVALIDATED, EventKind.INVALIDATED),
    # From "running" only after a cut, and only of a tool that may be called twice.
    "start": (frozenset({S.APPROVED, S.RUNNING}), S.RUNNING, EventKind.STARTED),
    "be tried again": (frozenset({S.APPROVED, S.RUNNING}), S.APPROVED, EventKind.ATTEMPT_FAILED),
    # A transactional tool is never seen running. From "uncertain" when the cut-off attempt reports after all.
    "succeed": (frozenset({S.APPROVED, S.RUNNING, S.UNCERTAIN}), S.SUCCEEDED, EventKind.SUCCEEDED),
    "fail": (frozenset({S.APPROVED, S.RUNNING, S.UNCERTAIN}), S.FAILED, EventKind.FAILED),
    "become uncertain": (frozenset({S.RUNNING}), S.UNCERTAIN, EventKind.BECAME_UNCERTAIN),
    "be settled as done": (frozenset({S.UNCERTAIN}), S.SUCCEEDED, EventKind.SETTLED),
    "be settled as not done": (frozenset({S.UNCERTAIN}), S.FAILED, EventKind.SETTLED),
}
_DECISIONS: Final = (S.APPROVED, S.REJECTED, S.DEFERRED, S.EXPIRED, S.WITHDRAWN, S.INVALIDATED, S.REFUSED)
_ENDS: Final = (S.SUCCEEDED, S.FAILED, S.UNCERTAIN)


def lock(session: Session, proposal_id: int) -> ActionProposal:
    """An action under its row lock, as it is now.

    Raises:
        NotFound: there is none.
    """
    session.flush()
    found = session.scalars(
        select(ActionProposal)
        .where(ActionProposal.id == proposal_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such action.")
    return found


def check(proposal: ActionProposal, name: str) -> None:
    """Whether a step may be taken now.

    Raises:
        IllegalTransition: the action is not in a state from which it may be.
    """
    if proposal.state not in TRANSITIONS[name][0]:
        raise IllegalTransition("action", proposal.state.value, name)


def step(session: Session, proposal: ActionProposal, name: str, actor: Actor, *, words: str = "", **data: Any) -> None:
    """Take one step, with everything it leaves behind. The action is locked already.

    Args:
        words: why, as a person gave it, for the audit log.
        data: identifiers and bounded values, for the event and the audit row.

    Raises:
        IllegalTransition: the action is not in a state from which this step may be taken.
    """
    check(proposal, name)
    before = proposal.state
    _, reached, kind = TRANSITIONS[name]
    proposal.state = reached or before
    if proposal.state is not S.DEFERRED:
        proposal.deferred_until = None
    if proposal.state is not S.RUNNING:
        proposal.running_since = None
    if proposal.state in OVER_STATES:
        proposal.finished_at = now()
        proposal.sealed = {}
    if proposal.state is not S.PENDING:
        _close(session, proposal)
    leave(session, proposal, kind, before, actor, words=words, **data)


def leave(
    session: Session,
    proposal: ActionProposal,
    kind: EventKind,
    before: ProposalState | None,
    actor: Actor,
    *,
    words: str = "",
    **data: Any,
) -> None:
    """Write down what happened: event, audit row, live event, signal."""
    session.add(
        ActionEvent(
            proposal_id=proposal.id,
            kind=kind,
            from_state=before,
            to_state=proposal.state,
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=actor.name,
            attempt=proposal.attempt,
            data=data,
            occurred_at=now(),
        )
    )
    record(
        session,
        actor,
        f"action.{kind.value}",
        "action",
        proposal.id,
        words=words,
        customer_id=_customer(session, proposal) if words else None,
        tool=proposal.tool,
        conversation_id=proposal.conversation_id,
        state=proposal.state.value,
        **data,
    )
    _tell(session, proposal)
    if proposal.state is before:
        return
    if before is None:
        send_signal(session, signals.action_proposed, **_named(proposal), state=proposal.state.value)
    elif proposal.state in _ENDS:
        send_signal(session, signals.action_executed, **_named(proposal), outcome=proposal.state.value)
    elif proposal.state in _DECISIONS and before is not S.RUNNING:
        send_signal(session, signals.action_decided, **_named(proposal), decision=proposal.state.value)


def _customer(session: Session, proposal: ActionProposal) -> int | None:
    return session.scalar(select(Conversation.customer_id).where(Conversation.id == proposal.conversation_id))


def _named(proposal: ActionProposal) -> dict[str, Any]:
    return {"proposal_id": proposal.id, "conversation_id": proposal.conversation_id, "tool": proposal.tool}


def _tell(session: Session, proposal: ActionProposal) -> None:
    data = {"proposal_id": proposal.id, "state": proposal.state.value}
    if proposal.conversation_id is None:
        publish(session, "console", "action", **data)
    else:
        publish_conversation(session, proposal.conversation_id, "action", **data)


def ask(session: Session, proposal: ActionProposal, *, other_person: bool, confirmation: bool) -> ActionApproval:
    """Open a question to a person. There is one at a time."""
    session.flush()
    approval = ActionApproval(
        proposal_id=proposal.id,
        state=ApprovalState.PENDING,
        other_person=other_person,
        confirmation=confirmation,
        proposed_by=proposal.proposed_by,
        revision=proposal.revision,
        opened_at=now(),
    )
    session.add(approval)
    session.flush()
    return approval


def approvals(session: Session, proposal_id: int) -> list[ActionApproval]:
    """Every question about an action, oldest first."""
    return list(
        session.scalars(
            select(ActionApproval)
            .where(ActionApproval.proposal_id == proposal_id)
            .order_by(ActionApproval.id)
            .execution_options(populate_existing=True)
        )
    )


def answer(approval: ActionApproval, state: ApprovalState, actor: Actor, reason: str = "") -> None:
    """Write down a person's answer."""
    approval.state = state
    approval.decided_by = actor.id
    approval.decided_by_name = actor.name
    approval.decided_at = now()
    approval.reason = reason


def _close(session: Session, proposal: ActionProposal) -> None:
    """Nobody's answer is waited for any more."""
    session.flush()
    for approval in approvals(session, proposal.id):
        if approval.state is ApprovalState.PENDING:
            approval.state = ApprovalState.CLOSED
