"""What can be done with actions. Every function takes a session, names its actor and never commits.

Host code (the tool's own ``authorize`` and ``preview``, the policy) is asked before anything is locked or written. Call
these with no transaction open, and none is open while it answers.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.errors import (
    Conflict,
    CustomerForgotten,
    Forbidden,
    HookFailed,
    IllegalTransition,
    InvalidFields,
    InvalidInput,
    NotFound,
    StaleAction,
)
from flask_cairnloop.governance import inputs as given
from flask_cairnloop.governance import standing, tiers, transitions
from flask_cairnloop.governance.models import REASON_LENGTH, ActionApproval, ActionProposal
from flask_cairnloop.governance.standing import Place, Ruling
from flask_cairnloop.governance.tools import Consequence, Tool, ToolContext, ToolFailure
from flask_cairnloop.governance.transitions import SYSTEM
from flask_cairnloop.governance.types import (
    AGAIN_STATES,
    OPEN_STATES,
    ApprovalState,
    EventKind,
    ProposalState,
    Refusal,
    Tier,
)
from flask_cairnloop.hooks import Hooks, Operator, Permission, Subject
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.tokens.service import token_of
from flask_cairnloop.tokens.types import Token

RUN: Final = "governance.run"
WAKE: Final = "governance.wake"
LONGEST_DEFERRAL: Final = timedelta(days=90)
KEY_LENGTH: Final = 200
MOST_EVIDENCE: Final = 20


# --- proposing ------------------------------------------------------------------------------------


def propose_action(
    session: Session,
    tool: str,
    inputs: Mapping[str, Any],
    *,
    actor: Acting,
    conversation_id: int | None = None,
    reason: str = "",
    evidence: Sequence[Mapping[str, str]] = (),
    scopes: Collection[str] = (),
    key: str | None = None,
) -> ActionProposal:
    """Ask for a tool to be run. What runs without anybody's approval runs by a job too, never here.

    Who may not, is answered by a row as well, with state ``refused`` and the reason. It stands in the way of nothing.

    Args:
        tool: its name.
        inputs: what it needs, without what the conversation fills.
        actor: who wants it: an operator, a token, or a job or policy of the host's. Never a customer.
        conversation_id: the conversation it belongs to.
        reason: why, in a sentence for whoever decides.
        evidence: what it rests on: mappings of ``title`` and ``text``, twenty at most.
        scopes: what an actor who is no person may do, where the tool asks for something.
        key: the caller's own name for this request, 1 to 200 characters: the same again returns the same action,
            whatever became of it. Without one, the same action of the same conversation returns the one that is
            still open, and is a new one after that.

    Raises:
        NotFound: there is no such tool or conversation.
        InvalidFields: the inputs do not fit, or the tool says that it would not do it; nothing was kept.
        Forbidden: the actor is a customer.
        Conflict: the key was used for something else, or the tool could not say what it would do.
    """
    return _propose(
        session,
        tool,
        inputs,
        actor=actor,
        conversation_id=conversation_id,
        reason=reason,
        evidence=evidence,
        scopes=scopes,
        key=key,
    )


def propose_again(
    session: Session,
    proposal_id: int,
    *,
    actor: Acting,
    inputs: Mapping[str, Any] | None = None,
    reason: str = "",
    scopes: Collection[str] = (),
) -> ActionProposal:
    """Propose what came to nothing once more, as a new action that goes the whole way.

    Args:
        inputs: values in place of those of then. Sensitive ones have to be given again: they were not kept.

    Raises:
        IllegalTransition: it is open, or was done.
        Others: as of :func:`propose_action`.
    """
    began = _idle(session)
    before = get(session, proposal_id)
    if before.state not in AGAIN_STATES:
        raise IllegalTransition("action", before.state.value, "be proposed again")
    tool = _known(before.tool)
    typed = dict(inputs or {})
    missing = {
        name: "Type this again: it was not kept."
        for name, value in before.inputs.items()
        if value == given.HIDDEN and name in tool.sensitive and name not in typed
    }
    if missing:
        raise InvalidFields(missing)
    kept = {
        name: value
        for name, value in before.inputs.items()
        if name not in tool.filled and name not in tool.sensitive and name in tool.Input.model_fields
    }
    terms: dict[str, Any] = {
        "conversation_id": before.conversation_id,
        "reason": reason or before.reason,
        "evidence": before.evidence,
        "again_of": before.id,
    }
    _end_reading(session, began)
    return _propose(session, tool.name, {**kept, **typed}, actor=actor, scopes=scopes, **terms)


def _propose(
    session: Session,
    tool: str,
    inputs: Mapping[str, Any],
    *,
    actor: Acting,
    conversation_id: int | None,
    reason: str,
    evidence: Sequence[Mapping[str, str]],
    scopes: Collection[str],
    key: str | None = None,
    again_of: int | None = None,
) -> ActionProposal:
    found, who = _known(tool), as_actor(actor)
    if who.kind is ActorKind.CUSTOMER:
        raise Forbidden("A customer proposes no actions. Let your own code propose it, in its own name.")
    reason = _words("reason", reason, needed=False)
    shown_evidence = _evidence(evidence)
    client_key = _client_key(who, key)
    hooks = current().hooks
    began = _idle(session)
    token = _token(session, who)
    try:
        place = standing.place_of(session, conversation_id)
    except CustomerForgotten:
        if token is None or not token.bound or token.conversation_id == conversation_id:
            raise
        raise NotFound("There is no such conversation.") from None
    _end_reading(session, began)
    if token is not None and not token.reaches(conversation_id, place.customer.ref if place.customer else None):
        raise NotFound("There is no such conversation.")  # nor is it told of those of others that they exist
    model = given.checked(found, inputs, place.conversation, place.customer)
    asked = _asked(hooks, found, model, place, who, actor, scopes, token)
    shown, sealed = given.snapshot(found, model)
    values = {**shown, **sealed}
    mark = given.digest(_secret(), found.name, conversation_id, values, client_key)
    proposal = ActionProposal(
        state=ProposalState.REFUSED if asked.denial else ProposalState.PENDING,
        tool=found.name,
        title=found.title,
        risk=found.risk,
        weight=tiers.WEIGHT[found.risk],
        kind=found.kind,
        conversation_id=conversation_id,
        proposed_by_kind=who.kind,
        proposed_by=who.id,
        proposed_by_name=who.name,
        scopes=sorted(token.scopes if token else scopes),
        reason=reason,
        again_of=again_of,
        inputs=shown,
        sealed={} if asked.denial else sealed,
        labels=given.labels(found),
        consequence=given.scrubbed(asked.consequence.text, sealed),
        changes=_changes(asked.consequence, sealed),
        evidence=shown_evidence,
        tier=asked.ruling.tier,
        approvals_needed=tiers.needed(asked.ruling.tier),
        confirmation=asked.confirmation,
        policy=dict(asked.ruling.snapshot),
        refusal=asked.denial.refusal if asked.denial else None,
        failure=asked.denial.reason if asked.denial else None,
        digest=mark,
        client_key=client_key,
        created_at=now(),
        expires_at=_expiry(),
        finished_at=now() if asked.denial else None,
    )
    return _kept(session, proposal, who, conversation_id)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the host's code said about a proposal."""

    denial: standing.Denial | None
    ruling: Ruling
    consequence: Consequence
    confirmation: str | None


