"""Making a draft: question, search, grounding, engine, policy, and one write at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from flask_cairnloop.clock import now
from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, ConversationStatus
from flask_cairnloop.drafting import engine, lifecycle, manner, marks, question
from flask_cairnloop.drafting import learning as learning  # registers its jobs
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.service import send_automatically
from flask_cairnloop.drafting.types import DraftFailure, DraftKind, Grounding, PolicyDecision, Proposal
from flask_cairnloop.errors import HookFailed, NotFound
from flask_cairnloop.hooks import Customer, DraftInfo, Hooks
from flask_cairnloop.jobs import JobContext, QueueName, job
from flask_cairnloop.privacy.redactor import names_of
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.grounding import assess, calibration
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.retrieval.types import Outcome, Passage, SearchResults, Strength
from flask_cairnloop.telemetry import DRAFT, span
from flask_cairnloop.upkeep.misses import is_question
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap

# Seconds. Host code is asked eight times at most: two vectors for what is asked, the scope, the question's vector by
# one model or two, the generator or (for our own engine) two more vectors, the policy. Each may use its whole time;
# the rest is ours.
TIMEOUT = 8 * LONGEST_HOOK + 60
REASON_LENGTH = 500  # characters, as the columns hold them
EVIDENCE = 12  # passages weighed; enough that internal articles do not crowd out the public ones


@dataclass(frozen=True, slots=True)
class _Task:
    """What was read before the slow part."""

    draft_id: int
    answers: int  # sequence of the words it is for
    subject: str
    customer: Customer
    asked: question.Asked


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the slow part made."""

    grounding: Grounding
    results: SearchResults
    proposal: Proposal
    declined: str | None  # why the host's engine did not write it
    policy: PolicyDecision
    policy_reason: str | None


def give_up(context: JobContext, *, conversation_id: int, draft_id: int) -> None:
    """The draft will not be made: say so on it, where the operator can ask for another."""
    found = _locked(context.session, conversation_id, draft_id)
    if found is not None and found.state is DraftState.GENERATING:
        found.failure = DraftFailure.of(context.error).value
        lifecycle.step(context.session, found, "fail", context.actor or lifecycle.SYSTEM)


def make_again(context: JobContext, *, conversation_id: int, draft_id: int) -> None:
    """Somebody runs the job again: its failed draft is being made again, and its page says so."""
    found = _locked(context.session, conversation_id, draft_id)
    if found is not None and found.state is DraftState.FAILED:
        found.failure = None
        lifecycle.step(context.session, found, "be tried again", context.actor or lifecycle.SYSTEM)


def _locked(session: Session, conversation_id: int, draft_id: int) -> Draft | None:
    """The draft a job was made for, its conversation locked; ``None`` when they were deleted."""
    try:
        conversations.lock(session, conversation_id)
    except NotFound:
        return None
    return lifecycle.find(session, draft_id)


@job(
    lifecycle.JOB,
    queue=QueueName.INTERACTIVE,
    max_attempts=3,
    timeout=TIMEOUT,
    on_dead=give_up,
    on_retry=make_again,
)
def draft(context: JobContext, *, conversation_id: int, draft_id: int) -> None:
    """Make a draft, if its conversation still waits for it."""
    task = _read(context.session, draft_id)
    if task is None:
        return
    context.release()
    outcome = _make(context, conversation_id, task)
    _write(context, conversation_id, task, outcome)


def _read(session: Session, draft_id: int) -> _Task | None:
    row = session.execute(
        select(Draft, Conversation)
        .join(Conversation, Conversation.id == Draft.conversation_id)
        .where(Draft.id == draft_id, Draft.state == DraftState.GENERATING)
        .options(joinedload(Conversation.customer))
    ).one_or_none()
    if row is None:
        return None
    found, conversation = row
    person = conversation.customer
    return _Task(
        found.id,
        found.answers_sequence,
        conversation.subject,
        Customer(person.ref, person.name, person.email, person.organization),
        question.read(session, conversation),
    )


def _make(context: JobContext, conversation_id: int, task: _Task) -> _Outcome:
    """Search, weigh, write, ask the policy. No transaction of ours is open while host code runs."""
    with span(DRAFT) as note:
        outcome = _made(context, conversation_id, task)
        note("draft.kind", outcome.proposal.kind.value)
        note("draft.grounding", outcome.grounding.assessment.strength.value)
        note("draft.policy", outcome.policy.value)
        note("draft.engine", outcome.proposal.engine[:100])
        return outcome


