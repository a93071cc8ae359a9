"""An action in words: one total presenter, for its card, its row and its page. Nothing raw reaches a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.console.action_form import Field, fields
from flask_cairnloop.console.presenters import Times
from flask_cairnloop.governance import tiers
from flask_cairnloop.governance.models import ActionApproval, ActionEvent, ActionProposal
from flask_cairnloop.governance.queries import Found, Queue
from flask_cairnloop.governance.tools import Registry, Tool
from flask_cairnloop.governance.types import (
    AGAIN_STATES,
    OVER_STATES,
    ApprovalState,
    EventKind,
    ProposalState,
    Risk,
    Tier,
)
from flask_cairnloop.hooks import Operator

S, K = ProposalState, EventKind

# State -> label, icon, tone.
STATUS: Final[dict[ProposalState, tuple[str, str, str]]] = {
    S.PENDING: ("Awaiting approval", "shield", "ember"),
    S.DEFERRED: ("Put off", "clock", "ember"),
    S.APPROVED: ("Approved, starting", "clock", "slate"),
    S.RUNNING: ("Running", "clock", "slate"),
    S.UNCERTAIN: ("Nobody knows", "warn", "danger"),
    S.SUCCEEDED: ("Done", "check", "moss"),
    S.FAILED: ("Failed", "warn", "danger"),
    S.REFUSED: ("Refused", "lock", "muted"),
    S.REJECTED: ("Rejected", "x", "muted"),
    S.EXPIRED: ("Expired", "clock", "muted"),
    S.INVALIDATED: ("Stopped before it ran", "lock", "danger"),
    S.WITHDRAWN: ("Withdrawn", "undo", "muted"),
}
RISKS: Final[dict[Risk, tuple[str, str, str]]] = {
    Risk.READ_ONLY: ("Reads only", "It changes nothing.", "muted"),
    Risk.LOW_WRITE: ("Low risk", "It changes something that is easily put right.", "muted"),
    Risk.HIGH_WRITE: ("High risk", "It changes something that is hard to put right.", "danger"),
    Risk.DESTRUCTIVE: ("Cannot be undone", "What it takes away is gone.", "danger"),
}
RULES: Final[dict[Tier, str]] = {
    Tier.AUTO: "Nobody has to approve it. It is checked again just before it runs.",
    Tier.ONE: "One person has to approve it. It is checked again just before it runs.",
    Tier.OTHER: "Somebody who did not propose it has to approve it. It is checked again just before it runs.",
    Tier.TWO: "Two people who did not propose it have to approve it, and type what it is about. It is checked again "
    "just before it runs.",
    Tier.REFUSE: "It is not allowed.",
}
QUEUES: Final[dict[Queue, str]] = {
    Queue.WAITING: "Waiting",
    Queue.LOOK: "Running",
    Queue.DEFERRED: "Put off",
    Queue.OVER: "Decided",
}
QUEUE_EMPTY: Final[dict[Queue, tuple[str, str]]] = {
    Queue.WAITING: (
        "Nothing waits for a decision",
        "What somebody wants to have done, and needs a yes for, appears here.",
    ),
    Queue.LOOK: ("Nothing is running", "Approved actions stand here until they are over."),
    Queue.DEFERRED: ("Nothing was put off", "What was put off stands here until it comes back by itself."),
    Queue.OVER: ("Nothing has been decided yet", "What became of each action stands here."),
}
DEFERRALS: Final = (("1", "Until tomorrow"), ("3", "For three days"), ("7", "For a week"), ("30", "For a month"))
_LINES: Final[dict[EventKind, tuple[str, str]]] = {
    K.PROPOSED: ("user", "{who} proposed it"),
    K.REFUSED: ("lock", "It was refused when {who} proposed it"),
    K.AUTO_APPROVED: ("check", "It needs nobody’s approval"),
    K.EDITED: ("edit", "{who} changed what it would do"),
    K.APPROVAL_GIVEN: ("check", "{who} approved it; one more person is needed"),
    K.APPROVAL_SET_ASIDE: ("undo", "An earlier approval does not count any more"),
    K.APPROVED: ("check", "{who} approved it"),
    K.REJECTED: ("x", "{who} rejected it"),
    K.DEFERRED: ("clock", "{who} put it off"),
    K.CAME_BACK: ("undo", "It came back for a decision"),
    K.EXPIRED: ("clock", "Nobody decided in time"),
    K.WITHDRAWN: ("undo", "{who} took it back"),
    K.INVALIDATED: ("lock", "It was checked again, and stopped"),
    K.STARTED: ("right", "Checked again, and started: attempt {attempt}"),
    K.ATTEMPT_FAILED: ("warn", "Attempt {attempt} failed; it is tried again"),
    K.SUCCEEDED: ("check", "Done, at attempt {attempt}"),
    K.FAILED: ("warn", "Failed, at attempt {attempt}"),
    K.BECAME_UNCERTAIN: ("warn", "It was cut off, and nobody knows whether it was done"),
    K.SETTLED: ("check", "{who} looked, and said how it ended"),
}
_STEPS: Final = ("Proposed", "Decision", "Re-check", "Done")
_AT_STEP: Final[dict[ProposalState, int]] = {
    S.PENDING: 1,
    S.DEFERRED: 1,
    S.APPROVED: 2,
    S.RUNNING: 3,
    S.UNCERTAIN: 3,
    S.SUCCEEDED: 4,
    S.FAILED: 3,
    S.INVALIDATED: 2,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    icon: str
    text: str
    moment: datetime
    note: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ActionRow:
    """An action in a list."""

    id: int
    title: str
    who: str
    by: str
    status: tuple[str, str, str]
    risk: tuple[str, str, str]
    due: str
    moment: datetime
    pending: bool


@dataclass(frozen=True, slots=True)
class ActionCard:
    """An action as its card and its page show it.

    Args:
        why_not: why the operator cannot approve it, in a sentence for them.
        offers: what they can do: ``approve``, ``decide``, ``back``, ``withdraw``, ``settle``, ``again``.
        typed: what they have to type to approve it.
        fields: what they may change of it.
    """

    id: int
    conversation_id: int | None
    subject: str
    customer: str
    title: str
    status: tuple[str, str, str]
    risk: tuple[str, str, str]
    outlook: str
    consequence: str
    changes: tuple[tuple[str, str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    reason: str
    by: str
    rules: str
    due: str
    history: tuple[Line, ...]
    track: tuple[tuple[str, str], ...]
    given: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]
    result: tuple[tuple[str, str], ...]
    offers: frozenset[str]
    why_not: str
    typed: str
    fields: tuple[Field, ...]
    revision: int
    over: bool
    created_at: datetime


def row(found: Found, times: Times) -> ActionRow:
    """An action in a list."""
    one = found.proposal
    return ActionRow(
        one.id,
        one.title,
        found.organization or found.customer or "Without a conversation",
        f"{_proposer(one)} proposed this",
        STATUS[one.state],
        RISKS[one.risk],
        _due(one, times),
        one.finished_at or one.created_at,
        one.state is S.PENDING,
    )


def card(
    found: Found,
    operator: Operator,
    registry: Registry,
    times: Times,
    *,
    may_approve: bool,
    may_propose: bool,
    errors: Mapping[str, str] | None = None,
    held: Mapping[str, Any] | None = None,
) -> ActionCard:
    """An action for its card and its page.

    Args:
        errors, held: what was wrong with changes that the operator wanted, and what they had typed.
    """
    one = found.proposal
    approvers = [row.decided_by or "" for row in found.approvals if row.state is ApprovalState.APPROVED]
    why_not = _why_not(one, approvers, operator, may_approve, times)
    tool = registry.find(one.tool)
    offers = _offers(one, operator, why_not, may_approve, may_propose, tool is not None)
    return ActionCard(
        id=one.id,
        conversation_id=one.conversation_id,
        subject=found.subject or "",
        customer=found.organization or found.customer or "",
        title=one.title,
        status=STATUS[one.state],
        risk=RISKS[one.risk],
        outlook=_outlook(one, times),
        consequence=one.consequence,
        changes=tuple((str(c.get("label", "")), str(c.get("now", "")), str(c.get("after", ""))) for c in one.changes),
        inputs=tuple((str(one.labels.get(name, name)), _value(one.inputs[name])) for name in _in_order(one, tool)),
        reason=one.reason,
        by=_proposer(one),
        rules=_rules(one),
        due=_due(one, times) if one.state is S.PENDING else "",
        history=tuple(_line(event, one, found.approvals) for event in found.events),
        track=_track(one),
        given=tuple(row.decided_by_name or "" for row in found.approvals if row.state is ApprovalState.APPROVED),
        evidence=tuple((str(e.get("title", "")), str(e.get("text", ""))) for e in one.evidence),
        result=_result(one.result),
        offers=offers,
        why_not=why_not,
        typed=one.confirmation or "" if tiers.confirmed(one.tier) else "",
        fields=tuple(fields(tool, {**one.inputs, **(held or {})}, errors)) if tool and "approve" in offers else (),
        revision=one.revision,
        over=one.state in OVER_STATES,
        created_at=one.created_at,
    )


def _in_order(one: ActionProposal, tool: Tool | None) -> list[str]:
    """The names of the values as the tool has them; the database keeps no order."""
    known = list(tool.Input.model_fields) if tool else []
    return sorted(one.inputs, key=lambda name: known.index(name) if name in known else len(known))


def _offers(
    one: ActionProposal, operator: Operator, why_not: str, may_approve: bool, may_propose: bool, known: bool
) -> frozenset[str]:
    found = set()
    if one.state is S.PENDING and not why_not and known:
        found.add("approve")
    if may_approve and one.state is S.PENDING:
        found.add("decide")
    if may_approve and one.state is S.DEFERRED:
        found |= {"back", "reject"}
    if one.state in (S.PENDING, S.DEFERRED, S.APPROVED) and one.proposed_by == operator.id:
        found.add("withdraw")
    if may_approve and one.state is S.UNCERTAIN:
        found.add("settle")
    if may_propose and one.state in AGAIN_STATES and known:
        found.add("again")
    return frozenset(found)


def _why_not(one: ActionProposal, approvers: list[str], operator: Operator, may_approve: bool, times: Times) -> str:
    if one.state is not S.PENDING:
        return ""
    if one.expires_at <= times.now:
        return "Nobody decided in time."
    if not may_approve:
        return "You may not approve actions."
    return tiers.why_not(one.tier, one.proposed_by, approvers, operator.id) or ""


def _outlook(one: ActionProposal, times: Times) -> str:
    words = {
        S.PENDING: "It runs once it is approved.",
        S.DEFERRED: f"It comes back on {times.stamp(one.deferred_until)}." if one.deferred_until else "It comes back.",
        S.APPROVED: "Approved. It is checked again, and then it runs.",
        S.RUNNING: "It has begun. It is not known yet how it ends.",
        S.UNCERTAIN: "It was cut off. Look where it would have had its effect, and say whether it has.",
        S.SUCCEEDED: one.outcome or "Done.",
        S.FAILED: one.failure or "It failed.",
        S.REFUSED: one.failure or "It is not allowed.",
        S.REJECTED: "It was rejected, and did not run.",
        S.EXPIRED: "Nobody decided in time. It did not run.",
        S.INVALIDATED: f"It did not run. {one.failure or ''}".strip(),
        S.WITHDRAWN: "It was taken back, and did not run.",
    }
    return words[one.state]


def _rules(one: ActionProposal) -> str:
    unsure = one.policy.get("unsure")
    return f"{RULES[one.tier]} {unsure}" if isinstance(unsure, str) else RULES[one.tier]


def _due(one: ActionProposal, times: Times) -> str:
    moment = one.expires_at if one.state is S.PENDING else one.deferred_until if one.state is S.DEFERRED else None
    if moment is None:
        return ""
    minutes = int((moment - times.now).total_seconds() // 60)
    if minutes <= 0:
        return "run out" if one.state is S.PENDING else "now"
    if minutes < 60:
        left = f"{minutes}m"
    elif minutes < 48 * 60:
        left = f"{minutes // 60}h {minutes % 60:02d}m"
    else:
        left = f"{minutes // 1440} days"
    return f"{left} left" if one.state is S.PENDING else f"in {left}"


def _proposer(one: ActionProposal) -> str:
    if one.proposed_by_kind in (ActorKind.OPERATOR, ActorKind.TOKEN):
        return one.proposed_by_name
    return one.proposed_by.partition(":")[2].replace("_", " ").capitalize() or "Your app"


def _line(event: ActionEvent, one: ActionProposal, approvals: object) -> Line:
    icon, words = _LINES[event.kind]
    who = _proposer(one) if event.kind in (K.PROPOSED, K.REFUSED) else _actor(event)
    note = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    answer = _answer(event, approvals)
    if answer is not None:
        note = answer.reason
        if event.kind is K.EDITED:
            edits = tuple(
                (
                    str(one.labels.get(str(edit.get("field")), edit.get("field"))),
                    _value(edit.get("before")),
                    _value(edit.get("after")),
                )
                for edit in answer.edits
            )
            note = ""
    if event.kind in (K.REFUSED, K.INVALIDATED, K.FAILED):
        note = one.failure or ""
    if event.kind is K.SETTLED:
        note = one.outcome or one.failure or ""
    return Line(icon, words.format(who=who, attempt=event.attempt), event.occurred_at, note, edits)


def _answer(event: ActionEvent, approvals: Any) -> ActionApproval | None:
    """The answer of the same person at the same moment: the events hold no words, and name no row."""
    if event.kind not in (K.EDITED, K.APPROVED, K.APPROVAL_GIVEN, K.REJECTED, K.DEFERRED):
        return None
    mine = [row for row in approvals if row.decided_by == event.actor_id and row.decided_at is not None]
    return min(mine, key=lambda row: abs(row.decided_at - event.occurred_at), default=None)


def _actor(event: ActionEvent) -> str:
    return event.actor_name if event.actor_kind in (ActorKind.OPERATOR, ActorKind.TOKEN) else "The desk"


def _track(one: ActionProposal) -> tuple[tuple[str, str], ...]:
    """The four steps, each ``done``, ``now``, ``next`` or ``off``: where it ended otherwise, nothing comes any more."""
    at = _AT_STEP.get(one.state, 1)
    ended = one.state in OVER_STATES and one.state is not S.SUCCEEDED
    return tuple(
        ("done" if place < at else "off" if ended else "now" if place == at else "next", step)
        for place, step in enumerate(_STEPS)
    )


def _result(result: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a tool handed back, as far as it is plain; the rest is for machines."""
    plain = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            plain += [(str(inner), _value(more)) for inner, more in value.items() if not isinstance(more, Mapping)]
        elif not isinstance(value, list):
            plain.append((str(name).replace("_", " ").capitalize(), _value(value)))
    return tuple(plain[:12])


def _value(value: Any) -> str:
    if value is None or value == "":
        return "Nothing"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return ", ".join(map(str, value)) or "Nothing"
    return "More than fits here"