def _asked(
    hooks: Hooks,
    tool: Tool,
    model: BaseModel,
    place: Place,
    who: Actor,
    acting: Acting,
    scopes: Collection[str],
    token: Token | None,
) -> _Asked:
    shown, _ = given.snapshot(tool, model)
    try:
        operator = acting if isinstance(acting, Operator) else standing.person_of(hooks, who)
        if who.kind is ActorKind.OPERATOR and operator is None:
            denial: standing.Denial | None = standing.Denial(
                Refusal.PERMISSION, f"{who.name} is not known as an operator."
            )
        else:
            denial = standing.denial(
                hooks,
                tool,
                Permission.ACTIONS_PROPOSE,
                operator=operator,
                scopes=scopes,
                inputs=model,
                place=place,
                token=token,
            )
    except HookFailed:
        operator, denial = None, standing.Denial(Refusal.TOOL, "Nobody could say whether it is allowed.")
    ruled = standing.ruling(hooks, tool, shown=shown, proposed_by=who.id, operator=operator, place=place)
    if denial is None and ruled.tier is Tier.REFUSE:
        denial = standing.Denial(Refusal.POLICY, "Your app’s policy refuses this action.")
    if denial is not None:  # what it would do is not worked out for somebody who may not know
        return _Asked(denial, ruled, Consequence(tool.description), None)
    context = ToolContext(operator, place.conversation, place.customer, token=token)
    told = _would_do(hooks, tool, model, context)
    words = standing.confirmation(hooks, tool, model, context) if tiers.confirmed(ruled.tier) else None
    return _Asked(None, ruled, told, words)


