"""The one place where tools run.

A transactional tool runs in the transaction of its job: its effect, the outcome and the end of the job are committed
together, or none of them. An external tool is called with no transaction open, after a row that says so has been
committed: if nothing is written after it, nobody knows how it ended, and a person is asked.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.database.after_commit import hand_over
from flask_cairnloop.errors import CustomerForgotten, HookFailed, InvalidFields, NotFound
from flask_cairnloop.governance import inputs as given
from flask_cairnloop.governance import service, standing, tiers, transitions
from flask_cairnloop.governance.models import OUTCOME_LENGTH, REASON_LENGTH, ActionProposal
from flask_cairnloop.governance.standing import Place
from flask_cairnloop.governance.tools import (
    Outcome,
    PermanentFailure,
    RetryableFailure,
    Tool,
    ToolContext,
    ToolFailure,
)
from flask_cairnloop.governance.transitions import SYSTEM
from flask_cairnloop.governance.types import ApprovalState, ProposalState, Tier, ToolKind
from flask_cairnloop.hooks import Hooks, Operator, Permission
from flask_cairnloop.jobs import JobContext
from flask_cairnloop.jobs.runner import backoff
from flask_cairnloop.telemetry import ACTION, Note, span
from flask_cairnloop.tokens.service import token_of
from flask_cairnloop.tokens.types import Token

RESULT_SIZE: Final = 8_000  # characters of a result's data, as JSON
DONE: Final = "Done."


class Verdict(StrEnum):
    """What follows from an attempt that did not succeed."""

    RETRY = "retry"
    FAIL = "fail"
    UNCERTAIN = "uncertain"


def verdict(kind: ToolKind, idempotent: bool, failure: Exception, *, attempts_left: bool) -> Verdict:
    """What to do after a failure. Pure.

    Args:
        failure: what the tool reported or, as ``HookFailed``, how it ended otherwise.
    """
    if isinstance(failure, PermanentFailure):
        return Verdict.FAIL
    nothing_done = isinstance(failure, RetryableFailure) or kind is ToolKind.TRANSACTIONAL
    if nothing_done:
        return Verdict.RETRY if attempts_left else Verdict.FAIL
    if idempotent and attempts_left:
        return Verdict.RETRY
    return Verdict.UNCERTAIN


class ToolSession(Session):
    """The session of a transactional tool, on the connection of its job: nobody but the job ends its transaction."""

    def commit(self) -> None:
        raise RuntimeError("A tool does not commit: its effect is committed together with its outcome.")

    def rollback(self) -> None:
        raise RuntimeError("A tool does not roll back: raise RetryableFailure or PermanentFailure, and it is undone.")


@dataclass(frozen=True, slots=True)
class _Run:
    """An action as it was read, and the tool as it is."""

    proposal_id: int
    revision: int
    tool: Tool
    model: BaseModel
    place: Place
    operator: Operator | None  # who proposed it, where it was a person
    token: Token | None  # or a token
    sealed: Mapping[str, Any]

    def context(self, proposal: ActionProposal, session: Session | None) -> ToolContext:
        return ToolContext(
            self.operator,
            self.place.conversation,
            self.place.customer,
            proposal.run_key,
            proposal.attempt,
            session,
            self.token,
        )


@dataclass(frozen=True, slots=True)
class _Invalid:
    """Why an approved action may not run any more."""

    reason: str


def run(context: JobContext, proposal_id: int) -> None:
    """Run an action, if it is still to be run and may be."""
    session = context.session
    try:
        proposal = service.get(session, proposal_id)
    except NotFound:
        return
    if proposal.state not in (ProposalState.APPROVED, ProposalState.RUNNING):
        return
    with span(ACTION) as note:
        note("action.tool", proposal.tool)
        note("action.risk", proposal.risk.value)
        note("action.kind", proposal.kind.value)
        note("action.attempt", proposal.attempt + 1)
        if proposal.state is ProposalState.RUNNING and not _may_repeat(context, proposal):
            note("action.outcome", _cut_off(session, proposal_id))
            return
        if proposal.state is ProposalState.APPROVED and proposal.expires_at <= now():
            note("action.outcome", _expired(session, proposal_id))
            return
        _go(context, proposal, note)


def _may_repeat(context: JobContext, proposal: ActionProposal) -> bool:
    """Whether a tool that was cut off may be called again without a person."""
    tool = context.cairnloop.hooks.tools.find(proposal.tool)
    return tool is not None and tool.kind is ToolKind.EXTERNAL and tool.idempotent and proposal.attempt < tool.attempts


def _cut_off(session: Session, proposal_id: int) -> str:
    proposal = transitions.lock(session, proposal_id)
    if proposal.state is ProposalState.RUNNING:
        transitions.step(session, proposal, "become uncertain", SYSTEM)
    return proposal.state.value


def _expired(session: Session, proposal_id: int) -> str:
    proposal = transitions.lock(session, proposal_id)
    if proposal.state is ProposalState.APPROVED and proposal.expires_at <= now():
        transitions.step(session, proposal, "expire", SYSTEM)
    return proposal.state.value


def _go(context: JobContext, proposal: ActionProposal, note: Note) -> None:
    proposal_id = proposal.id
    asked = _asked(context, proposal)
    if isinstance(asked, _Invalid):
        found = transitions.lock(context.session, proposal_id)
        note("action.outcome", _lost(context.session, found, asked))
    elif asked.tool.kind is ToolKind.TRANSACTIONAL:
        note("action.outcome", _in_our_transaction(context, asked))
    else:
        note("action.outcome", _outside(context, asked))


def _lost(session: Session, found: ActionProposal, why: _Invalid) -> str:
    if found.state is ProposalState.APPROVED:
        found.failure = why.reason[:REASON_LENGTH]
        transitions.step(session, found, "be invalidated", SYSTEM)
    elif found.state is ProposalState.RUNNING:  # cut off, and nobody may call it again now
        transitions.step(session, found, "become uncertain", SYSTEM)
    return found.state.value


def _token_ended(session: Session, found: ActionProposal) -> _Invalid | None:
    """Whether the token behind a locked action was ended while the host was asked."""
    ended = token_of(session, Actor(found.proposed_by_kind, found.proposed_by, found.proposed_by_name))
    return _Invalid(ended) if isinstance(ended, str) else None


# --- may it still -----------------------------------------------------------------------------------


def _asked(context: JobContext, proposal: ActionProposal) -> _Run | _Invalid:
    """Ask everything again: tool, inputs, policy, and everybody who stands behind it. No transaction is open.

    Raises:
        HookFailed: the host could not be asked; the job tries again.
    """
    hooks, session = context.cairnloop.hooks, context.session
    tool = hooks.tools.find(proposal.tool)
    if tool is None:
        return _Invalid("There is no such tool any more.")
    if tool.kind is not proposal.kind:
        return _Invalid("The tool has changed where its effect lies.")
    try:
        place = standing.place_of(session, proposal.conversation_id)
        model = given.restored(tool, proposal.inputs, proposal.sealed)
    except CustomerForgotten:
        return _Invalid("The customer was forgotten.")
    except InvalidFields as error:
        return _Invalid(f"The tool does not take these values any more: {error.message}")
    approvers = [
        (one.decided_by or "", one.decided_by_name or "")
        for one in transitions.approvals(session, proposal.id)
        if one.state is ApprovalState.APPROVED
    ]
    proposer = Actor(proposal.proposed_by_kind, proposal.proposed_by, proposal.proposed_by_name)
    token = token_of(session, proposer)
    scopes, key = list(proposal.scopes), proposal.run_key
    read = (proposal.id, proposal.revision, dict(proposal.sealed), dict(proposal.inputs))
    context.release()

    if isinstance(token, str):
        return _Invalid(token)
    operator = standing.person_of(hooks, proposer)
    if proposer.kind is ActorKind.OPERATOR and operator is None:
        return _Invalid(f"{proposer.name}, who proposed it, is not an operator any more.")
    denied = standing.denial(
        hooks,
        tool,
        Permission.ACTIONS_PROPOSE,
        operator=operator,
        scopes=scopes,
        inputs=model,
        place=place,
        key=key,
        token=token,
    )
    if denied is not None:
        return _Invalid(denied.reason)
    for who, name in approvers:
        if reason := _approver_lost(hooks, tool, who, name, model, place, key):
            return _Invalid(reason)
    ruled = standing.ruling(hooks, tool, shown=read[3], proposed_by=proposer.id, operator=operator, place=place)
    if ruled.unsure is not None:
        raise HookFailed("CAIRNLOOP_ACTION_POLICY", "raised", "it could not be asked before the action ran")
    responsible = token.made_by if token else proposer.id
    if not tiers.satisfied(ruled.tier, responsible, [who for who, _ in approvers]):
        return _Invalid(_tightened(ruled.tier))
    return _Run(read[0], read[1], tool, model, place, operator, token, read[2])


def _approver_lost(
    hooks: Hooks, tool: Tool, who: str, name: str, model: BaseModel, place: Place, key: str
) -> str | None:
    approver = hooks.resolve_operator(who)
    if approver is None:
        return f"{name}, who approved it, is not an operator any more."
    denied = standing.denial(
        hooks, tool, Permission.ACTIONS_APPROVE, operator=approver, scopes=(), inputs=model, place=place, key=key
    )
    return denied.reason if denied else None


def _tightened(tier: Tier) -> str:
    if tier is Tier.REFUSE:
        return "Your app’s policy refuses it now."
    return "The rules were made stricter since: it needs other approvals now."


# --- a transactional tool ---------------------------------------------------------------------------


def _in_our_transaction(context: JobContext, asked: _Run) -> str:
    session = context.session
    proposal = _still_approved(session, asked)
    if proposal is None:
        return "gone"
    if ended := _token_ended(session, proposal):
        return _lost(session, proposal, ended)
    proposal.attempt += 1
    session.flush()
    savepoint = session.begin_nested()
    connection = session.connection()
    backend = connection.scalar(text("SELECT pg_backend_pid()"))
    tool_session = ToolSession(bind=connection, join_transaction_mode="rollback_only")
    tool_context = asked.context(proposal, tool_session)

    def work() -> Outcome:
        answer = outcome_of(asked.tool.run(asked.model, tool_context))
        tool_session.flush()
        return answer

    try:
        answer = context.cairnloop.hooks.ask_tool(asked.tool.name, work, seconds=asked.tool.timeout)
    except HookFailed as failure:
        if failure.reason == "timeout":
            # Its thread goes on, but what it writes can never be committed: its connection is no more.
            _end_backend(context, backend)
            connection.invalidate()
            session.rollback()
            return _failed_attempt(context, asked, failure, count=1)
        savepoint.rollback()
        return _failed_attempt(context, asked, failure)
    if isinstance(answer, ToolFailure):
        savepoint.rollback()
        return _failed_attempt(context, asked, answer)
    hand_over(tool_session, session)
    savepoint.commit()
    _succeed(session, proposal, answer, asked.sealed)
    return proposal.state.value


def _still_approved(session: Session, asked: _Run) -> ActionProposal | None:
    proposal = transitions.lock(session, asked.proposal_id)
    if proposal.state is not ProposalState.APPROVED or proposal.revision != asked.revision:
        return None
    return proposal


def _end_backend(context: JobContext, backend: int | None) -> None:
    with context.cairnloop.engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:backend)"), {"backend": backend})


# --- an external tool -------------------------------------------------------------------------------


def _outside(context: JobContext, asked: _Run) -> str:
    session = context.session
    proposal = transitions.lock(session, asked.proposal_id)
    if proposal.state not in (ProposalState.APPROVED, ProposalState.RUNNING) or proposal.revision != asked.revision:
        return "gone"
    if ended := _token_ended(session, proposal):
        return _lost(session, proposal, ended)
    proposal.attempt += 1
    token = proposal.run_token = secrets.token_hex(16)
    proposal.running_since = now()
    transitions.step(session, proposal, "start", SYSTEM)
    session.flush()
    tool_context = asked.context(proposal, None)
    context.keep()
    context.release()

    failure: Exception | None = None
    answer: Outcome | ToolFailure | None = None
    try:
        answer = context.cairnloop.hooks.ask_tool(
            asked.tool.name,
            lambda: outcome_of(asked.tool.run(asked.model, tool_context)),
            seconds=asked.tool.timeout,
        )
    except HookFailed as error:
        failure = error
    if isinstance(answer, ToolFailure):
        failure = answer

    proposal = transitions.lock(session, asked.proposal_id)
    ours = proposal.run_token == token and proposal.state in (ProposalState.RUNNING, ProposalState.UNCERTAIN)
    if not ours:  # taken over, or settled by a person meanwhile
        return "gone"
    if failure is not None:
        return _failed_attempt(context, asked, failure, locked=proposal)
    assert isinstance(answer, Outcome)  # noqa: S101 - else there is a failure
    _succeed(session, proposal, answer, asked.sealed)
    return proposal.state.value


# --- ends -------------------------------------------------------------------------------------------


def _failed_attempt(
    context: JobContext, asked: _Run, failure: Exception, *, count: int = 0, locked: ActionProposal | None = None
) -> str:
    """Write down an attempt that did not succeed, and what follows.

    Args:
        count: attempts that the lost transaction would have counted.
        locked: the action, if it is.
    """
    session, tool = context.session, asked.tool
    proposal = locked or transitions.lock(session, asked.proposal_id)
    if proposal.state not in (ProposalState.APPROVED, ProposalState.RUNNING, ProposalState.UNCERTAIN):
        return "gone"
    proposal.attempt += count
    words = given.scrubbed(_said(failure), asked.sealed)
    decided = verdict(tool.kind, tool.idempotent, failure, attempts_left=proposal.attempt < tool.attempts)
    if proposal.state is ProposalState.UNCERTAIN and decided is not Verdict.FAIL:
        return proposal.state.value  # nothing is known that was not known
    proposal.failure = words
    if decided is Verdict.RETRY:
        transitions.step(session, proposal, "be tried again", SYSTEM, why=_kind(failure))
        service.run_by_job(session, proposal, delay=backoff(proposal.attempt))
    elif decided is Verdict.FAIL:
        transitions.step(session, proposal, "fail", SYSTEM, why=_kind(failure))
    else:
        transitions.step(session, proposal, "become uncertain", SYSTEM, why=_kind(failure))
    session.flush()
    return proposal.state.value


def _succeed(session: Session, proposal: ActionProposal, answer: Outcome, sealed: Mapping[str, Any]) -> None:
    proposal.outcome = given.scrubbed(answer.summary, sealed)[:OUTCOME_LENGTH]
    proposal.result = json.loads(given.scrubbed(json.dumps(dict(answer.data)), sealed))
    proposal.failure = None
    transitions.step(session, proposal, "succeed", SYSTEM)
    session.flush()


def outcome_of(answer: object) -> Outcome:
    """What a tool answered, as it is kept.

    Raises:
        TypeError: it is nothing that a tool may answer.
    """
    if answer is None:
        return Outcome(DONE)
    if isinstance(answer, str):
        answer = Outcome(answer)
    if not isinstance(answer, Outcome):
        raise TypeError("A tool answers a text, an Outcome or None.")
    summary = str(answer.summary).replace("\x00", "").strip()[:OUTCOME_LENGTH] or DONE
    plain = json.dumps(dict(answer.data), default=str)
    if len(plain) > RESULT_SIZE or "\\u0000" in plain:
        return Outcome(summary, {"left_out": "It was too long, or held a character that cannot be kept."})
    return Outcome(summary, json.loads(plain))


def _said(failure: Exception) -> str:
    """A failure in words for the desk. Of anything but the tool's own report only how it ended, not what it said."""
    if isinstance(failure, ToolFailure):
        return str(failure).replace("\x00", "").strip()[:REASON_LENGTH] or "The tool gave no reason."
    if isinstance(failure, HookFailed) and failure.reason == "timeout":
        return "The tool did not answer in time."
    return f"The tool failed: {getattr(failure, 'detail', type(failure).__name__)}."[:REASON_LENGTH]


def _kind(failure: Exception) -> str:
    if isinstance(failure, ToolFailure):
        return "permanent" if isinstance(failure, PermanentFailure) else "retryable"
    return failure.reason if isinstance(failure, HookFailed) else "raised"


def give_up(context: JobContext, proposal_id: int) -> None:
    """Its job will not run any more: say on the action what that means."""
    session = context.session
    try:
        proposal = transitions.lock(session, proposal_id)
    except NotFound:
        return
    actor = context.actor or SYSTEM
    if proposal.state is ProposalState.RUNNING:
        transitions.step(session, proposal, "become uncertain", actor)
    elif proposal.state is ProposalState.APPROVED:
        discarded = context.actor is not None
        proposal.failure = (
            "Its job was discarded before it ran." if discarded else "It could not be run: asking your app failed."
        )
        transitions.step(session, proposal, "fail", actor, why="discarded" if discarded else "job")