def _made(context: JobContext, conversation_id: int, task: _Task) -> _Outcome:
    hooks = context.cairnloop.hooks
    asked = question.on_topic(task.asked, likeness_by(hooks))
    tags = hooks.article_scope(task.customer)
    results = search(context.session, asked.question, limit=EVIDENCE, tags=tags, besides=conversation_id)
    fitted = calibration(context.session)
    context.release()
    grounding = Grounding(
        conversation_id,
        asked.question,
        task.subject,
        asked.turns,
        results.passages,
        assess(asked.question, quotable(results), fitted),
        asked.clarifications,
        task.customer.name,
        task.draft_id,
        names_of(**asdict(task.customer)),
        manner.of(context.cairnloop.settings),
    )
    proposal, declined = _propose(hooks, grounding, context.cairnloop.settings.message_limit)
    decision, reason = hooks.automation_policy(
        DraftInfo(
            conversation_id,
            task.customer,
            proposal.kind,
            grounding.assessment.strength,
            grounding.assessment.score,
            asked.question,
            marks.sent(proposal),
            proposal.engine,
        )
    )
    if decision is PolicyDecision.ALLOW and not _may_go_alone(proposal, grounding):
        decision, reason = PolicyDecision.REQUIRE_APPROVAL, "Only a strongly grounded reply may be sent by itself."
    return _Outcome(grounding, results, proposal, declined, decision, reason)


def _propose(hooks: Hooks, grounding: Grounding, limit: int) -> tuple[Proposal, str | None]:
    """The host engine's proposal, or our own with the reason why it is not theirs."""
    answer = hooks.generate_draft(grounding)
    if isinstance(answer, Proposal):
        check(answer, grounding, limit)
        return answer, None
    reason = answer.reason if answer else None
    if reason is not None and not (_storable(reason) and reason.strip()):
        raise refused("a reason is no text, or holds NUL")
    return engine.compose(grounding, likeness_by(hooks), limit), reason and reason[:REASON_LENGTH]


def quotable(results: SearchResults) -> SearchResults:
    """What a customer may be told: only that can ground an answer, however well an internal article fits."""
    return replace(results, passages=tuple(passage for passage in results.passages if passage.public))


def _may_go_alone(proposal: Proposal, grounding: Grounding) -> bool:
    return proposal.kind is DraftKind.REPLY and grounding.assessment.strength is Strength.STRONG


def refused(detail: str) -> HookFailed:
    """What is wrong with an engine's answer, in words that hold nothing of it."""
    return HookFailed("CAIRNLOOP_DRAFT_GENERATOR", "invalid", detail)


def check(proposal: Proposal, grounding: Grounding, limit: int) -> None:
    """Hold a host engine's proposal to what was found.

    Raises:
        HookFailed: it answers without strong grounding, cites what is not public evidence, has no text that can be
            sent, or holds what no row can.
    """

    if not isinstance(proposal.kind, DraftKind):
        raise refused("kind is no DraftKind")
    if not all(map(_storable, _texts(proposal))):
        raise refused("a text is no text, or holds NUL")
    if proposal.kind is not DraftKind.ESCALATION and not 0 < len(marks.sent(proposal)) <= limit:
        raise refused("the text is empty or too long")
    if proposal.kind is DraftKind.REPLY and grounding.assessment.strength is not Strength.STRONG:
        raise refused("a reply needs strong grounding")
    public = {passage.chunk_id for passage in grounding.passages if passage.public}
    if any(citation.chunk_id not in public for citation in proposal.citations):
        raise refused("a citation names no public passage of the evidence")
    if proposal.kind is DraftKind.REPLY and not proposal.citations:
        raise refused("a reply needs a citation")


def _texts(proposal: Proposal) -> Iterator[str]:
    """Everything in a proposal that is somebody's own text, and is stored as it is."""
    yield from (proposal.body, proposal.summary, proposal.engine)
    for citation in proposal.citations:
        yield from (citation.title, citation.heading, citation.quote)


def _storable(text: object) -> bool:
    """Whether PostgreSQL can hold it: it refuses NUL, and a lone surrogate, which is no character."""
    return isinstance(text, str) and "\x00" not in text and text.encode(errors="ignore").decode() == text