def _would_do(hooks: Hooks, tool: Tool, model: BaseModel, context: ToolContext) -> Consequence:
    try:
        told = standing.consequence(hooks, tool, model, context)
    except HookFailed as failure:
        raise Conflict("The tool could not say what it would do, so nobody could decide on it.") from failure
    if isinstance(told, ToolFailure):
        raise InvalidFields({given.ALL: str(told)[:REASON_LENGTH] or "The tool would not do this."})
    return told


def _changes(told: Consequence, sealed: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "label": change.label,
            "now": given.scrubbed(change.now, sealed),
            "after": given.scrubbed(change.after, sealed),
        }
        for change in told.changes
    ]


def _kept(session: Session, proposal: ActionProposal, who: Actor, conversation_id: int | None) -> ActionProposal:
    """Write a proposal down, unless it is there already; then that one."""
    if conversation_id is not None:
        _hold_conversation(session, conversation_id)
    if earlier := _earlier(session, proposal):
        return earlier
    try:
        with session.begin_nested():
            session.add(proposal)
    except IntegrityError:
        if earlier := _earlier(session, proposal):
            return earlier
        raise Conflict("The same action changed at this moment. Propose it again.") from None
    if proposal.state is ProposalState.REFUSED:
        assert proposal.refusal is not None  # noqa: S101 - a check of the table
        transitions.leave(
            session, proposal, EventKind.REFUSED, None, who, words=proposal.reason, refusal=proposal.refusal.value
        )
        return proposal
    data: dict[str, Any] = {"again_of": proposal.again_of} if proposal.again_of else {}
    transitions.leave(
        session, proposal, EventKind.PROPOSED, None, who, words=proposal.reason, tier=proposal.tier.value, **data
    )
    if proposal.tier is Tier.AUTO:
        _approved(session, proposal, "be approved by itself", SYSTEM)
    else:
        _ask(session, proposal)
        _wake(session, proposal, proposal.expires_at)
    session.flush()
    return proposal


def _hold_conversation(session: Session, conversation_id: int) -> None:
    """Keep a conversation from being forgotten until this transaction ends."""
    erased = session.execute(
        select(Conversation.erased_at)
        .where(Conversation.id == conversation_id)
        .with_for_update(read=True, key_share=True, of=Conversation)
    ).one_or_none()
    if erased is None:
        raise NotFound("There is no such conversation.")
    if erased[0] is not None:
        raise CustomerForgotten


def _earlier(session: Session, wanted: ActionProposal) -> ActionProposal | None:
    """The action that a proposal would only repeat."""
    with session.no_autoflush:
        same = select(ActionProposal).where(
            ActionProposal.digest == wanted.digest, ActionProposal.state.in_(OPEN_STATES)
        )
        if wanted.client_key is not None:
            same = select(ActionProposal).where(
                ActionProposal.client_key == wanted.client_key, ActionProposal.state != ProposalState.REFUSED
            )
        found = session.scalars(same.execution_options(populate_existing=True)).one_or_none()
    if found is not None and found.client_key is not None and not _same_request(found, wanted):
        raise Conflict("This key was used for another action.")
    return found


def _same_request(one: ActionProposal, other: ActionProposal) -> bool:
    """An approver may have edited it since, so only what nobody changes is compared then."""
    if (one.tool, one.conversation_id) != (other.tool, other.conversation_id):
        return False
    return one.revision > 0 or one.digest == other.digest


# --- deciding -------------------------------------------------------------------------------------


