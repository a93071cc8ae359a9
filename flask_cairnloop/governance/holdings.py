"""What this room holds about a customer: how it is handed out, and how it goes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import ERASED, Conversation
from flask_cairnloop.errors import Conflict
from flask_cairnloop.governance import transitions
from flask_cairnloop.governance.models import ActionApproval, ActionProposal
from flask_cairnloop.governance.transitions import SYSTEM
from flask_cairnloop.governance.types import OPEN_STATES, ProposalState

_NOTHING: dict[str, Any] = {}


def withdraw_actions(session: Session, customer_id: int) -> None:
    """Take back every action about a customer that has not run. Their conversations are locked.

    In the events stands the desk itself: who asked for it is in the audit log, under a pseudonym.

    Raises:
        Conflict: one of them runs, or is being decided on, at this moment. It is not waited for, because its end may
            wait for the conversation that the caller has locked.
    """
    open_ones = select(ActionProposal.id).where(
        ActionProposal.conversation_id.in_(_theirs(customer_id)), ActionProposal.state.in_(OPEN_STATES)
    )
    wanted = session.scalars(open_ones).all()
    free = session.scalars(
        select(ActionProposal)
        .where(ActionProposal.id.in_(wanted))
        .order_by(ActionProposal.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    if len(free) < len(wanted) or any(one.state is ProposalState.RUNNING for one in free):
        raise Conflict("An action about this customer is running at this moment. Try again.")
    for proposal in free:
        if proposal.state in transitions.TRANSITIONS["be withdrawn"][0]:
            proposal.decided_at = now()
            transitions.step(session, proposal, "be withdrawn", SYSTEM, because="forget")
    session.flush()


def forget_actions(session: Session, customer_id: int) -> int:
    """Erase what actions say about a customer: what they were given, would do, did, and why. Their course stays.

    Returns:
        How many actions.
    """
    theirs = select(ActionProposal.id).where(ActionProposal.conversation_id.in_(_theirs(customer_id)))
    plain = {"synchronize_session": False}
    session.execute(
        update(ActionApproval)
        .where(ActionApproval.proposal_id.in_(theirs))
        .values(reason="", edits=[])
        .execution_options(**plain)
    )
    found = session.execute(
        update(ActionProposal)
        .where(ActionProposal.id.in_(theirs))
        .values(
            inputs=_NOTHING,
            sealed=_NOTHING,
            consequence=ERASED,
            changes=[],
            evidence=[],
            reason="",
            result=_NOTHING,
            confirmation=None,
            client_key=None,  # the host's own words, of which a digest could be guessed
            outcome=case((ActionProposal.outcome.is_(None), None), else_=ERASED),
            failure=case((ActionProposal.failure.is_(None), None), else_=ERASED),
        )
        .execution_options(**plain)
    )
    return int(found.rowcount)  # type: ignore[attr-defined]


def export_actions(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What was to be done about a customer and what became of it, oldest first. Who of the team decided is left out."""
    actions = session.scalars(
        select(ActionProposal)
        .where(ActionProposal.conversation_id.in_(_theirs(customer_id)))
        .order_by(ActionProposal.id)
    )
    return [
        {
            "conversation": action.conversation_id,
            "at": action.created_at.isoformat(),
            "action": action.title,
            "state": action.state.value,
            "values": {str(action.labels.get(name, name)): value for name, value in action.inputs.items()},
            "consequence": action.consequence,
            "reason": action.reason,
            "evidence": action.evidence,
            "outcome": action.outcome,
            "result": action.result,
            "failure": action.failure,
        }
        for action in actions
    ]


def _theirs(customer_id: int) -> Any:
    return select(Conversation.id).where(Conversation.customer_id == customer_id)
