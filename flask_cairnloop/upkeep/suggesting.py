"""Writing suggestions as durable work, and asking their questions again once they are published."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.drafting.jobs import quotable
from flask_cairnloop.jobs import JobContext, enqueue, job
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.jobs.registry import GiveUp, chore
from flask_cairnloop.retrieval import indexing, memory
from flask_cairnloop.retrieval.grounding import Calibration, assess, calibration
from flask_cairnloop.retrieval.indexing import IndexState
from flask_cairnloop.retrieval.models import PastQuestion
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.upkeep import article_engine, evidence, handoffs, marks, suggestions, writing
from flask_cairnloop.upkeep.evidence import Gathered, Measured
from flask_cairnloop.upkeep.models import QUESTION_LENGTH, GapEvent
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionQuestion, SuggestionState
from flask_cairnloop.upkeep.writing import Text, Written

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

# Seconds. Host code is asked for a vector of each question, for the words, and by our own engine twice for likeness.
TIMEOUT: Final = (suggestions.QUESTIONS + 3) * LONGEST_HOOK + 60
ASKING_TIMEOUT: Final = 2 * suggestions.QUESTIONS * LONGEST_HOOK + 60
FIRST_WAIT: Final = timedelta(seconds=2)  # for the article to be found; doubled each time
MOST_WAITS: Final = 10  # about half an hour; then the questions are asked of what is there
NOT_WRITTEN: Final = "It could not be written. Try again, or write it yourself."


def give_up(context: JobContext, *, suggestion_id: int, version: int, **_: object) -> None:
    """It will not be written: say so on it, where somebody can ask for it again, or write it."""
    found = suggestions.note_written(context.session, suggestion_id, version)
    if found is not None:
        kind = (context.error or "").partition(":")[0]
        suggestions.failed(context.session, found, f"{NOT_WRITTEN} ({kind})" if kind.isidentifier() else NOT_WRITTEN)


@job(suggestions.WRITE, queue=QueueName.DEFAULT, max_attempts=3, timeout=TIMEOUT, on_dead=give_up)
def suggest(context: JobContext, *, suggestion_id: int, version: int, automatic: bool) -> None:
    """Write a suggestion from what is searched now, if it is still waited for."""
    session, hooks = context.session, context.cairnloop.hooks
    task = evidence.task(session, suggestion_id, version)
    if task is None:
        return
    if not task.questions:
        raise GiveUp("Nothing is asked any more.")
    context.release()
    gathered = evidence.gather(session, task, automatic=automatic)
    context.release()
    written, declined = article_engine.propose(hooks, gathered.brief)
    text = writing.text_of(gathered.brief, written)
    found = suggestions.note_written(session, suggestion_id, version)
    if found is None:
        return
    if evidence.holds(session, task, gathered.brief):
        _fill(session, found, gathered, written, text, declined)
    else:  # somebody was forgotten meanwhile: nothing that was written with their words is kept
        enqueue(
            session, suggestions.WRITE, {"suggestion_id": suggestion_id, "version": version, "automatic": automatic}
        )


def _fill(
    session: Session,
    suggestion: ArticleSuggestion,
    gathered: Gathered,
    written: Written,
    text: Text,
    declined: str | None,
) -> None:
    suggestion.kind = gathered.brief.kind
    suggestion.article_id, suggestion.base_revision_id = gathered.article_id, gathered.base_revision_id
    suggestion.title, suggestion.body = text.title, text.body
    suggestion.claims = {digest: list(numbers) for digest, numbers in text.claims.items()}
    suggestion.sources = [asdict(source) for source in gathered.brief.sources]
    suggestion.summary = written.summary[: writing.SUMMARY_LENGTH]
    suggestion.engine = written.engine[: writing.ENGINE_LENGTH]
    suggestion.declined = declined
    suggestion.language = gathered.brief.language
    _keep_measures(session, gathered.measured, suggestion, after=False)
    suggestions.written(session, suggestion)


def _keep_measures(
    session: Session, measured: tuple[Measured, ...], suggestion: ArticleSuggestion, *, after: bool
) -> list[SuggestionQuestion]:
    """Note how well each question is answered, of those that are still there. Returns their rows."""
    by_id = {each.question.id: each for each in measured}
    rows = session.scalars(
        select(SuggestionQuestion)
        .where(SuggestionQuestion.id.in_(by_id))
        .order_by(SuggestionQuestion.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        each = by_id[row.id]
        strength, score = each.assessment.strength, round(each.assessment.score, 4)
        if after:
            row.after, row.after_score, row.place = strength, score, each.place(suggestion.article_id)
        else:
            row.before, row.before_score = strength, score
    session.flush()
    return list(rows)


@job(suggestions.ASK_AGAIN, queue=QueueName.BULK, max_attempts=5, timeout=ASKING_TIMEOUT)
def ask_again(context: JobContext, *, suggestion_id: int, waits: int = 0) -> None:
    """Ask the questions of a published suggestion again, once its article is found.

    First they are asked of the articles alone, without what earlier questions say: that nothing answered them then
    says nothing of an article that came since. A question that the article answers so is remembered as one it
    answers. Then they are asked just as a draft would ask them, and that is the result.

    Args:
        waits: how often the article was not found yet.
    """
    session = context.session
    suggestion = session.get(ArticleSuggestion, suggestion_id)
    if suggestion is None or suggestion.state is not SuggestionState.PUBLISHED or suggestion.article_id is None:
        return
    article_id = suggestion.article_id
    standing = indexing.standings(session, [article_id]).get(article_id)
    if standing is not None and standing.state is not IndexState.INDEXED and waits < MOST_WAITS:
        again = {"suggestion_id": suggestion_id, "waits": waits + 1}
        enqueue(session, suggestions.ASK_AGAIN, again, delay=FIRST_WAIT * 2**waits)
        return
    questions = evidence.questions_of(session, suggestion_id)
    conversation_id = suggestion.conversation_id
    context.release()
    alone = evidence.measure(session, questions, besides=conversation_id)
    fitted = calibration(session)
    answers = [each for each in alone if each.place(article_id) == 1 and _by_itself(each, fitted)]
    for each in answers:
        _remember(session, each, article_id)
    context.keep()
    final = evidence.measure(session, questions, besides=conversation_id)
    found = session.get(ArticleSuggestion, suggestion_id, populate_existing=True)
    if found is None:
        return
    suggestions.lock(session, found)
    rows = _keep_measures(session, final, found, after=True)
    suggestions.answered(
        session,
        found,
        asked=len(rows),
        before=sum(row.before is Strength.STRONG for row in rows),
        after=sum(row.after is Strength.STRONG for row in rows),
    )


def _by_itself(each: Measured, fitted: Calibration) -> bool:
    """Whether what is published answers it, whatever was not answered before."""
    results = replace(quotable(each.results), missed=0.0, answered=0.0)
    return assess(each.question.words, results, fitted).strength is Strength.STRONG


def _remember(session: Session, each: Measured, article_id: int) -> None:
    """Let earlier questions in these words, that nothing had answered, be ones that the article answers."""
    row = session.get(SuggestionQuestion, each.question.id)
    if row is None or row.question_id is None:
        return
    events = session.execute(
        select(GapEvent.conversation_id, GapEvent.fingerprint)
        .where(GapEvent.question_id == row.question_id, GapEvent.conversation_id.is_not(None))
        .distinct()
    ).all()
    by_conversation: dict[int, set[str]] = {}
    for event in events:
        by_conversation.setdefault(int(event.conversation_id), set()).add(event.fingerprint)
    asked = session.scalars(select(PastQuestion).where(PastQuestion.conversation_id.in_(by_conversation))).all()
    for past in asked:
        words = " ".join(past.question.split())[:QUESTION_LENGTH].strip()
        if marks.fingerprint(words) in by_conversation[past.conversation_id]:
            memory.settle_miss(session, past.id, article_id)


@chore("upkeep.prune_handoffs", every=3600)
def prune(_: Cairnloop, session: Session) -> bool:
    """Remove links into the editor that are over."""
    return handoffs.prune(session)


@chore("upkeep.wake_suggestions", every=60)
def wake(_: Cairnloop, session: Session) -> bool:
    """Bring suggestions back that were put off until now."""
    return suggestions.wake(session)