def approve(
    session: Session,
    proposal_id: int,
    *,
    actor: Operator,
    seen: int | None = None,
    edits: Mapping[str, Any] | None = None,
    confirmation: str = "",
    note: str = "",
) -> ActionProposal:
    """Agree to an action. With the last approval it needs, it is handed to a worker.

    Args:
        seen: the ``revision`` of the inputs that the approver had before them.
        edits: values to run it with instead. They are checked as a proposal's are, the difference is kept, and an
            approval given for what it was before does not count any more.
        confirmation: what was typed, where the tier asks for it.

    Raises:
        NotFound: there is no such action.
        IllegalTransition: it does not wait for an approval.
        Forbidden: this person cannot approve it; says why.
        StaleAction: its inputs were changed after ``seen``.
        Conflict: it has expired, or the policy refuses it now.
        InvalidFields, InvalidInput: the edits do not fit, or the confirmation is not what was to be typed.
    """
    note = _words("note", note, needed=False)
    hooks = current().hooks
    began = _idle(session)
    before = get(session, proposal_id)
    transitions.check(before, "be approved")
    tool, revision = _known(before.tool), before.revision
    place = standing.place_of(session, before.conversation_id)
    token = _token(session, _proposer(before))
    model, edited = _with_edits(tool, before, edits, place)
    key, proposer, run_context = (
        before.run_key,
        _proposer(before),
        ToolContext(actor, place.conversation, place.customer),
    )
    _end_reading(session, began)
    told, ruled = _reconsidered(hooks, tool, model, place, actor, proposer, key, edited, run_context)

    proposal = transitions.lock(session, proposal_id)
    transitions.check(proposal, "be approved")
    if proposal.revision != revision or (seen is not None and seen != revision):
        raise StaleAction(revision if seen is None else seen, proposal.revision)
    if proposal.expires_at <= now():
        raise Conflict("Nobody decided on this action in time. Propose it again.")
    pending = _pending(session, proposal)
    proposal.tier = tiers.strictest(proposal.tier, ruled.tier)
    if proposal.tier is Tier.REFUSE:
        raise Conflict("Your app’s policy refuses this action now.")
    proposal.approvals_needed = tiers.needed(proposal.tier)
    pending.other_person = tiers.other_person(proposal.tier)
    pending.confirmation = tiers.confirmed(proposal.tier)
    given_by = [one for one in transitions.approvals(session, proposal.id) if one.state is ApprovalState.APPROVED]
    responsible = token.made_by if token else proposal.proposed_by  # a token is the hand of whoever made it
    why = tiers.why_not(
        proposal.tier, responsible, [] if edited else [one.decided_by or "" for one in given_by], actor.id
    )
    if why is not None:
        raise Forbidden(why)
    _confirm(proposal, tool, pending, confirmation)
    who = Actor.operator(actor)
    if edited:
        _edit(session, proposal, tool, model, told, pending, given_by, who)
        given_by = []
    pending.revision = proposal.revision
    transitions.answer(pending, ApprovalState.APPROVED, who, note)
    session.flush()
    approvers = [who.id, *(one.decided_by or "" for one in given_by)]
    if tiers.satisfied(proposal.tier, responsible, approvers):
        _approved(session, proposal, "be approved", who, words=note)
    else:
        transitions.step(session, proposal, "be approved by one", who, words=note)
        _ask(session, proposal)
    session.flush()
    return proposal


def _with_edits(
    tool: Tool, before: ActionProposal, edits: Mapping[str, Any] | None, place: Place
) -> tuple[BaseModel, bool]:
    """The inputs to decide on, by today's rules, and whether an approver changed them."""
    old = {**before.inputs, **before.sealed}
    if not edits:
        return given.restored(tool, before.inputs, before.sealed), False
    typed = {name: value for name, value in old.items() if name not in tool.filled}
    model = given.checked(tool, {**typed, **edits}, place.conversation, place.customer)
    return model, model.model_dump(mode="json") != old


def _reconsidered(
    hooks: Hooks,
    tool: Tool,
    model: BaseModel,
    place: Place,
    actor: Operator,
    proposer: Actor,
    key: str,
    edited: bool,
    context: ToolContext,
) -> tuple[Consequence | None, Ruling]:
    """Ask the host again, for whoever approves: may they, who else has to, and what would it do now."""
    try:
        denied = standing.denial(
            hooks,
            tool,
            Permission.ACTIONS_APPROVE,
            operator=actor,
            scopes=(),
            inputs=model,
            place=place,
            key=key,
        )
        operator = standing.person_of(hooks, proposer)
    except HookFailed as failure:
        raise Conflict("Nobody could say whether you may approve it. Try again.") from failure
    if denied is not None:
        raise Forbidden(denied.reason)
    shown, _ = given.snapshot(tool, model)
    ruled = standing.ruling(hooks, tool, shown=shown, proposed_by=proposer.id, operator=operator, place=place)
    return (_would_do(hooks, tool, model, context) if edited else None), ruled


