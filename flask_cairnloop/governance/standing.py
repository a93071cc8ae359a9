"""Asking whether an action may be: the people, the tool, the policy, as they are at this moment.

Everything here calls the host's code, so no transaction of ours should be open, and nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flask import has_request_context
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.errors import CustomerForgotten, HookFailed, NotFound
from flask_cairnloop.governance import tiers
from flask_cairnloop.governance.models import REASON_LENGTH
from flask_cairnloop.governance.tools import Change, Consequence, Tool, ToolContext, ToolFailure
from flask_cairnloop.governance.types import Refusal, Risk, Tier
from flask_cairnloop.hooks import ActionInfo, ConversationInfo, Customer, Hooks, Operator, Permission, Subject
from flask_cairnloop.tokens.types import Token

MOST_CHANGES = 20
TEXT_LENGTH = 2000  # characters of a consequence


@dataclass(frozen=True, slots=True)
class Place:
    """The conversation that an action belongs to, if it belongs to one."""

    conversation: ConversationInfo | None = None
    customer: Customer | None = None

    @property
    def subject(self) -> Subject | None:
        return Subject("conversation", self.conversation.id) if self.conversation else None


@dataclass(frozen=True, slots=True)
class Denial:
    """Why somebody may not, in a sentence."""

    refusal: Refusal
    reason: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """Who has to agree, and how that came about.

    Args:
        unsure: why the policy could not be asked, so that a person decides.
        snapshot: all of it, as plain values.
    """

    tier: Tier
    unsure: str | None
    snapshot: Mapping[str, Any]


def place_of(session: Session, conversation_id: int | None) -> Place:
    """Where an action belongs.

    Raises:
        NotFound: there is no such conversation, or, as ``CustomerForgotten``, none any more that takes words.
    """
    if conversation_id is None:
        return Place()
    found = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).options(joinedload(Conversation.customer))
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such conversation.")
    if found.erased_at is not None:
        raise CustomerForgotten
    person = found.customer
    return Place(
        ConversationInfo(
            found.id,
            found.subject,
            found.status.value,
            found.channel,
            found.created_at,
            found.resolved_at,
            found.assignee_id,
        ),
        Customer(person.ref, person.name, person.email, person.organization),
    )


def denial(
    hooks: Hooks,
    tool: Tool,
    permission: Permission,
    *,
    operator: Operator | None,
    scopes: Collection[str],
    inputs: BaseModel,
    place: Place,
    key: str = "",
    token: Token | None = None,
) -> Denial | None:
    """Why somebody may not propose or approve this, as they and the tool are now; ``None`` when they may.

    Args:
        operator: the person; ``None`` where it is none, such as a job of the host's.
        scopes: what it may then, in place of a person's permissions.
        token: the machine's key that it is, if it is one; then what this one may decides.

    Raises:
        HookFailed: the host could not be asked, which is no answer.
    """
    if operator is not None and not allowed(hooks, operator, permission, place.subject):
        return Denial(Refusal.PERMISSION, f"{operator.name} lacks the permission {permission.value}.")
    if token is not None and (lost := lacking(token, tool.name, permission, place)):
        return Denial(Refusal.PERMISSION, lost)
    has = token.scopes if token else scopes if operator is None else operator.permissions
    missing = sorted(set(tool.scopes) - set(has))
    if missing:
        who = operator.name if operator else "Whoever proposed it"
        return Denial(Refusal.SCOPE, f"{who} lacks {', '.join(missing)}."[:REASON_LENGTH])
    context = ToolContext(operator, place.conversation, place.customer, key, token=token)
    answer = hooks.ask_tool(tool.name, lambda: tool.authorize(inputs, context))
    if answer is True:
        return None
    said = str(answer) if isinstance(answer, str | ToolFailure) else ""
    return Denial(Refusal.TOOL, _kept(said) or "The tool does not allow it.")


def lacking(token: Token, tool: str, permission: Permission, place: Place) -> str | None:
    """What keeps a token from using a tool in a place, in a sentence; ``None``: nothing."""
    if permission not in token.scopes:
        return f"The token “{token.name}” lacks {permission.value}."
    if not token.may_use(tool):
        return f"The token “{token.name}” may not use this tool."
    conversation_id = place.conversation.id if place.conversation else None
    if not token.reaches(conversation_id, place.customer.ref if place.customer else None):
        return f"The token “{token.name}” may not act here."
    return None


def allowed(hooks: Hooks, operator: Operator, permission: Permission, subject: Subject | None) -> bool:
    """Whether an operator has a permission: on a request asked as its pages do, elsewhere within a time.

    Raises:
        HookFailed: not on a request: ``AUTHORIZE`` could not be asked.
    """
    if has_request_context():
        return hooks.authorize(operator, permission, subject)
    return hooks.may(operator, permission, subject)


def ruling(
    hooks: Hooks,
    tool: Tool,
    *,
    shown: Mapping[str, Any],
    proposed_by: str,
    operator: Operator | None,
    place: Place,
) -> Ruling:
    """Who has to agree, as tool, keys and policy are now."""
    info = ActionInfo(
        tool.name,
        tool.title,
        tool.risk,
        tool.kind,
        dict(shown),
        proposed_by,
        operator,
        place.conversation.id if place.conversation else None,
        place.customer,
    )
    answer, unsure = hooks.action_policy(info)
    loosened = hooks.loosened.get(tool.name)
    four_eyes = Risk(hooks.settings.four_eyes)
    tier = tiers.tier_of(tool.risk, four_eyes=four_eyes, loosened=loosened, policy=answer)
    return Ruling(
        tier,
        unsure,
        {
            "risk": tool.risk.value,
            "base": tiers.BASE[tool.risk].value,
            "four_eyes": four_eyes.value,
            "loosened": loosened.value if loosened else None,
            "policy": answer.value if answer else None,
            "unsure": unsure,
            "tier": tier.value,
        },
    )


def consequence(hooks: Hooks, tool: Tool, inputs: BaseModel, context: ToolContext) -> Consequence | ToolFailure:
    """What the tool says it would do, or that it would not.

    Raises:
        HookFailed: it could not say.
    """
    answer = hooks.ask_tool(tool.name, lambda: _consequence(tool, tool.preview(inputs, context)))
    return answer


def confirmation(hooks: Hooks, tool: Tool, inputs: BaseModel, context: ToolContext) -> str:
    """What each of two approvers types. The title, where the tool cannot say."""
    try:
        answer = hooks.ask_tool(tool.name, lambda: tool.confirmation(inputs, context))
    except HookFailed:
        return tool.title
    words = answer.strip()[:100] if isinstance(answer, str) else ""
    return words if words and "\x00" not in words else tool.title


def _consequence(tool: Tool, answer: object) -> Consequence:
    if isinstance(answer, str):
        answer = Consequence(answer)
    if not isinstance(answer, Consequence):
        raise TypeError("A preview is a text or a Consequence.")
    text = _clean(str(answer.text))[:TEXT_LENGTH] or tool.description
    changes = tuple(
        Change(_clean(str(one.label))[:100], _clean(str(one.now))[:200], _clean(str(one.after))[:200])
        for one in answer.changes[:MOST_CHANGES]
    )
    return Consequence(text, changes)


def _clean(text: str) -> str:
    return text.replace("\x00", "").strip()


def _kept(text: str) -> str:
    return _clean(text)[:REASON_LENGTH]


def person_of(hooks: Hooks, actor: Actor) -> Operator | None:
    """The operator that an actor is, as they are now; ``None`` when it is no person, or nobody knows them any more.

    Raises:
        HookFailed: ``OPERATOR_RESOLVER`` could not be asked.
    """
    return hooks.resolve_operator(actor.id) if actor.kind is ActorKind.OPERATOR else None
