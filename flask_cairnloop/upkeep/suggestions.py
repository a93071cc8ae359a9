"""What can be done with a suggestion. Every function takes a session, names its actor, writes an entry, never commits.

A suggestion holds its words itself: no article is touched before it is published. An approval holds for the words that
were approved and for no others, and who publishes finds the article as whoever wrote the suggestion did, or is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.database.words import words_of
from flask_cairnloop.drafting import question as asked_words
from flask_cairnloop.errors import (
    CustomerForgotten,
    IllegalTransition,
    InvalidInput,
    NotFound,
    OwnWords,
    StaleSuggestion,
)
from flask_cairnloop.hooks import Operator
from flask_cairnloop.jobs import enqueue, send_signal
from flask_cairnloop.jobs import publish as publish_event
from flask_cairnloop.knowledge import merging
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.privacy.redactor import names_of, redact
from flask_cairnloop.upkeep import candidates, clustering
from flask_cairnloop.upkeep.models import (
    QUESTION_LENGTH,
    CandidateState,
    GapCandidate,
    GapEvent,
    GapQuestion,
    HistoryKind,
)
from flask_cairnloop.upkeep.suggestion_models import (
    OVER,
    ArticleSuggestion,
    RejectReason,
    SuggestionHistory,
    SuggestionKind,
    SuggestionQuestion,
    SuggestionState,
    SuggestionStep,
)
from flask_cairnloop.upkeep.writing import content_digest, is_open

S = SuggestionState
# From which states each step leads where. What is published is over; what was rejected can be looked at again.
STEPS: Final[Mapping[str, tuple[frozenset[SuggestionState], SuggestionState, SuggestionStep]]] = {
    "be written": (frozenset({S.GENERATING}), S.PENDING, SuggestionStep.WRITTEN),
    "fail": (frozenset({S.GENERATING}), S.FAILED, SuggestionStep.FAILED),
    "be written again": (
        frozenset({S.FAILED, S.PENDING, S.CHANGES, S.DEFERRED, S.STALE, S.CONFLICT, S.APPROVED}),
        S.GENERATING,
        SuggestionStep.REGENERATED,
    ),
    "be edited": (
        frozenset({S.FAILED, S.PENDING, S.CHANGES, S.DEFERRED, S.STALE, S.CONFLICT, S.APPROVED}),
        S.PENDING,
        SuggestionStep.EDITED,
    ),
    "be approved": (frozenset({S.PENDING, S.DEFERRED}), S.APPROVED, SuggestionStep.APPROVED),
    "go back": (frozenset({S.PENDING, S.DEFERRED, S.APPROVED}), S.CHANGES, SuggestionStep.RETURNED),
    "be rejected": (
        frozenset({S.FAILED, S.PENDING, S.CHANGES, S.DEFERRED, S.STALE, S.CONFLICT, S.APPROVED}),
        S.REJECTED,
        SuggestionStep.REJECTED,
    ),
    "be deferred": (frozenset({S.PENDING, S.CHANGES, S.DEFERRED, S.APPROVED}), S.DEFERRED, SuggestionStep.DEFERRED),
    "wake": (frozenset({S.DEFERRED}), S.PENDING, SuggestionStep.WOKE),
    "be opened again": (frozenset({S.DEFERRED, S.REJECTED, S.CHANGES}), S.PENDING, SuggestionStep.REOPENED),
    "be found stale": (frozenset({S.PENDING, S.DEFERRED, S.APPROVED}), S.STALE, SuggestionStep.STALE),
    "be found in conflict": (frozenset({S.PENDING, S.DEFERRED, S.APPROVED}), S.CONFLICT, SuggestionStep.CONFLICT),
    "be brought up to date": (
        frozenset({S.PENDING, S.CHANGES, S.DEFERRED, S.STALE, S.CONFLICT, S.APPROVED}),
        S.PENDING,
        SuggestionStep.REBASED,
    ),
    "be published": (frozenset({S.APPROVED}), S.PUBLISHED, SuggestionStep.PUBLISHED),
}
SYSTEM: Final = Actor(ActorKind.SYSTEM, "system:upkeep.suggest", "Cairnloop")
WRITE: Final = "upkeep.suggest"
ASK_AGAIN: Final = "upkeep.ask_again"
QUESTIONS: Final = 20  # of a candidate, those that were asked most
NOTE_LENGTH: Final = 1_000
LONGEST_DEFERRAL: Final = timedelta(days=365)
WOKEN_AT_ONCE: Final = 100


# --- asking for one ---------------------------------------------------------------------------------------------------


def request(
    session: Session,
    *,
    actor: Acting,
    candidate_id: int | None = None,
    conversation_id: int | None = None,
    article_id: int | None = None,
    kind: SuggestionKind | None = None,
) -> ArticleSuggestion:
    """Have an article suggested for a gap or for a conversation. A job searches the evidence and writes it.

    A gap that is not accepted yet becomes so. Where a suggestion for the same is on its way already, that is the
    answer, and nothing is done.

    Args:
        candidate_id, conversation_id: where it comes from, one of the two.
        article_id: the published article that is to be changed, for a revision.
        kind: left out, what is found decides whether it is a new article or a revision of the nearest.

    Raises:
        NotFound: there is no such gap, conversation or published article.
        IllegalTransition: the gap was merged, or has faded.
        InvalidInput: nothing was asked in the conversation yet.
    """
    actor = as_actor(actor)
    if (candidate_id is None) == (conversation_id is None):
        raise ValueError("Name a gap or a conversation.")
    candidate, person = None, None
    if candidate_id is not None:
        candidate = _candidate(session, candidate_id)
    else:
        person = _whose(session, conversation_id or 0)
    there = _on_its_way(session, candidate, conversation_id)
    if there is not None:
        return there
    if candidate is not None and candidate.state is not CandidateState.ACCEPTED:
        candidates.accept(session, candidate.id, actor=actor)
    suggestion = ArticleSuggestion(
        kind=SuggestionKind.ARTICLE,
        candidate_id=None if candidate is None else candidate.id,
        conversation_id=conversation_id,
        requested_by=actor.id,
        requested_by_name=actor.name[:200],
    )
    _aim(session, suggestion, kind, article_id)
    session.add(suggestion)
    session.flush()
    _ask(session, suggestion, person)
    if candidate is not None:
        clustering.note(session, candidate, HistoryKind.SUGGESTED, actor)
    _note(session, suggestion, SuggestionStep.REQUESTED, actor)
    record(session, actor, "suggestion.request", "suggestion", suggestion.id, **_origin(suggestion))
    _have_written(session, suggestion, automatic=kind is None)
    return suggestion


def regenerate(
    session: Session,
    suggestion_id: int,
    *,
    actor: Acting,
    seen: int | None = None,
    article_id: int | None = None,
    kind: SuggestionKind | None = None,
    drop_edits: bool = False,
) -> ArticleSuggestion:
    """Have it written anew, from evidence that is searched anew.

    Args:
        article_id, kind: as of :func:`request`.
        drop_edits: what somebody has written into it may go.

    Raises:
        InvalidInput: somebody has edited it, and nobody said that this may go.

    The other arguments, and the errors, are those of :func:`approve`.
    """
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "be written again", seen)
    if is_edited(suggestion) and not drop_edits:
        who = suggestion.edited_by_name or "Somebody"
        raise InvalidInput("drop_edits", f"{who} has edited it. Say that these words may go, or keep them.")
    _aim(session, suggestion, kind, article_id)
    suggestion.failure = suggestion.declined = suggestion.over_digest = None
    suggestion.authors = []
    suggestion.edited_by_name = None
    session.execute(
        delete(SuggestionQuestion)
        .where(SuggestionQuestion.suggestion_id == suggestion.id, SuggestionQuestion.question_id.is_not(None))
        .execution_options(synchronize_session=False)
    )
    if suggestion.candidate_id is not None:
        suggestion.candidate_id = _candidate(session, suggestion.candidate_id).id
        _ask(session, suggestion, None)
    _take(session, suggestion, "be written again", actor)
    record(session, actor, "suggestion.regenerate", "suggestion", suggestion.id)
    _have_written(session, suggestion, automatic=kind is None)
    return suggestion


def edit(
    session: Session, suggestion_id: int, words: Words, *, actor: Acting, seen: int | None = None
) -> ArticleSuggestion:
    """Keep what somebody has written into it. What was approved has to be approved again.

    Args:
        words: all of the article. Of a revision, what describes the article is the article's own and stays.

    Raises:
        InvalidInput: a value is empty, too long or not acceptable.

    The other arguments, and the errors, are those of :func:`approve`.
    """
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "be edited", None)
    words = _clean(suggestion, words)
    if suggestion.state is not S.FAILED and _digest(words) == suggestion.digest:
        return suggestion  # as when an answer got lost
    _hold_to(suggestion, seen)
    _reword(suggestion, words)
    suggestion.failure = None
    suggestion.edited_by_name = actor.name[:200]
    suggestion.authors = list(dict.fromkeys([*(suggestion.authors or [suggestion.requested_by]), actor.id]))
    _take(session, suggestion, "be edited", actor)
    record(session, actor, "suggestion.edit", "suggestion", suggestion.id, digest=suggestion.digest)
    return suggestion


def assign(
    session: Session,
    suggestion_id: int,
    *,
    actor: Acting,
    reviewer: Operator | None,
    seen: int | None = None,
    had: str | None = None,
) -> ArticleSuggestion:
    """Say who is to review it; ``None``: nobody in particular.

    Its words and its state stay, and so does its version: a job that writes it is still waited for, and whoever writes
    in it meanwhile saves over nothing.

    Args:
        had: the id of who was to review it when the caller looked, empty for nobody; unchecked when left out.

    Raises:
        StaleSuggestion: somebody else is to review it by now, or its words or its state were changed.

    The rest is as of :func:`approve`.
    """
    actor = as_actor(actor)
    suggestion = _find(session, suggestion_id)
    _hold_to(suggestion, seen)
    wanted = None if reviewer is None else reviewer.id
    if had is not None and suggestion.reviewer_id not in (had or None, wanted):
        raise StaleSuggestion(suggestion.version, suggestion.version)
    if suggestion.state in OVER:
        raise IllegalTransition("suggestion", suggestion.state.value, "be given to a reviewer")
    suggestion.reviewer_id = wanted
    suggestion.reviewer_name = None if reviewer is None else reviewer.name[:200]
    _note(session, suggestion, SuggestionStep.ASSIGNED, actor)
    record(session, actor, "suggestion.assign", "suggestion", suggestion.id, reviewer_id=wanted)
    return _told(session, suggestion)


# --- deciding ---------------------------------------------------------------------------------------------------------


def approve(
    session: Session, suggestion_id: int, *, actor: Acting, seen: int | None = None, note: str = ""
) -> ArticleSuggestion:
    """Say that these words may be published.

    Args:
        seen: its version as the caller had it before them; unchecked when left out.
        note: why, for the team.

    Returns:
        The suggestion: approved, or stale or in conflict where it cannot be published as it stands. What resolves that
        is :func:`bring_up_to_date`.

    Raises:
        NotFound: there is no such suggestion.
        StaleSuggestion: it was changed since.
        IllegalTransition: its state does not allow it.
        InvalidInput: something in it is still to be written, or the note is too long.
        OwnWords: a second person has to, by ``REVIEW_SECOND_PERSON``.
    """
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "be approved", seen)
    words = _noted(suggestion, note)
    if is_open(suggestion.body):
        raise InvalidInput("body", "A part of it is still to be written. Edit it first.")
    if current().settings.review_second_person and actor.id in (suggestion.authors or [suggestion.requested_by]):
        raise OwnWords
    if _set_aside(session, suggestion, actor):
        return suggestion
    suggestion.approved_digest = suggestion.digest
    return _decided(session, suggestion, "be approved", "suggestion.approve", actor, words)


def return_for_changes(
    session: Session, suggestion_id: int, *, actor: Acting, note: str, seen: int | None = None
) -> ArticleSuggestion:
    """Ask for changes, which the note names. The rest is as of :func:`approve`."""
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "go back", seen)
    words = _noted(suggestion, note)
    if not words:
        raise InvalidInput("note", "Say what has to change.")
    return _decided(session, suggestion, "go back", "suggestion.return", actor, words)


def reject(
    session: Session, suggestion_id: int, *, actor: Acting, reason: str, note: str = "", seen: int | None = None
) -> ArticleSuggestion:
    """Say that it is not wanted. Its gap stays accepted; another can be asked for.

    Args:
        reason: a :class:`~flask_cairnloop.upkeep.suggestion_models.RejectReason`.

    The rest is as of :func:`approve`.
    """
    actor = as_actor(actor)
    if reason not in set(RejectReason):
        raise InvalidInput("reason", "Choose why it is not wanted.")
    suggestion = _locked(session, suggestion_id, "be rejected", seen)
    words = _noted(suggestion, note)
    suggestion.reason = RejectReason(reason)
    return _decided(session, suggestion, "be rejected", "suggestion.reject", actor, words, reason=reason)


def defer(
    session: Session, suggestion_id: int, *, actor: Acting, until: datetime, note: str = "", seen: int | None = None
) -> ArticleSuggestion:
    """Put the review off. It waits for one again at that time. The rest is as of :func:`approve`."""
    actor = as_actor(actor)
    if not now() < until <= now() + LONGEST_DEFERRAL:
        raise InvalidInput("until", "Choose a time within the next year.")
    suggestion = _locked(session, suggestion_id, "be deferred", seen)
    words = _noted(suggestion, note)
    suggestion.deferred_until = until
    return _decided(session, suggestion, "be deferred", "suggestion.defer", actor, words)


def reopen(session: Session, suggestion_id: int, *, actor: Acting, seen: int | None = None) -> ArticleSuggestion:
    """Take back what was decided: it waits for a review. The rest is as of :func:`approve`."""
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "be opened again", seen)
    if not suggestion.body:
        raise IllegalTransition("suggestion", "without words", "be opened again")
    other = _on_its_way(session, session.get(GapCandidate, suggestion.candidate_id or 0), suggestion.conversation_id)
    if other is not None and other.id != suggestion.id:
        raise IllegalTransition("suggestion", "followed by another for the same", "be opened again")
    suggestion.reason = suggestion.note = None
    _take(session, suggestion, "be opened again", actor)
    record(session, actor, "suggestion.reopen", "suggestion", suggestion.id)
    return suggestion


def wake(session: Session) -> bool:
    """Bring those back whose time has come. Returns whether there are more."""
    due = (ArticleSuggestion.state == S.DEFERRED, ArticleSuggestion.deferred_until <= now())
    rows = session.scalars(
        select(ArticleSuggestion)
        .where(*due)
        .order_by(ArticleSuggestion.id)
        .limit(WOKEN_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    for suggestion in rows:
        _take(session, suggestion, "wake", SYSTEM)
        record(session, SYSTEM, "suggestion.wake", "suggestion", suggestion.id)
    return len(rows) == WOKEN_AT_ONCE


# --- publishing -------------------------------------------------------------------------------------------------------


def publish(session: Session, suggestion_id: int, *, actor: Acting, seen: int | None = None) -> ArticleSuggestion:
    """Publish what was approved, and have its questions asked again once it is found.

    Returns:
        The suggestion: published, or stale or in conflict as of :func:`approve`; then nothing was published.

    The other arguments, and the errors, are those of :func:`approve`.
    """
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "be published", seen)
    if _set_aside(session, suggestion, actor):
        return suggestion
    if suggestion.kind is SuggestionKind.ARTICLE:
        article = knowledge.create_article(session, words_of_suggestion(suggestion), actor=actor)
    else:
        article = _target(session, suggestion.article_id)
        described = _described(article, suggestion.title, suggestion.body)
        knowledge.edit_article(session, article.id, described, edits=article.edits, actor=actor)
    revision = knowledge.publish(session, article.id, actor=actor)
    suggestion.article_id, suggestion.published_revision_id = article.id, revision.id
    suggestion.published_at = now()
    _sign(suggestion, actor)
    _take(session, suggestion, "be published", actor)
    if suggestion.candidate_id is not None:
        clustering.note(session, _candidate(session, suggestion.candidate_id), HistoryKind.PUBLISHED, actor)
    about: dict[str, Any] = {"article_id": article.id, "revision_id": revision.id}
    record(session, actor, "suggestion.publish", "suggestion", suggestion.id, digest=suggestion.digest, **about)
    _tell(session, suggestion, "published")
    enqueue(session, ASK_AGAIN, {"suggestion_id": suggestion.id})
    return suggestion


@dataclass(frozen=True, slots=True)
class Collision:
    """The words that a suggestion has to be brought together with.

    Args:
        theirs: what was published since, or somebody else's draft.
        revision: which that is.
        pieces: both, paragraph by paragraph, beside what each side did to the published text they began with.
        differences: where the titles differ.
    """

    state: SuggestionState
    theirs: Words
    mine: Words
    revision: Revision
    pieces: tuple[merging.Piece, ...]
    differences: tuple[merging.Difference, ...]

    @property
    def is_open(self) -> bool:
        """Whether somebody has to choose."""
        return bool(self.differences) or any(piece.choice is None for piece in self.pieces)


def collision(session: Session, suggestion: ArticleSuggestion) -> Collision | None:
    """What stands in the way of a revision; ``None`` where nothing does."""
    state, revision = _obstacle(session, suggestion)
    if state is None or revision is None:
        return None
    began = session.get(Revision, suggestion.base_revision_id or 0)
    mine = words_of_suggestion(suggestion)
    theirs = replace(mine, title=revision.title, body=revision.body)
    title = _title_of(began, theirs.title, mine.title)
    mine_titled = mine if title is None else replace(mine, title=title)
    theirs_titled = theirs if title is None else replace(theirs, title=title)
    return Collision(
        state,
        theirs,
        mine_titled,
        revision,
        tuple(merging.pieces(began.body if began else "", theirs.body, mine.body)),
        tuple(merging.differences(theirs_titled, mine_titled)),
    )


def bring_up_to_date(
    session: Session,
    suggestion_id: int,
    *,
    actor: Acting,
    chosen: Mapping[str, str] | None = None,
    seen: int | None = None,
    replace_draft: bool = False,
) -> ArticleSuggestion:
    """Bring a revision together with what was published since, or with a draft that is in its way.

    Args:
        chosen: what stays, as of :func:`flask_cairnloop.knowledge.merging.merged`. Left out, only what does not touch
            the same paragraphs is brought together.
        replace_draft: leave the words of a draft out, whoever wrote them.

    Raises:
        InvalidInput: both sides changed the same, and nobody chose.

    The other arguments, and the errors, are those of :func:`approve`.
    """
    actor = as_actor(actor)
    suggestion = _locked(session, suggestion_id, "be brought up to date", seen)
    found = collision(session, suggestion)
    if found is None and suggestion.state in (S.STALE, S.CONFLICT):  # what stood in its way is gone
        _take(session, suggestion, "be brought up to date", actor)
        record(session, actor, "suggestion.rebase", "suggestion", suggestion.id)
        return suggestion
    if found is None:
        raise IllegalTransition("suggestion", "up to date", "be brought up to date")
    dropped = replace_draft and found.state is S.CONFLICT
    if found.is_open and chosen is None and not dropped:
        raise InvalidInput("chosen", "Both changed the same paragraph. Choose what stays.")
    if found.state is S.STALE:
        suggestion.base_revision_id = found.revision.id
    else:
        suggestion.over_digest = found.revision.digest
    if not dropped:
        words = merging.merged(found.pieces, found.theirs, found.mine, chosen or {})
        before = suggestion.digest
        _reword(suggestion, _clean(suggestion, words))
        if chosen is not None and suggestion.digest != before:
            suggestion.edited_by_name = actor.name[:200]
            suggestion.authors = list(dict.fromkeys([*(suggestion.authors or [suggestion.requested_by]), actor.id]))
    _take(session, suggestion, "be brought up to date", actor)
    about: dict[str, Any] = {"revision_id": found.revision.id, "was": found.state.value, "replaced": dropped}
    record(session, actor, "suggestion.rebase", "suggestion", suggestion.id, **about)
    return suggestion


# --- what its jobs say ------------------------------------------------------------------------------------------------


def note_written(session: Session, suggestion_id: int, version: int) -> ArticleSuggestion | None:
    """The suggestion that a job has written, locked; ``None`` where it is not waited for any more.

    Nobody is forgotten, and no candidate changes, until the transaction ends.
    """
    clustering.lock(session)
    suggestion = session.get(ArticleSuggestion, suggestion_id, with_for_update=True, populate_existing=True)
    if suggestion is None or suggestion.state is not S.GENERATING or suggestion.version != version:
        return None
    return suggestion


def lock(session: Session, suggestion: ArticleSuggestion) -> None:
    """Change it alone until this transaction ends, and its candidate."""
    clustering.lock(session)
    session.refresh(suggestion, with_for_update=True)


def written(session: Session, suggestion: ArticleSuggestion) -> None:
    """Its words are there: it waits for a review."""
    suggestion.digest = suggestion.written_digest = _digest(words_of_suggestion(suggestion))
    suggestion.authors = [suggestion.requested_by]
    _take(session, suggestion, "be written", SYSTEM)
    record(session, SYSTEM, "suggestion.write", "suggestion", suggestion.id, digest=suggestion.digest)


def without_words(
    session: Session, suggestion: ArticleSuggestion, title: str, body: str, *, forget_claims: Collection[str]
) -> None:
    """Leave of it what may stay after a customer was forgotten. What was approved has to be approved again."""
    edited = is_edited(suggestion)
    suggestion.title, suggestion.body = title, body
    suggestion.claims = {key: value for key, value in suggestion.claims.items() if key not in forget_claims}
    suggestion.digest = _digest(words_of_suggestion(suggestion)) if body else ""
    if not edited:
        suggestion.written_digest = suggestion.digest
    suggestion.note = None
    if suggestion.state is S.APPROVED:
        suggestion.state, suggestion.approved_digest = S.PENDING, None
    _changed(session, suggestion)


def write_again(session: Session, suggestion: ArticleSuggestion) -> None:
    """Have what nobody has edited written anew, without what is not there any more; also where it is just written:
    the job that does so may hold it still, and is not waited for any more."""
    if suggestion.state is not S.GENERATING:
        _take(session, suggestion, "be written again", SYSTEM)
    record(session, SYSTEM, "suggestion.regenerate", "suggestion", suggestion.id)
    _have_written(session, suggestion, automatic=False)


def failed(session: Session, suggestion: ArticleSuggestion, why: str) -> None:
    """It could not be written."""
    suggestion.failure = why[:500]
    _take(session, suggestion, "fail", SYSTEM)
    record(session, SYSTEM, "suggestion.fail", "suggestion", suggestion.id)


def answered(session: Session, suggestion: ArticleSuggestion, *, asked: int, before: int, after: int) -> None:
    """Its questions were asked again. Where most are answered, so is the gap that they stand for."""
    suggestion.asked, suggestion.answered_before, suggestion.answered_after = asked, before, after
    suggestion.asked_again_at = now()
    _note(session, suggestion, SuggestionStep.ASKED_AGAIN, SYSTEM)
    record(session, SYSTEM, "suggestion.ask_again", "suggestion", suggestion.id, asked=asked, answered=after)
    _changed(session, suggestion)
    if suggestion.candidate_id is not None:
        candidates.asked_again(session, suggestion.candidate_id, answered=after * 2 >= asked > 0, actor=SYSTEM)


# --- shared -----------------------------------------------------------------------------------------------------------


def is_edited(suggestion: ArticleSuggestion) -> bool:
    """Whether somebody has changed what an engine wrote, or written what none could."""
    return bool(suggestion.digest) and suggestion.digest != suggestion.written_digest


def steps_of(suggestion: ArticleSuggestion) -> frozenset[str]:
    """The steps that its state allows, by their names in :data:`STEPS`."""
    return frozenset(step for step, (allowed, _, _) in STEPS.items() if suggestion.state in allowed)


def words_of_suggestion(suggestion: ArticleSuggestion) -> Words:
    """The article as it is suggested."""
    return Words(
        "",
        suggestion.title,
        suggestion.body,
        suggestion.category,
        tuple(suggestion.tags),
        suggestion.audience,
        suggestion.language,
    )


def _candidate(session: Session, candidate_id: int) -> GapCandidate:
    """A candidate that only we change, or the one that it went into.

    Raises:
        NotFound, IllegalTransition: there is none, or it has faded.
    """
    clustering.lock(session)
    candidate = session.get(GapCandidate, candidate_id, populate_existing=True)
    while candidate is not None and candidate.merged_into_id is not None:
        candidate = session.get(GapCandidate, candidate.merged_into_id, populate_existing=True)
    if candidate is None:
        raise NotFound("There is no such gap.")
    return candidate


def _whose(session: Session, conversation_id: int) -> CustomerRecord:
    """Whose conversation it is, locked.

    Raises:
        NotFound: there is no such conversation, or its customer was forgotten.
    """
    conversation = conversations.lock(session, conversation_id)
    if conversation.erased_at is not None:
        raise CustomerForgotten
    return session.scalars(select(CustomerRecord).where(CustomerRecord.id == conversation.customer_id)).one()


def _on_its_way(
    session: Session, candidate: GapCandidate | None, conversation_id: int | None
) -> ArticleSuggestion | None:
    of_it = (
        ArticleSuggestion.conversation_id == conversation_id
        if candidate is None
        else ArticleSuggestion.candidate_id == candidate.id
    )
    return session.scalars(select(ArticleSuggestion).where(of_it, ArticleSuggestion.state.not_in(OVER))).one_or_none()


def _aim(session: Session, suggestion: ArticleSuggestion, kind: SuggestionKind | None, article_id: int | None) -> None:
    """Say what is to be written: a new article, or a revision of one as it is published now."""
    suggestion.kind, suggestion.article_id, suggestion.base_revision_id = SuggestionKind.ARTICLE, None, None
    if kind is SuggestionKind.REVISION:
        article = _target(session, article_id)
        published = knowledge.published_revision(session, article.id)
        if published is None or article.state is not ArticleState.PUBLISHED:
            raise NotFound("There is no such published article.")
        suggestion.kind, suggestion.article_id = SuggestionKind.REVISION, article.id
        suggestion.base_revision_id = published.id


def _ask(session: Session, suggestion: ArticleSuggestion, person: CustomerRecord | None) -> None:
    """Note the questions that it is to answer."""
    if suggestion.candidate_id is not None:
        found = session.scalars(
            select(GapQuestion.id)
            .where(GapQuestion.candidate_id == suggestion.candidate_id, GapQuestion.question.is_not(None))
            .order_by(GapQuestion.events.desc(), GapQuestion.id)
            .limit(QUESTIONS)
        )
        session.add_all(SuggestionQuestion(suggestion_id=suggestion.id, question_id=each) for each in found)
    elif person is not None and suggestion.conversation_id is not None:
        conversation = session.get_one(Conversation, suggestion.conversation_id)
        read = asked_words.read(session, conversation).question or conversation.subject
        names = names_of(ref=person.ref, name=person.name, email=person.email, organization=person.organization)
        # The subject stays a line of its own: it may well be the title.
        lines = (" ".join(line.split()) for line in read.replace("\x00", "").splitlines())
        words = redact("\n".join(line for line in lines if line), names=names)[:QUESTION_LENGTH].strip()
        if not words_of(words):
            raise InvalidInput("question", "The customer has not asked anything yet.")
        session.add(SuggestionQuestion(suggestion_id=suggestion.id, conversation_id=conversation.id, question=words))
    session.flush()


def _have_written(session: Session, suggestion: ArticleSuggestion, *, automatic: bool) -> None:
    arguments: dict[str, Any] = {"suggestion_id": suggestion.id, "version": suggestion.version, "automatic": automatic}
    enqueue(session, WRITE, arguments)
    _event(session, suggestion)


def _obstacle(session: Session, suggestion: ArticleSuggestion) -> tuple[SuggestionState | None, Revision | None]:
    """Why a revision cannot be published over what is there now, and what that is."""
    if suggestion.kind is SuggestionKind.ARTICLE or suggestion.article_id is None:
        return None, None
    published = knowledge.published_revision(session, suggestion.article_id)
    if published is not None and published.id != suggestion.base_revision_id:
        return S.STALE, published
    draft = knowledge.draft_of(session, suggestion.article_id)
    if draft is not None and draft.digest != suggestion.over_digest:
        return S.CONFLICT, draft
    return None, None


def _set_aside(session: Session, suggestion: ArticleSuggestion, actor: Actor) -> bool:
    """Find it stale or in conflict, if it is. Its article is held until this transaction ends.

    Raises:
        IllegalTransition: the article that it changes is not published any more.
    """
    if suggestion.kind is SuggestionKind.REVISION:
        article = _target(session, suggestion.article_id)
        if article.state is not ArticleState.PUBLISHED:
            raise IllegalTransition("article", article.state.value, "be revised")
    state, _ = _obstacle(session, suggestion)
    if state is None:
        return False
    _take(session, suggestion, "be found stale" if state is S.STALE else "be found in conflict", actor)
    record(session, actor, f"suggestion.{state.value}", "suggestion", suggestion.id)
    return True


def _target(session: Session, article_id: int | None) -> Article:
    article = session.get(Article, article_id or 0, with_for_update=True, populate_existing=True)
    if article is None:
        raise NotFound("There is no such published article.")
    return article


def _described(article: Article, title: str, body: str) -> Words:
    return Words(article.slug, title, body, article.category, tuple(article.tags), article.audience, article.language)


def _title_of(began: Revision | None, theirs: str, mine: str) -> str | None:
    """The title where at most one side changed it."""
    if theirs == mine or began is None:
        return mine if theirs == mine else None
    if mine == began.title:
        return theirs
    return mine if theirs == began.title else None


def _clean(suggestion: ArticleSuggestion, words: Words) -> Words:
    """The words as they are kept. A revision leaves what describes the article to the article."""
    if suggestion.kind is SuggestionKind.REVISION:
        own = words_of_suggestion(suggestion)
        words = replace(own, title=words.title, body=words.body)
    return replace(replace(words, slug="").clean(), slug="")


def _reword(suggestion: ArticleSuggestion, words: Words) -> None:
    suggestion.title, suggestion.body = words.title, words.body
    suggestion.category, suggestion.tags = words.category, list(words.tags)
    suggestion.audience, suggestion.language = words.audience, words.language
    suggestion.digest = _digest(words)


def _digest(words: Words) -> str:
    return content_digest(words.title, words.body, words.audience, words.category, words.tags, words.language)


def _noted(suggestion: ArticleSuggestion, note: str) -> str:
    words = note.replace("\x00", "").replace("\r\n", "\n").strip()
    if len(words) > NOTE_LENGTH:
        raise InvalidInput("note", f"A note has at most {NOTE_LENGTH:,} characters; this one has {len(words):,}.")
    suggestion.note = words or None
    return words


def _decided(
    session: Session, suggestion: ArticleSuggestion, step: str, action: str, actor: Actor, words: str, **about: Any
) -> ArticleSuggestion:
    _sign(suggestion, actor)
    _take(session, suggestion, step, actor)
    record(session, actor, action, "suggestion", suggestion.id, words=words, digest=suggestion.digest, **about)
    _tell(session, suggestion, suggestion.state.value)
    return suggestion


def _sign(suggestion: ArticleSuggestion, actor: Actor) -> None:
    suggestion.decided_by, suggestion.decided_by_name = actor.id, actor.name[:200]
    suggestion.decided_at = now()


def _tell(session: Session, suggestion: ArticleSuggestion, decision: str) -> None:
    send_signal(
        session,
        signals.review_decided,
        suggestion_id=suggestion.id,
        kind=suggestion.kind.value,
        decision=decision,
    )


def _take(session: Session, suggestion: ArticleSuggestion, step: str, actor: Actor) -> None:
    """Take one of :data:`STEPS`, which has been allowed."""
    allowed, state, kept = STEPS[step]
    if suggestion.state not in allowed:
        raise IllegalTransition("suggestion", suggestion.state.value, step)
    suggestion.state = state
    if state is not S.DEFERRED:
        suggestion.deferred_until = None
    if state not in (S.APPROVED, S.PUBLISHED):
        suggestion.approved_digest = None
    _note(session, suggestion, kept, actor)
    _changed(session, suggestion)


def _changed(session: Session, suggestion: ArticleSuggestion) -> ArticleSuggestion:
    suggestion.version += 1
    return _told(session, suggestion)


def _told(session: Session, suggestion: ArticleSuggestion) -> ArticleSuggestion:
    suggestion.updated_at = now()
    session.flush()
    _event(session, suggestion)
    return suggestion


def _event(session: Session, suggestion: ArticleSuggestion) -> None:
    about = {"suggestion_id": suggestion.id, "state": suggestion.state.value}
    if suggestion.conversation_id is not None:
        about["conversation_id"] = suggestion.conversation_id
    publish_event(session, "console", "suggestion", **about)


def _note(session: Session, suggestion: ArticleSuggestion, step: SuggestionStep, actor: Actor) -> None:
    session.add(
        SuggestionHistory(
            suggestion_id=suggestion.id,
            step=step,
            actor_id=actor.id,
            actor_name=actor.name[:200],
            digest=suggestion.digest or None,
            occurred_at=now(),
        )
    )


def _origin(suggestion: ArticleSuggestion) -> dict[str, Any]:
    return {"candidate_id": suggestion.candidate_id, "conversation_id": suggestion.conversation_id}


def _locked(session: Session, suggestion_id: int, step: str, seen: int | None) -> ArticleSuggestion:
    """A suggestion that only we change until this transaction ends.

    Raises:
        NotFound, StaleSuggestion, IllegalTransition: it is not there, has changed, or does not allow the step.
    """
    clustering.lock(session)  # before any row of this room: most steps are told to a candidate as well
    suggestion = _find(session, suggestion_id)
    _hold_to(suggestion, seen)
    if suggestion.state not in STEPS[step][0]:
        raise IllegalTransition("suggestion", suggestion.state.value, step)
    return suggestion


def _hold_to(suggestion: ArticleSuggestion, seen: int | None) -> None:
    if seen is not None and suggestion.version != seen:
        raise StaleSuggestion(seen, suggestion.version)


def _find(session: Session, suggestion_id: int) -> ArticleSuggestion:
    found = session.get(ArticleSuggestion, suggestion_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound("There is no such suggestion.")
    return found


def of_conversation(session: Session, conversation_id: int) -> ArticleSuggestion | None:
    """The newest suggestion that came from a conversation, or from a gap that its question belongs to. One query."""
    gaps = (
        select(GapQuestion.candidate_id)
        .join(GapEvent, GapEvent.question_id == GapQuestion.id)
        .where(GapEvent.conversation_id == conversation_id)
    )
    from_it = or_(ArticleSuggestion.conversation_id == conversation_id, ArticleSuggestion.candidate_id.in_(gaps))
    return session.scalars(
        select(ArticleSuggestion).where(from_it).order_by(ArticleSuggestion.id.desc()).limit(1)
    ).one_or_none()
