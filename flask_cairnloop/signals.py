"""Domain events as Blinker signals, sent after commit. The sender is the app; payloads are ids and bounded values.

A receiver that raises is logged and changes nothing: signals are for telling, not for deciding.
"""

from __future__ import annotations

from dataclasses import dataclass

from blinker import NamedSignal, Namespace

_namespace = Namespace()


@dataclass(frozen=True, slots=True)
class SignalKind:
    """What a signal carries and when it is sent."""

    name: str
    payload: tuple[str, ...]
    meaning: str


SIGNALS: dict[str, SignalKind] = {}


def _declare(name: str, payload: tuple[str, ...], meaning: str) -> NamedSignal:
    SIGNALS[name] = SignalKind(name, payload, meaning)
    return _namespace.signal(name, doc=meaning)


conversation_opened = _declare("conversation_opened", ("conversation_id", "channel"), "A conversation was opened.")
message_received = _declare(
    "message_received", ("conversation_id", "message_id", "channel"), "A customer's message was taken in."
)
reply_sent = _declare(
    "reply_sent",
    ("conversation_id", "message_id", "automatic"),
    "Words went to a customer: typed, approved or automatic.",
)
conversation_resolved = _declare(
    "conversation_resolved", ("conversation_id", "actor_kind"), "A conversation was marked as done."
)
conversation_reopened = _declare(
    "conversation_reopened", ("conversation_id", "actor_kind"), "A resolved conversation was opened again."
)
conversation_rated = _declare(
    "conversation_rated",
    ("conversation_id", "rating", "first"),
    "A customer rated the help, 1 to 5, or changed what they had said (`first` is false then).",
)
draft_created = _declare(
    "draft_created",
    ("conversation_id", "draft_id", "state", "kind", "grounding"),
    "A draft is ready, was withheld, or could not be made.",
)
draft_decided = _declare(
    "draft_decided", ("conversation_id", "draft_id", "decision"), "An operator or a policy decided on a draft."
)
action_proposed = _declare(
    "action_proposed",
    ("proposal_id", "conversation_id", "tool", "state"),
    "An action was proposed; with state `refused`, it may not be.",
)
action_decided = _declare(
    "action_decided",
    ("proposal_id", "conversation_id", "tool", "decision"),
    "An action was approved, rejected, deferred or withdrawn, ran out of time, or lost its approval before it ran.",
)
action_executed = _declare(
    "action_executed",
    ("proposal_id", "conversation_id", "tool", "outcome"),
    "An action ended: `succeeded`, `failed`, or `uncertain` where nobody knows.",
)
sla_breached = _declare(
    "sla_breached",
    ("conversation_id", "clock_id", "target"),
    "A deadline passed: `first_response`, `next_response` or `resolution`.",
)
article_published = _declare(
    "article_published", ("article_id", "revision_id"), "An article, or a new revision, is found."
)
gap_recorded = _declare(
    "gap_recorded", ("gap_event_id", "source", "reason"), "A question was kept that no published article answers."
)
review_decided = _declare(
    "review_decided",
    ("suggestion_id", "kind", "decision"),
    "A suggested article was approved, sent back for changes, rejected, deferred or published.",
)
outbound_delivered = _declare(
    "outbound_delivered",
    ("delivery_id", "envelope_id", "conversation_id"),
    "A follow-up was delivered: your app took it, or, without `ON_OUTBOUND`, it stands in the chat.",
)
