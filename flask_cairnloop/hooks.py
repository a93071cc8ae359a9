"""The host's callables: what they receive, what they may answer, and what happens when they fail.

Host code is called from here only, outside our transactions and within ``CAIRNLOOP_HOOK_TIMEOUT`` seconds. Two hooks
run on the request itself, because they are part of it: ``OPERATOR_LOADER`` and ``AUTHORIZE``. ``AUDITOR`` runs inside
our transaction, so that its row and ours are committed together or not at all.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import fsspec
from flask import Flask, current_app
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.orm import Session

from flask_cairnloop.config import LONGEST_HOOK, PREFIX, Settings, is_storage_address
from flask_cairnloop.drafting.types import Declined, DraftKind, Grounding, PolicyDecision, Proposal
from flask_cairnloop.errors import ConfigurationError, HookFailed
from flask_cairnloop.governance.tools import Registry, ToolFailure, registry_of
from flask_cairnloop.governance.types import PolicyAnswer, Risk, Tier, ToolKind
from flask_cairnloop.outbound.types import Delivery
from flask_cairnloop.retrieval.types import Embedder, Strength
from flask_cairnloop.service_levels.types import ServiceLevel
from flask_cairnloop.telemetry import HOOK, carried, span

if TYPE_CHECKING:
    from flask_cairnloop.audit.models import AuditEntry
    from flask_cairnloop.upkeep.writing import Brief, Written

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_OPERATORS = 200  # that one answer of the directory may name
MODEL_LENGTH = 200  # characters of an embedding model's fingerprint, as its column holds them


class Permission(StrEnum):
    """What an operator may do."""

    CONVERSATIONS_READ = "conversations.read"
    CONVERSATIONS_REPLY = "conversations.reply"  # replies, decisions on drafts, who has a conversation
    CONVERSATIONS_NOTE = "conversations.note"
    CONVERSATIONS_RESOLVE = "conversations.resolve"  # also reopen, and spam
    VIEWS_SHARE = "views.share"  # make a list of the inbox everybody's, and take it away again
    MACROS_SHARE = "macros.share"  # make macros for the whole team, and change and delete those
    ACTIONS_PROPOSE = "actions.propose"  # propose what a tool does, and take it back
    ACTIONS_APPROVE = "actions.approve"  # approve, reject, put off, and say how an uncertain one ended
    ANALYTICS_READ = "analytics.read"  # figures about the desk and its people, with what customers said of the help
    KNOWLEDGE_READ = "knowledge.read"
    KNOWLEDGE_EDIT = "knowledge.edit"  # write articles, and say that one did not answer a question
    KNOWLEDGE_PUBLISH = "knowledge.publish"  # also archive, bring back, and set a time for it
    OPERATIONS_READ = "operations.read"  # health, queues and failed jobs
    OPERATIONS_MANAGE = "operations.manage"  # retry or discard a failed job
    AUDIT_READ = "audit.read"  # who did what, in all conversations and articles
    OUTBOUND_READ = "outbound.read"  # follow-ups, templates, and who gets none
    OUTBOUND_SEND = (
        "outbound.send"  # to one customer; also stop, retry, say how one ended, and the list of who gets none
    )
    OUTBOUND_BULK = "outbound.bulk"  # to several customers at once
    OUTBOUND_TEMPLATES = "outbound.templates"  # write and archive templates
    TOKENS_MANAGE = "tokens.manage"  # make and revoke the keys of machines
    POLICY_MANAGE = "policy.manage"  # by when customers are promised an answer, business hours, what a breach does


DEFAULT_PERMISSIONS = frozenset(Permission)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a permission is asked for, where it is asked for one thing: e.g. ``Subject("conversation", 12)``."""

    kind: str
    id: int


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who works the desk.

    Args:
        id: the host's own stable id.
        name: shown to colleagues, and to customers beside replies.
        permissions: what they may do; by default everything a support agent does.
        teams: names of the teams they are in. Conversations can be given to a team, see ``OPERATORS``.
    """

    id: str
    name: str
    email: str | None = None
    permissions: frozenset[str] = DEFAULT_PERMISSIONS
    teams: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Customer:
    """A person who asks, as the host vouches for them.

    Args:
        ref: the host's own stable reference, 1 to 200 characters.
    """

    ref: str
    name: str | None = None
    email: str | None = None
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """The conversation that ``CONTEXT_PROVIDER`` and ``SLA_POLICY`` are asked about.

    Args:
        status: ``"open"`` or ``"resolved"``.
        channel: how it came in, e.g. ``"widget"``.
        assignee_id: id of the operator who has it, if somebody does.
        priority: ``"urgent"``, ``"high"``, ``"normal"`` or ``"low"``.
        team: the team it is for, if it is for one.
        customer: whose it is; for ``SLA_POLICY`` alone, as the other one gets them beside it.
    """

    id: int
    subject: str
    status: str
    channel: str
    opened_at: datetime
    resolved_at: datetime | None = None
    assignee_id: str | None = None
    priority: str = "normal"
    team: str | None = None
    customer: Customer | None = None


@dataclass(frozen=True, slots=True)
class DraftInfo:
    """What ``AUTOMATION_POLICY`` decides on."""

    conversation_id: int
    customer: Customer
    kind: DraftKind
    grounding: Strength
    score: float
    question: str
    body: str
    engine: str


@dataclass(frozen=True, slots=True)
class ActionInfo:
    """What ``ACTION_POLICY`` is asked about, when an action is proposed, changed or approved, and before it runs.

    Args:
        tool, title, risk, kind: of the tool as it is now.
        inputs: what it would be given; of sensitive fields a stand-in.
        proposed_by: id of whoever proposed it.
        operator: the person who did, where it was one.
        conversation_id, customer: where it belongs, if to a conversation.
    """

    tool: str
    title: str
    risk: Risk
    kind: ToolKind
    inputs: Mapping[str, Any]
    proposed_by: str
    operator: Operator | None = None
    conversation_id: int | None = None
    customer: Customer | None = None


@dataclass(frozen=True, slots=True)
class ResolvedEvent:
    """What ``ON_CONVERSATION_RESOLVED`` receives.

    Args:
        key: the same over every retry of one resolution, and of no other event.
        actor_id, actor_kind, actor_name: who resolved it: ``"operator"``, ``"customer"``, ``"token"``, ``"policy"`` or
            ``"system"``.
        how: ``"console"``, ``"reply"`` with one that was sent, ``"several"`` together with others, ``"action"`` by a
            governed one, or ``"host"`` by a call of yours.
        rating_url: page on which the customer can rate the help without signing in; ``None`` where nobody asks, or not
            any more. It begins with ``PUBLIC_URL``, or without one with ``URL_PREFIX``. Whoever has it can rate: mail
            it to the customer only.
        rating_until: until when that can be done.
        metadata: what the call that resolved it was given.
    """

    key: str
    conversation_id: int
    customer: Customer
    subject: str
    actor_id: str
    resolved_at: datetime
    actor_kind: str = "operator"
    actor_name: str = ""
    how: str = "host"
    rating_url: str | None = None
    rating_until: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnseenReply:
    """A reply that the customer has not seen.

    Args:
        body: its words; empty where it is files alone.
        author: who of the team wrote it, as the customer reads it.
        files: the names of what came with it. The files themselves are in the chat.
    """

    message_id: int
    body: str
    author: str
    sent_at: datetime
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplyUnseenEvent:
    """What ``ON_REPLY_UNSEEN`` receives.

    Args:
        key: the same over every retry, and of no other event.
        replies: all that the customer has not seen and was not told of, oldest first. There may be one more of them
            when it is tried again.
    """

    key: str
    conversation_id: int
    customer: Customer
    subject: str
    replies: tuple[UnseenReply, ...]


@dataclass(frozen=True, slots=True)
class BreachEvent:
    """What ``ON_SLA_BREACH`` receives.

    Args:
        key: the same over every retry of one breach, and of no other.
        target: ``"first_response"``, ``"next_response"`` or ``"resolution"``.
        due_at: the deadline that passed.
        breached_at: when that was noticed.
        actor_id: who noticed it: the desk itself.
        metadata: what was promised by which version of the policy (``None`` for the host's), and where the conversation
            stands: its priority, team and assignee, and whether the answer has come meanwhile.
    """

    key: str
    conversation_id: int
    customer: Customer
    subject: str
    target: str
    due_at: datetime
    breached_at: datetime
    actor_id: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditInfo:
    """What ``AUDITOR`` receives.

    Args:
        actor_id: of a customer the pseudonym that the audit log has for them, never their reference.
    """

    id: int
    occurred_at: datetime
    actor_kind: str
    actor_id: str
    action: str
    subject_type: str
    subject_id: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContextView:
    """What an operator sees about a customer, and whether it could be had."""

    state: Literal["loaded", "empty", "failed", "not_configured"]
    facts: tuple[tuple[str, str], ...] = ()
    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()


class SignedCustomerVerifier:
    """Verifies customer tokens that the host has signed, with an age limit.

    Args:
        secret: signing key; the app's ``SECRET_KEY`` when left out.
        max_age: seconds a token is good for.
    """

    def __init__(self, secret: str | None = None, max_age: int = 3600) -> None:
        if secret is not None and len(secret) < 16:
            raise ConfigurationError("SignedCustomerVerifier needs a secret of at least 16 characters.")
        self._secret = secret
        self.max_age = max_age

    def _serializer(self) -> URLSafeTimedSerializer:
        secret = self._secret or current_app.secret_key
        if not secret:
            raise ConfigurationError("SignedCustomerVerifier needs a secret, or SECRET_KEY on the app.")
        return URLSafeTimedSerializer(secret, salt="flask_cairnloop.customer")

    def issue(self, customer: Customer) -> str:
        """A token for a customer whom the host has just authenticated."""
        return self._serializer().dumps([customer.ref, customer.name, customer.email, customer.organization])

    def __call__(self, token: str) -> Customer | None:
        """The customer of a token; ``None`` when it is forged, damaged or too old."""
        try:
            ref, name, email, organization = self._serializer().loads(token, max_age=self.max_age)
        except (BadSignature, ValueError, TypeError):
            return None
        return Customer(ref, name, email, organization)


@dataclass(slots=True)
class Hooks:
    """The configured hooks of one app, resolved at start, and the only door to them."""

    app: Flask
    settings: Settings
    _resolved: dict[str, Any] = field(default_factory=dict)
    _embedder_lock: threading.Lock = field(default_factory=threading.Lock)
    tools: Registry = field(default_factory=Registry)  # none where nobody's permission could be asked again
    loosened: Mapping[str, Tier] = field(default_factory=dict)
    last_live: str | None = None  # model that search last found live; a guess, asked again of the database each time

    def resolve(self) -> None:
        """Import every hook given as ``"package.module:attribute"``.

        Raises:
            ConfigurationError: it does not exist, is not callable, or is an embedder without the needed attributes.
        """
        for key in _HOOK_KEYS:
            value = getattr(self.settings, key.lower())
            if isinstance(value, str):
                value = _import(PREFIX + key, value)
            if value is not None and not callable(value):
                raise ConfigurationError(f"{PREFIX}{key} is {type(value).__name__}; it must be callable.")
            self._resolved[key] = value
        if self.settings.auto_assign == "arrival" and not self.configured("OPERATORS"):
            raise ConfigurationError(f"{PREFIX}AUTO_ASSIGN is 'arrival': that needs {PREFIX}OPERATORS.")
        storage = self.settings.file_storage
        if is_storage_address(storage):
            storage = None
        self._resolved["FILE_STORAGE"] = (
            _import(PREFIX + "FILE_STORAGE", storage) if isinstance(storage, str) else storage
        )
        for key in ("EMBEDDER", "PREVIOUS_EMBEDDER"):
            embedder = getattr(self.settings, key.lower())
            if isinstance(embedder, str):
                embedder = _import(PREFIX + key, embedder)
            if embedder is not None:
                _check_embedder(key, embedder)
            self._resolved[key] = embedder

        self._resolve_tools()

    def _resolve_tools(self) -> None:
        named = [_import(f"{PREFIX}TOOLS", tool) if isinstance(tool, str) else tool for tool in self.settings.tools]
        if not self.configured("OPERATOR_RESOLVER"):
            if named or self.settings.loosen_tools:
                key = "TOOLS" if named else "LOOSEN_TOOLS"
                raise ConfigurationError(
                    f"{PREFIX}{key} needs {PREFIX}OPERATOR_RESOLVER: permissions are asked again when an action runs."
                )
            return
        from flask_cairnloop.governance.builtin import BUILT_IN_TOOLS  # they call rooms that import this module

        self.tools, self.loosened = registry_of(named, BUILT_IN_TOOLS, self.settings.loosen_tools)

    def configured(self, key: str) -> bool:
        """Whether the host has set this hook (name without prefix)."""
        return self._resolved.get(key) is not None

    # --- who is it --------------------------------------------------------------------------------

    def load_operator(self) -> Operator | None:
        """Who is signed in on this request.

        Raises:
            HookFailed: the loader raised, or answered something else than an Operator or None.
        """
        answer = _guarded("OPERATOR_LOADER", self._resolved["OPERATOR_LOADER"])
        if answer is None:
            return None
        if not isinstance(answer, Operator) or not _operator_fits(answer):
            raise HookFailed(f"{PREFIX}OPERATOR_LOADER", "invalid", type(answer).__name__)
        return answer

    def authorize(self, operator: Operator, permission: Permission, subject: Subject | None = None) -> bool:
        """Whether an operator may do something, in general or to one subject. A hook that fails means no."""
        hook = self._resolved["AUTHORIZE"]
        if hook is None:
            return permission in operator.permissions
        try:
            return _guarded("AUTHORIZE", hook, operator, permission, subject) is True
        except HookFailed:
            return False

    def resolve_operator(self, operator_id: str) -> Operator | None:
        """An operator outside a request, as they are now; ``None`` when there is no such person any more.

        Raises:
            HookFailed: the resolver could not be asked, or answered something else. Nobody is meant by that.
        """
        hook = self._resolved["OPERATOR_RESOLVER"]
        if hook is None:
            return None
        answer = self._call("OPERATOR_RESOLVER", hook, operator_id)
        if answer is None:
            return None
        if not isinstance(answer, Operator) or not _operator_fits(answer) or answer.id != operator_id:
            raise HookFailed(f"{PREFIX}OPERATOR_RESOLVER", "invalid", type(answer).__name__)
        return answer

    def may(self, operator: Operator, permission: Permission, subject: Subject | None = None) -> bool:
        """The same as :meth:`authorize`, outside a request and within a time.

        Raises:
            HookFailed: ``AUTHORIZE`` could not be asked. That is no answer yet; asking again later may help.
        """
        hook = self._resolved["AUTHORIZE"]
        if hook is None:
            return permission in operator.permissions
        return self._call("AUTHORIZE", hook, operator, permission, subject) is True

    def operators(self, query: str) -> list[Operator]:
        """The people of the desk whose name holds some words, or all of them, at most :data:`MOST_OPERATORS`.

        Raises:
            HookFailed: the directory could not be asked, or answered something else. There is none without the hook.
        """
        hook = self._resolved["OPERATORS"]
        if hook is None:
            return []

        def people() -> list[Operator]:
            answer = hook(query)
            if isinstance(answer, str) or not isinstance(answer, Iterable):
                raise HookFailed(f"{PREFIX}OPERATORS", "invalid", type(answer).__name__)
            found = [one for one, _ in zip(answer, range(MOST_OPERATORS), strict=False)]
            for one in found:
                if not isinstance(one, Operator) or not _operator_fits(one):
                    raise HookFailed(f"{PREFIX}OPERATORS", "invalid", type(one).__name__)
            return found

        found: list[Operator] = self._call("OPERATORS", people)
        return found

    def colleagues(self, query: str) -> list[Operator]:
        """The same, where nobody is an answer as well: none where the directory is not set, or fails."""
        try:
            return self.operators(query)
        except HookFailed:
            return []

    def verify_customer(self, token: str) -> Customer | None:
        """Who a customer token belongs to; ``None`` when nobody, or when no verifier is set.

        Raises:
            HookFailed: the verifier could not be asked, or answered something else than a Customer or None. Nobody is
                let in, but nobody has been refused either: asking again later may help.
        """
        hook = self._resolved["CUSTOMER_VERIFIER"]
        if hook is None or not token or len(token) > 8192:
            return None
        customer = self._call("CUSTOMER_VERIFIER", hook, token)
        if customer is None:
            return None
        if not isinstance(customer, Customer) or not _customer_fits(customer):
            log.error("%sCUSTOMER_VERIFIER answered %s", PREFIX, type(customer).__name__)
            raise HookFailed(f"{PREFIX}CUSTOMER_VERIFIER", "invalid", type(customer).__name__)
        return customer

    # --- what is known ----------------------------------------------------------------------------

    def load_context(self, customer: Customer, conversation: ConversationInfo) -> ContextView:
        """What the host knows about a customer. Never raises: failure is a state of the view."""
        hook = self._resolved["CONTEXT_PROVIDER"]
        if hook is None:
            return ContextView("not_configured")

        def view() -> ContextView:
            # The words of the host's values are made by the host's code as well: rows that load late, lazy texts.
            return _context_view(hook(customer, conversation))

        try:
            found: ContextView = self._call("CONTEXT_PROVIDER", view)
        except HookFailed:
            return ContextView("failed")
        return found

    def article_scope(self, customer: Customer) -> frozenset[str] | None:
        """Tags of the articles that may answer a customer; ``None`` for all. None at all where the hook fails."""
        hook = self._resolved["ARTICLE_SCOPE"]
        if hook is None:
            return None

        def tags() -> frozenset[str] | None:
            answer = hook(customer)
            if answer is None:
                return None
            if isinstance(answer, str) or not isinstance(answer, Iterable):
                raise HookFailed(f"{PREFIX}ARTICLE_SCOPE", "invalid", type(answer).__name__)
            found = frozenset(answer)
            if not all(isinstance(tag, str) and "\x00" not in tag for tag in found):
                raise HookFailed(f"{PREFIX}ARTICLE_SCOPE", "invalid", "a tag that is no text")
            return found

        try:
            scope: frozenset[str] | None = self._call("ARTICLE_SCOPE", tags)
        except HookFailed:
            return frozenset()
        return scope

    def embedder(self) -> Embedder | None:
        """The configured embedder under a time limit, or the offline model of the ``local`` extra, or ``None``."""
        configured = self._resolved["EMBEDDER"]
        if configured is not None:
            return _TimedEmbedder(self, "EMBEDDER", configured)
        with self._embedder_lock:
            if "LOCAL" not in self._resolved:
                from flask_cairnloop.retrieval.local import default_embedder

                self._resolved["LOCAL"] = default_embedder()
            return cast("Embedder | None", self._resolved["LOCAL"])

    def previous_embedder(self) -> Embedder | None:
        """The embedder to go on with until passages have vectors of the configured one; ``None`` when not set."""
        configured = self._resolved["PREVIOUS_EMBEDDER"]
        return None if configured is None else _TimedEmbedder(self, "PREVIOUS_EMBEDDER", configured)

    # --- where files lie --------------------------------------------------------------------------

    def file_storage(self) -> Any:
        """The filesystem that the host has made for files.

        Raises:
            HookFailed: it raised, ran out of time, or made something else.
        """
        made = self._call("FILE_STORAGE", self._resolved["FILE_STORAGE"])
        if not isinstance(made, fsspec.AbstractFileSystem):
            raise HookFailed(f"{PREFIX}FILE_STORAGE", "invalid", type(made).__name__)
        return made

    # --- what shall happen ------------------------------------------------------------------------

    def generate_draft(self, grounding: Grounding) -> Proposal | Declined | None:
        """The host engine's proposal, or why it has none this time; ``None`` when no engine is configured.

        Raises:
            HookFailed: it raised, ran out of time, or answered something else.
        """
        hook = self._resolved["DRAFT_GENERATOR"]
        if hook is None:
            return None
        proposal = self._call("DRAFT_GENERATOR", hook, grounding, seconds=LONGEST_HOOK)
        if not isinstance(proposal, Proposal | Declined):
            raise HookFailed(f"{PREFIX}DRAFT_GENERATOR", "invalid", type(proposal).__name__)
        return proposal

    def write_article(self, brief: Brief) -> Written | Declined | None:
        """The host's article, or why it has none this time; ``None`` when nothing of the kind is configured.

        Raises:
            HookFailed: it raised, ran out of time, or answered something else.
        """
        hook = self._resolved["ARTICLE_WRITER"]
        if hook is None:
            return None
        from flask_cairnloop.upkeep.writing import Written  # a room that asks for hooks itself

        written = self._call("ARTICLE_WRITER", hook, brief, seconds=LONGEST_HOOK)
        if not isinstance(written, Written | Declined):
            raise HookFailed(f"{PREFIX}ARTICLE_WRITER", "invalid", type(written).__name__)
        return written

    def automation_policy(self, draft: DraftInfo) -> tuple[PolicyDecision, str | None]:
        """The host's decision on a draft and, where it could not be had, why an operator has to approve."""
        hook = self._resolved["AUTOMATION_POLICY"]
        if hook is None:
            return PolicyDecision.REQUIRE_APPROVAL, None
        try:
            answer = self._call("AUTOMATION_POLICY", hook, draft)
        except HookFailed as failure:
            how = "did not answer in time" if failure.reason == "timeout" else "failed"
            return PolicyDecision.REQUIRE_APPROVAL, f"Your app’s policy {how}, so a person decides."
        try:
            return PolicyDecision(answer), None
        except ValueError:
            log.error("%sAUTOMATION_POLICY answered an unknown decision", PREFIX)
            return PolicyDecision.REQUIRE_APPROVAL, "The policy gave no decision we know."

    def action_policy(self, action: ActionInfo) -> tuple[PolicyAnswer | None, str | None]:
        """The host's decision on an action and, where it could not be had, why a person has to approve."""
        hook = self._resolved["ACTION_POLICY"]
        if hook is None:
            return None, None
        try:
            answer = self._call("ACTION_POLICY", hook, action)
        except HookFailed as failure:
            how = "did not answer in time" if failure.reason == "timeout" else "failed"
            return PolicyAnswer.APPROVAL, f"Your app’s policy {how}, so a person decides."
        if answer is None:
            return None, None
        try:
            return PolicyAnswer(answer), None
        except ValueError:
            log.error("%sACTION_POLICY answered an unknown decision", PREFIX)
            return PolicyAnswer.APPROVAL, "The policy gave no decision we know, so a person decides."

    def ask_tool(self, name: str, work: Callable[[], T], seconds: float | None = None) -> T | ToolFailure:
        """Let a tool answer, in a thread and app context of its own and within a time.

        Args:
            name: the tool's, for the host's log.
            seconds: how long; as for any hook when left out.

        Returns:
            What it answered; or the failure that it reported itself, which is an answer too.

        Raises:
            HookFailed: it raised anything else, or ran out of time.
        """

        def run() -> T | ToolFailure:
            try:
                return work()
            except ToolFailure as failure:
                return failure

        try:
            answer: T | ToolFailure = self._call("TOOLS", run, seconds=seconds)
        except HookFailed as failure:
            log.error("The tool %s: %s", name, failure.reason)
            raise
        return answer

    @property
    def policy_name(self) -> str:
        """The name an automatic reply is signed with, taken from the policy's own."""
        hook = self._resolved["AUTOMATION_POLICY"]
        return str(getattr(hook, "__name__", type(hook).__name__))

    def conversation_resolved(self, event: ResolvedEvent) -> None:
        """Tell the host.

        Raises:
            HookFailed: it raised or ran out of time; the job asks again.
        """
        self._call("ON_CONVERSATION_RESOLVED", self._resolved["ON_CONVERSATION_RESOLVED"], event)

    def reply_unseen(self, event: ReplyUnseenEvent) -> None:
        """Tell the host.

        Raises:
            HookFailed: it raised or ran out of time; the job asks again.
        """
        self._call("ON_REPLY_UNSEEN", self._resolved["ON_REPLY_UNSEEN"], event)

    def service_level(self, conversation: ConversationInfo) -> ServiceLevel | None:
        """By when the host wants a conversation answered; ``None`` for no targets.

        Raises:
            HookFailed: it raised, ran out of time, or answered something else; or there is no such hook.
        """

        def level() -> ServiceLevel | None:
            answer = self._resolved["SLA_POLICY"](conversation)
            if answer is not None and not isinstance(answer, ServiceLevel):
                raise HookFailed(f"{PREFIX}SLA_POLICY", "invalid", type(answer).__name__)
            return answer

        found: ServiceLevel | None = self._call("SLA_POLICY", level)
        return found

    def sla_breached(self, event: BreachEvent) -> None:
        """Tell the host.

        Raises:
            HookFailed: it raised or ran out of time; the job asks again.
        """
        self._call("ON_SLA_BREACH", self._resolved["ON_SLA_BREACH"], event)

    @property
    def outbound_is_idempotent(self) -> bool:
        """Whether ``ON_OUTBOUND`` sends once however often it is called with one key."""
        return getattr(self._resolved["ON_OUTBOUND"], "idempotent", False) is True

    def deliver_outbound(self, delivery: Delivery) -> Delivery | None:
        """Let the host deliver a follow-up. ``None``, and any answer that is not ``failed`` or ``later``: it was sent.

        Raises:
            ToolFailure: it said so itself that nothing has left.
            HookFailed: it raised anything else, ran out of time, or answered something that is not about this delivery:
                nobody knows whether it was sent.
        """
        hook = self._resolved["ON_OUTBOUND"]

        def run() -> Delivery | ToolFailure | None:
            try:
                answer: object = hook(delivery)
            except ToolFailure as failure:
                return failure
            fits = isinstance(answer, Delivery) and answer.key == delivery.key and answer.outcome in _OUTCOMES
            if answer is not None and not fits:
                raise HookFailed(f"{PREFIX}ON_OUTBOUND", "invalid", type(answer).__name__)
            return cast("Delivery | None", answer)

        answer: Delivery | ToolFailure | None = self._call("ON_OUTBOUND", run)
        if isinstance(answer, ToolFailure):
            raise answer
        return answer

    def audit(self, session: Session, entry: AuditEntry) -> None:
        """Let the host add its own row to our transaction. An exception is the host's veto: it ends the transaction."""
        hook = self._resolved["AUDITOR"]
        if hook is None:
            return
        session.flush()
        info = AuditInfo(
            entry.id,
            entry.occurred_at,
            entry.actor_kind.value,
            entry.actor_id,
            entry.action,
            entry.subject_type,
            entry.subject_id,
            dict(entry.data),
        )
        hook(session, info)

    def _call(self, key: str, hook: Callable[..., Any], *arguments: object, seconds: float | None = None) -> Any:
        """Run a hook in a thread and app context of its own, so that its time and its database session are its own."""
        outcome: list[Any] = []

        def run() -> None:
            try:
                with self.app.app_context():
                    outcome.append((True, _guarded(key, hook, *arguments)))
            except HookFailed as failure:
                outcome.append((False, failure))

        with span(HOOK) as note:
            note("hook.key", key)
            thread = threading.Thread(target=carried(run), name=f"cairnloop-hook-{key.lower()}", daemon=True)
            thread.start()
            thread.join(self.settings.hook_timeout if seconds is None else seconds)
            if not outcome:
                log.error("%s%s did not answer in time", PREFIX, key)
                note("hook.outcome", "timeout")
                raise HookFailed(PREFIX + key, "timeout", "no answer in time")
            fine, answer = outcome[0]
            note("hook.outcome", "answered" if fine else answer.reason)
            if not fine:
                raise answer
            return answer


@dataclass(frozen=True, slots=True)
class _TimedEmbedder:
    """The host's embedder, which may ask a provider far away. A question waits no longer than any other hook."""

    hooks: Hooks
    key: str
    embedder: Embedder

    @property
    def model(self) -> str:
        return self.embedder.model

    @property
    def dimensions(self) -> int:
        return self.embedder.dimensions

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"] = "passage") -> Sequence[Sequence[float]]:
        seconds = self.hooks.settings.hook_timeout if kind == "query" else LONGEST_HOOK
        answer: Sequence[Sequence[float]] = self.hooks._call(
            self.key, partial(self.embedder.embed, kind=kind), texts, seconds=seconds
        )
        return answer


_OUTCOMES = ("", "sent", "failed", "later")  # that a delivery may come back with
_HOOK_KEYS = (
    "OPERATOR_LOADER",
    "AUTHORIZE",
    "CUSTOMER_VERIFIER",
    "CONTEXT_PROVIDER",
    "ARTICLE_SCOPE",
    "AUTOMATION_POLICY",
    "OPERATOR_RESOLVER",
    "OPERATORS",
    "ACTION_POLICY",
    "ON_CONVERSATION_RESOLVED",
    "ON_REPLY_UNSEEN",
    "SLA_POLICY",
    "ON_SLA_BREACH",
    "ON_OUTBOUND",
    "AUDITOR",
    "DRAFT_GENERATOR",
    "ARTICLE_WRITER",
)


def _guarded(key: str, hook: Callable[..., T], *arguments: object) -> T:
    try:
        return hook(*arguments)
    except HookFailed as failure:  # an answer of the wrong kind, found while the hook ran
        log.error("%s%s answered %s", PREFIX, key, failure.detail)
        raise
    except Exception as error:
        # Host code may put customer text into its message: only the class goes further, the rest to the host's log.
        log.exception("%s%s raised", PREFIX, key)
        raise HookFailed(PREFIX + key, "raised", type(error).__name__) from error


def _import(key: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f'{key} is "{path}", which cannot be imported: {error}') from error
    return found


def _check_embedder(key: str, embedder: Any) -> None:
    model = getattr(embedder, "model", None)
    if (
        not isinstance(model, str)
        or not isinstance(getattr(embedder, "dimensions", None), int)
        or not callable(getattr(embedder, "embed", None))
    ):
        raise ConfigurationError(f"{PREFIX}{key} needs `model` (str), `dimensions` (int) and `embed(texts, kind=…)`.")
    if not 0 < len(model) <= MODEL_LENGTH:
        raise ConfigurationError(f"{PREFIX}{key} has a `model` of {len(model)} characters; 1 to {MODEL_LENGTH} fit.")


def _operator_fits(operator: Operator) -> bool:
    return (
        all(isinstance(value, str) and 0 < len(value.strip()) <= 200 for value in (operator.id, operator.name))
        and isinstance(operator.permissions, (set, frozenset))
        and all(isinstance(permission, str) for permission in operator.permissions)
        and isinstance(operator.teams, (set, frozenset))
        and all(isinstance(team, str) and 0 < len(team.strip()) <= 80 for team in operator.teams)
    )


def _customer_fits(customer: Customer) -> bool:
    optional = (customer.name, customer.email, customer.organization)
    return (
        isinstance(customer.ref, str)
        and 0 < len(customer.ref.strip()) <= 200
        and "\x00" not in customer.ref
        and all(value is None or isinstance(value, str) for value in optional)
    )


def _context_view(answer: object) -> ContextView:
    if answer is None:
        return ContextView("empty")
    if not isinstance(answer, Mapping):
        raise HookFailed(f"{PREFIX}CONTEXT_PROVIDER", "invalid", type(answer).__name__)

    def pairs(values: Mapping[Any, Any]) -> tuple[tuple[str, str], ...]:
        return tuple((str(label), str(value)) for label, value in list(values.items())[:50] if value is not None)

    facts = pairs({label: value for label, value in answer.items() if not isinstance(value, Mapping)})
    sections = tuple(
        (str(title), pairs(values)) for title, values in answer.items() if isinstance(values, Mapping) and values
    )
    return ContextView("loaded" if facts or sections else "empty", facts, sections)
