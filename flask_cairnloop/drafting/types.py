"""What goes into a draft engine and what comes out, as plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from flask_cairnloop.drafting.manner import Manner

if TYPE_CHECKING:
    from flask_cairnloop.retrieval.types import Assessment, Passage


class DraftKind(StrEnum):
    REPLY = "reply"
    CLARIFICATION = "clarification"
    ESCALATION = "escalation"


class PolicyDecision(StrEnum):
    REQUIRE_APPROVAL = "require_approval"
    DRAFT_ONLY = "draft_only"
    ALLOW = "allow"
    DENY = "deny"


class DraftFailure(StrEnum):
    """Why a draft could not be made, in the few words that are kept of it. The job's row has the details."""

    HOOK_RAISED = "hook_raised"
    HOOK_TIMEOUT = "hook_timeout"
    HOOK_INVALID = "hook_invalid"
    WORKER_LOST = "worker_lost"
    JOB_DISCARDED = "job_discarded"
    OTHER = "other"

    @classmethod
    def of(cls, error: str | None) -> DraftFailure:
        """The reason behind the last error of a job, as its row words it."""
        if error is None or error.startswith("The worker was lost"):
            return cls.WORKER_LOST
        if error.startswith("Its job was discarded"):
            return cls.JOB_DISCARDED
        hook = re.match(r"HookFailed: \w+ (raised|timeout|invalid): ", error)
        return cls(f"hook_{hook[1]}") if hook else cls.OTHER


@dataclass(frozen=True, slots=True)
class Turn:
    """One message the customer can see. Notes and events never reach an engine.

    Args:
        body: its words; none where it was only a file.
        files: what came with it, each by name and kind, ``"plan.png (PNG)"``. What is in them never reaches an engine.
    """

    author: Literal["customer", "team"]
    name: str
    body: str
    at: datetime
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grounding:
    """Everything an engine may use to write one draft.

    Args:
        question: the customer's own latest words, with the subject where it adds something.
        turns: the conversation, oldest first.
        passages: evidence, best first; ``public`` tells which may be quoted to the customer.
        clarifications: how many clarifying questions this conversation has already been asked in a row.
        customer_name: how the customer is called, if known.
        draft_id: the draft that is being written; ``None`` outside the job that writes it.
        manner: how the host wants the customer to be spoken to.
        known_as: what names the customer, for :func:`flask_cairnloop.privacy.redactor.redact`.
    """

    conversation_id: int
    question: str
    subject: str
    turns: tuple[Turn, ...]
    passages: tuple[Passage, ...]
    assessment: Assessment
    clarifications: int
    customer_name: str | None
    draft_id: int | None = None
    known_as: tuple[str, ...] = ()
    manner: Manner = field(default_factory=Manner)


@dataclass(frozen=True, slots=True)
class Citation:
    """A numbered source: ``[number]`` in the text stands after the sentence it supports."""

    number: int
    article_id: int
    revision_id: int
    chunk_id: int
    title: str
    heading: str
    quote: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft as an engine proposes it.

    Args:
        body: text for the customer with citation numbers like ``[1]``.
        summary: one sentence for the operator.
        engine: name and version of what wrote it.
    """

    kind: DraftKind
    body: str
    summary: str
    citations: tuple[Citation, ...]
    engine: str


@dataclass(frozen=True, slots=True)
class Declined:
    """An engine's answer that it wrote nothing this time: the built-in engine writes the draft instead.

    Args:
        reason: one sentence for the operator, such as ``"The model did not answer in time."``; at most 500 characters.
            ``None`` where there is nothing to tell, because this was nothing for the engine.
    """

    reason: str | None = None