def _confirm(proposal: ActionProposal, tool: Tool, pending: ActionApproval, typed: str) -> None:
    if not tiers.confirmed(proposal.tier):
        return
    proposal.confirmation = proposal.confirmation or tool.title
    if " ".join(typed.split()).casefold() != " ".join(proposal.confirmation.split()).casefold():
        raise InvalidInput("confirmation", f"Type “{proposal.confirmation}” to approve it.")
    pending.confirmed = True


def _edit(
    session: Session,
    proposal: ActionProposal,
    tool: Tool,
    model: BaseModel,
    told: Consequence | None,
    pending: ActionApproval,
    given_by: list[ActionApproval],
    who: Actor,
) -> None:
    shown, sealed = given.snapshot(tool, model)
    found = given.differences(proposal.inputs, proposal.sealed, shown, sealed)
    pending.edits = found
    proposal.inputs, proposal.sealed = shown, sealed
    proposal.revision += 1
    proposal.digest = given.digest(
        _secret(), tool.name, proposal.conversation_id, {**shown, **sealed}, proposal.client_key
    )
    if told is not None:
        proposal.consequence = given.scrubbed(told.text, sealed)
        proposal.changes = _changes(told, sealed)
    try:
        with session.begin_nested():
            session.flush()
    except IntegrityError:
        raise Conflict("The same action, with these values, is open already.") from None
    transitions.step(session, proposal, "be edited", who, fields=[one["field"] for one in found])
    for one in given_by:
        one.state = ApprovalState.SET_ASIDE
        transitions.step(session, proposal, "lose an approval", who, approval_id=one.id, approver=one.decided_by)
    session.flush()


def reject(session: Session, proposal_id: int, *, actor: Operator, reason: str) -> ActionProposal:
    """Decide that an action shall not run.

    Raises:
        InvalidInput: there is no reason, or a long one.
        Forbidden: this person may not decide on actions.
        IllegalTransition: there is nothing to decide any more.
    """
    reason = _words("reason", reason, needed=True)
    proposal = _decided_by(session, proposal_id, actor)
    transitions.check(proposal, "be rejected")
    who = Actor.operator(actor)
    pending = _pending(session, proposal) if proposal.state is ProposalState.PENDING else _ask(session, proposal)
    transitions.answer(pending, ApprovalState.REJECTED, who, reason)
    proposal.decided_at = now()
    transitions.step(session, proposal, "be rejected", who, words=reason, approval_id=pending.id)
    session.flush()
    return proposal


def defer(session: Session, proposal_id: int, *, actor: Operator, until: datetime, reason: str) -> ActionProposal:
    """Put a decision off. The action comes back by itself, with its whole time to be decided on.

    Args:
        until: a moment with a time zone, in the next 90 days.

    Raises:
        As :func:`reject`; also for a moment that does not fit.
    """
    reason = _words("reason", reason, needed=True)
    if until.tzinfo is None or not now() < until <= now() + LONGEST_DEFERRAL:
        raise InvalidInput("until", "Choose a time in the next 90 days.")
    proposal = _decided_by(session, proposal_id, actor)
    transitions.check(proposal, "be deferred")
    who = Actor.operator(actor)
    pending = _pending(session, proposal)
    transitions.answer(pending, ApprovalState.DEFERRED, who, reason)
    _set_aside_all(session, proposal, who)
    proposal.deferred_until = until
    terms = {"approval_id": pending.id, "until": until.isoformat()}
    transitions.step(session, proposal, "be deferred", who, words=reason, **terms)
    _wake(session, proposal, until)
    session.flush()
    return proposal


def _set_aside_all(session: Session, proposal: ActionProposal, who: Actor) -> None:
    """What was said before a long wait is asked anew after it."""
    for one in transitions.approvals(session, proposal.id):
        if one.state is ApprovalState.APPROVED:
            one.state = ApprovalState.SET_ASIDE
            transitions.step(session, proposal, "lose an approval", who, approval_id=one.id, approver=one.decided_by)