def likeness_by(hooks: Hooks) -> question.Likeness:
    """Likeness by meaning where there is an embedder that works, else by words."""

    def by_meaning(asked: Sequence[str], texts: Sequence[str]) -> Sequence[Sequence[float]]:
        embedder = vectors.likely(hooks)  # while a model is changed, the one that search goes by
        if embedder is None:
            return engine.lexical_likeness(asked, texts)
        try:
            targets = embed(embedder, list(asked), "query")
            found = embed(embedder, list(texts), "passage")
        except EmbeddingFailed:
            return engine.lexical_likeness(asked, texts)
        return [[_cosine(target, vector) for vector in found] for target in targets]

    return by_meaning


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    norms = (sum(a * a for a in left) * sum(b * b for b in right)) ** 0.5
    return float(dot / norms) if norms else 0.0


def _write(context: JobContext, conversation_id: int, task: _Task, outcome: _Outcome) -> None:
    """Store the draft, if the conversation has not moved on meanwhile."""
    session = context.session
    try:
        conversation = conversations.lock(session, conversation_id)
    except NotFound:
        return
    found = lifecycle.find(session, task.draft_id)
    if (
        found is None
        or found.state is not DraftState.GENERATING
        or conversation.status is not ConversationStatus.OPEN
        or found.answers_sequence != task.answers  # newer words came; another job makes it for them
    ):
        return
    assessment = outcome.grounding.assessment
    found.grounding = assessment.strength
    found.grounding_numbers = {
        **{name: round(float(value), 4) for name, value in assessment.numbers.items()},
        "score": round(assessment.score, 4),
        "reason": assessment.reason,
        "version": assessment.version,
        "lanes": {lane.name: lane.state.value for lane in outcome.results.lanes},
        "outcome": outcome.results.outcome.value,
        # Only which they were: their words go when their customers do.
        "cases": [[case.conversation_id, case.similarity] for case in outcome.results.cases],
    }
    found.kind = outcome.proposal.kind
    found.engine = outcome.proposal.engine[:100]
    found.declined = outcome.declined
    found.policy = outcome.policy
    found.policy_reason = outcome.policy_reason
    _keep_gap(session, conversation_id, outcome)
    if outcome.policy is PolicyDecision.DENY:
        found.policy_reason = f"The policy {context.cairnloop.hooks.policy_name} withholds drafts like this."
        lifecycle.step(session, found, "be withheld", lifecycle.SYSTEM)
        return
    found.question = outcome.grounding.question
    found.body = outcome.proposal.body
    found.summary = outcome.proposal.summary
    why = {passage.chunk_id: _why(passage) for passage in outcome.results.passages}
    found.citations = [{**asdict(citation), **why[citation.chunk_id]} for citation in outcome.proposal.citations]
    found.evidence = [_snapshot(passage) for passage in outcome.results.passages]
    found.ready_at = now()
    lifecycle.step(session, found, "become ready", lifecycle.SYSTEM)
    if outcome.policy is PolicyDecision.ALLOW and conversations.reply_waits(session, conversation.id):
        found.policy = PolicyDecision.REQUIRE_APPROVAL
        found.policy_reason = "A colleague is answering, so this was not sent by itself."
    elif outcome.policy is PolicyDecision.ALLOW:
        send_automatically(session, found, conversation, context.cairnloop.hooks.policy_name)


def _keep_gap(session: Session, conversation_id: int, outcome: _Outcome) -> None:
    """Keep the question where what is published does not surely answer it, and the search could tell."""
    results, strength = outcome.results, outcome.grounding.assessment.strength
    asked = outcome.grounding.question
    if strength is Strength.STRONG or results.degraded or results.refused or not is_question(asked):
        return
    reason = GapReason.NOT_COVERED if strength is Strength.NONE else GapReason.WEAK
    if results.outcome is Outcome.NO_HIT:
        reason = GapReason.CASES_ONLY if results.cases else GapReason.NOTHING_FOUND
    record_gap(
        session,
        asked,
        source=GapSource.DRAFT,
        reason=reason,
        actor=lifecycle.SYSTEM,
        conversation_id=conversation_id,
    )


def _snapshot(passage: Passage) -> dict[str, Any]:
    kept = ("chunk_id", "article_id", "revision_id", "title", "heading", "content", "public", "score", "similarity")
    return {**{name: getattr(passage, name) for name in kept}, **_why(passage)}


def _why(passage: Passage) -> dict[str, Any]:
    """Why search found a passage."""
    return {"parts": dict(passage.parts), "answered": passage.answered, "also_in": list(passage.also_in)}