def bring_back(session: Session, proposal_id: int, *, actor: Operator) -> ActionProposal:
    """Ask about a deferred action before its time.

    Raises:
        Forbidden: this person may not decide on actions.
        IllegalTransition: it is not deferred.
    """
    proposal = _decided_by(session, proposal_id, actor)
    come_back(session, proposal, Actor.operator(actor))
    return proposal


def come_back(session: Session, proposal: ActionProposal, actor: Actor) -> None:
    """The same, for an action that is locked already."""
    proposal.expires_at = _expiry()
    transitions.step(session, proposal, "come back", actor)
    _ask(session, proposal)
    _wake(session, proposal, proposal.expires_at)
    session.flush()


def withdraw_own(session: Session, proposal_id: int, *, actor: Actor) -> ActionProposal:
    """Take an action back before it runs, as whoever proposed it and is no person.

    Raises:
        NotFound: they proposed no such action.
        IllegalTransition: it runs, or is over.
    """
    proposal = transitions.lock(session, proposal_id)
    if (proposal.proposed_by_kind, proposal.proposed_by) != (actor.kind, actor.id):
        raise NotFound("There is no such action.")
    transitions.check(proposal, "be withdrawn")
    proposal.decided_at = now()
    transitions.step(session, proposal, "be withdrawn", actor)
    session.flush()
    return proposal


def withdraw(session: Session, proposal_id: int, *, actor: Operator) -> ActionProposal:
    """Take an action back before it runs: whoever proposed it, or who may decide on it.

    Raises:
        Forbidden: this person is neither.
        IllegalTransition: it runs, or is over.
    """
    proposal = _decided_by(session, proposal_id, actor, own=True)
    transitions.check(proposal, "be withdrawn")
    proposal.decided_at = now()
    transitions.step(session, proposal, "be withdrawn", Actor.operator(actor))
    session.flush()
    return proposal


def settle(session: Session, proposal_id: int, *, actor: Operator, happened: bool, note: str) -> ActionProposal:
    """Say how an action ended of which nobody knew.

    Args:
        happened: whether its effect is there. If not, it can be proposed again.
        note: where the person looked.

    Raises:
        InvalidInput: there is no note, or a long one.
        Forbidden: this person may not decide on actions.
        IllegalTransition: it is not uncertain.
    """
    note = _words("note", note, needed=True)
    proposal = _decided_by(session, proposal_id, actor)
    who = Actor.operator(actor)
    if happened:
        transitions.check(proposal, "be settled as done")
        proposal.outcome = note
        transitions.step(session, proposal, "be settled as done", who, words=note, happened=True)
    else:
        transitions.check(proposal, "be settled as not done")
        proposal.failure = note
        transitions.step(session, proposal, "be settled as not done", who, words=note, happened=False)
    session.flush()
    return proposal


# --- reading --------------------------------------------------------------------------------------


def get(session: Session, proposal_id: int) -> ActionProposal:
    """An action.

    Raises:
        NotFound: there is none.
    """
    found = session.get(ActionProposal, proposal_id, populate_existing=True)
    if found is None:
        raise NotFound("There is no such action.")
    return found


# --- shared ---------------------------------------------------------------------------------------


def _known(name: str) -> Tool:
    tool = current().hooks.tools.find(name)
    if tool is None:
        raise NotFound("There is no such tool.")
    return tool


def _token(session: Session, who: Actor) -> Token | None:
    """The token that somebody is, if they are one.

    Raises:
        Conflict: it is one that does not work any more.
    """
    token = token_of(session, who)
    if isinstance(token, str):
        raise Conflict(token)
    return token


def _proposer(proposal: ActionProposal) -> Actor:
    return Actor(proposal.proposed_by_kind, proposal.proposed_by, proposal.proposed_by_name)


def _decided_by(session: Session, proposal_id: int, actor: Operator, *, own: bool = False) -> ActionProposal:
    """An action that this person may decide on, locked. Whether they may is asked before.

    Args:
        own: whoever proposed it may too.
    """
    began = _idle(session)
    before = get(session, proposal_id)
    conversation_id, proposer = before.conversation_id, before.proposed_by
    _end_reading(session, began)
    if not (own and proposer == actor.id):
        subject = Subject("conversation", conversation_id) if conversation_id else None
        try:
            entitled = standing.allowed(current().hooks, actor, Permission.ACTIONS_APPROVE, subject)
        except HookFailed as failure:
            raise Conflict("Nobody could say whether you may decide on it. Try again.") from failure
        if not entitled:
            raise Forbidden("You may not decide on actions.")
    return transitions.lock(session, proposal_id)


def _pending(session: Session, proposal: ActionProposal) -> ActionApproval:
    return session.scalars(
        select(ActionApproval)
        .where(ActionApproval.proposal_id == proposal.id, ActionApproval.state == ApprovalState.PENDING)
        .execution_options(populate_existing=True)
    ).one()


def _ask(session: Session, proposal: ActionProposal) -> ActionApproval:
    return transitions.ask(
        session,
        proposal,
        other_person=tiers.other_person(proposal.tier),
        confirmation=tiers.confirmed(proposal.tier),
    )


def _approved(session: Session, proposal: ActionProposal, name: str, actor: Actor, words: str = "") -> None:
    """Hand an action to a worker. Its approval is good for as long as a proposal waits for one."""
    proposal.decided_at = now()
    proposal.expires_at = _expiry()
    transitions.step(session, proposal, name, actor, words=words)
    run_by_job(session, proposal)


def run_by_job(session: Session, proposal: ActionProposal, *, delay: timedelta | None = None) -> None:
    """Ask for a run, in the transaction that decided on it."""
    enqueue(
        session,
        RUN,
        {"proposal_id": proposal.id, "conversation_id": proposal.conversation_id},
        delay=delay,
        unique_key=f"{RUN}:{proposal.id}",
    )


def _wake(session: Session, proposal: ActionProposal, at: datetime) -> None:
    enqueue(
        session,
        WAKE,
        {"proposal_id": proposal.id, "conversation_id": proposal.conversation_id},
        run_at=at,
        unique_key=f"{WAKE}:{proposal.id}",
    )


def wake_again(session: Session, proposal: ActionProposal) -> None:
    """Look at an action again when something about it is due."""
    due = proposal.deferred_until or proposal.expires_at
    _wake(session, proposal, due)


def _expiry() -> datetime:
    return now() + timedelta(seconds=current().settings.approval_ttl)


def _idle(session: Session | scoped_session[Session]) -> bool:
    """Whether there is nothing yet that belongs together: then what we read first can be ended again."""
    if isinstance(session, scoped_session):  # `db.session`, as hosts pass it
        session = session()
    return not session.in_transaction()


def _end_reading(session: Session, began: bool) -> None:
    """End a transaction that only read, if it is ours: host code is asked next."""
    if began:
        session.rollback()


def _secret() -> str:
    key = current().app.secret_key
    return key.decode(errors="replace") if isinstance(key, bytes) else (key or "cairnloop")


def _client_key(actor: Actor, key: str | None) -> str | None:
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_LENGTH:
        raise InvalidInput("key", f"A key has 1 to {KEY_LENGTH} characters.")
    whose = json.dumps([actor.kind.value, actor.id, key])
    return hmac.new(_secret().encode(), whose.encode(), hashlib.sha256).hexdigest()  # it may tell of what was given


def asked_before(session: Session, actor: Acting, key: str) -> ActionProposal | None:
    """The action that an actor asked for under a key, if there is one; whatever became of it. One query."""
    wanted = select(ActionProposal).where(ActionProposal.client_key == _client_key(as_actor(actor), key))
    return session.scalars(wanted.order_by(ActionProposal.id.desc()).limit(1)).first()


def _words(field: str, text: str, *, needed: bool) -> str:
    text = text.replace("\r\n", "\n").replace("\x00", "").strip()
    if needed and not text:
        raise InvalidInput(field, "Say why, in a few words." if field == "reason" else "Say what you found.")
    if len(text) > REASON_LENGTH:
        raise InvalidInput(field, f"This has at most {REASON_LENGTH} characters; here are {len(text):,}.")
    return text


def _evidence(evidence: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    kept = []
    for one in evidence[:MOST_EVIDENCE]:
        kept.append(
            {
                "title": str(one.get("title", "")).replace("\x00", "")[:200],
                "text": str(one.get("text", "")).replace("\x00", "")[:REASON_LENGTH],
            }
        )
    return kept
