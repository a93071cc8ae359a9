"""What a suggestion may rest on: searched anew whenever one is written, and never taken from whoever asks for it.

Two kinds of things are found. What published articles for everybody say has been reviewed. How the team answered
conversations with these questions has not: it is what nobody wrote an article about so far, so whoever reviews the
suggestion sees which of it that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Conversation, CustomerRecord, Message, MessageKind
from flask_cairnloop.drafting.jobs import quotable
from flask_cairnloop.drafting.model_letter import speaks_to_a_model
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.privacy.redactor import names_of, redact
from flask_cairnloop.retrieval.grounding import Calibration, assess, calibration
from flask_cairnloop.retrieval.models import ResolvedCase
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.retrieval.types import Assessment, Passage, SearchResults, SimilarCase, Strength
from flask_cairnloop.upkeep.models import GapEvent, GapQuestion
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    SuggestionKind,
    SuggestionQuestion,
    SuggestionState,
)
from flask_cairnloop.upkeep.writing import Brief, Source, SourceKind

WEIGHED: Final = 12  # passages looked at for each question, as many as for a draft
PASSAGES: Final = 6  # that become sources
CASES: Final = 6
CASE_LENGTH: Final = 6_000
REPLIES: Final = 5  # of the team, in a conversation that goes on


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a suggestion is to answer, by the id of its :class:`SuggestionQuestion`."""

    id: int
    words: str


@dataclass(frozen=True, slots=True)
class Task:
    """What is read before the slow part.

    Args:
        conversations: in which the questions were asked, newest first.
        unhelpful: articles of which visitors said that they did not answer it.
    """

    suggestion_id: int
    kind: SuggestionKind
    article_id: int | None
    conversation_id: int | None
    questions: tuple[Question, ...]
    conversations: tuple[int, ...]
    unhelpful: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """How well the published articles answer a question.

    Args:
        place: of the article that was asked about among what was found, from 1; ``None``: it is not there.
    """

    question: Question
    results: SearchResults
    assessment: Assessment

    def place(self, article_id: int | None) -> int | None:
        found = [passage.article_id for passage in self.results.passages if passage.public]
        return found.index(article_id) + 1 if article_id in found else None


@dataclass(frozen=True, slots=True)
class Gathered:
    """The brief, what it was decided to be, and how the questions are answered so far."""

    brief: Brief
    measured: tuple[Measured, ...]
    article_id: int | None
    base_revision_id: int | None


def task(session: Session, suggestion_id: int, version: int) -> Task | None:
    """What is to be written; ``None`` where nobody waits for it any more."""
    suggestion = session.get(ArticleSuggestion, suggestion_id)
    if suggestion is None or suggestion.state is not SuggestionState.GENERATING or suggestion.version != version:
        return None
    questions = questions_of(session, suggestion_id)
    events = session.execute(
        select(GapEvent.conversation_id, GapEvent.article_id)
        .join(SuggestionQuestion, SuggestionQuestion.question_id == GapEvent.question_id)
        .where(SuggestionQuestion.suggestion_id == suggestion_id)
        .order_by(GapEvent.id.desc())
        .limit(200)
    ).all()
    asked_in = dict.fromkeys(row.conversation_id for row in events if row.conversation_id is not None)
    return Task(
        suggestion.id,
        suggestion.kind,
        suggestion.article_id,
        suggestion.conversation_id,
        questions,
        tuple(asked_in),
        tuple(row.article_id for row in events if row.article_id is not None),
    )


def questions_of(session: Session, suggestion_id: int) -> tuple[Question, ...]:
    """The questions of a suggestion whose words are still kept, in the order they were noted in."""
    rows = session.execute(
        select(SuggestionQuestion.id, SuggestionQuestion.question, GapQuestion.question)
        .outerjoin(GapQuestion, GapQuestion.id == SuggestionQuestion.question_id)
        .where(SuggestionQuestion.suggestion_id == suggestion_id)
        .order_by(SuggestionQuestion.id)
    ).all()
    return tuple(Question(row[0], words) for row in rows if (words := row[1] or row[2]))


def holds(session: Session, task: Task, brief: Brief) -> bool:
    """Whether everything that was gathered may still be used: nobody was forgotten since whose words are in it.

    True until the transaction ends, where it has :func:`flask_cairnloop.upkeep.clustering.lock`. Two queries.
    """
    cases = {source.conversation_id for source in brief.sources if source.conversation_id is not None}
    kept = select(func.count()).where(Conversation.id.in_(cases), Conversation.erased_at.is_(None))
    return session.scalar(kept) == len(cases) and questions_of(session, task.suggestion_id) == task.questions


def measure(session: Session, questions: Sequence[Question], *, besides: int | None = None) -> tuple[Measured, ...]:
    """Ask each question as a draft would, of what is published for everybody. It ends the session's transaction.

    Args:
        besides: a conversation whose own earlier questions do not count.
    """
    fitted = calibration(session)
    found = []
    for question in questions:
        session.rollback()  # the embedder is asked first, and it may be slow
        results = search(session, question.words, limit=WEIGHED, besides=besides)
        found.append(Measured(question, results, _assessed(question, results, fitted)))
    session.rollback()
    return tuple(found)


def gather(session: Session, task: Task, *, automatic: bool) -> Gathered:
    """Search everything, decide what is to be written where nobody did, and put the sources in order.

    Args:
        automatic: nobody said whether a new article is wanted or a revision. It is a revision where the questions
            lead to one article that nearly answers them, or of which visitors say that it did not.
    """
    measured = measure(session, task.questions, besides=task.conversation_id)
    kind, article_id = task.kind, task.article_id
    if automatic:
        article_id = _nearly(measured, task.unhelpful)
        kind = SuggestionKind.ARTICLE if article_id is None else SuggestionKind.REVISION
    base = _published(session, article_id) if article_id is not None else None
    if base is None:
        kind, article_id = SuggestionKind.ARTICLE, None
    passages = [passage for passage in _passages(measured) if passage.article_id != article_id]
    named = _slugs(session, [passage.article_id for passage in passages[:PASSAGES]])
    found = [_of_passage(passage, named.get(passage.article_id, "")) for passage in passages[:PASSAGES]]
    sources = [*_cases(session, task, measured), *found]
    numbered = tuple(replace(source, number=number) for number, source in enumerate(sources, start=1))
    brief = Brief(
        task.suggestion_id,
        kind,
        tuple(question.words for question in task.questions),
        numbered,
        *(("", "", None) if base is None else (base[1].title, base[1].body, base[0].language)),
    )
    return Gathered(brief, measured, article_id, None if base is None else base[1].id)


def _assessed(question: Question, results: SearchResults, fitted: Calibration) -> Assessment:
    return assess(question.words, quotable(results), fitted)


def _nearly(measured: Sequence[Measured], unhelpful: Sequence[int]) -> int | None:
    """The article that most of the questions lead to, and that answers some of them in part."""
    votes = Counter(unhelpful)
    for each in measured:
        best = next((passage for passage in each.results.passages if passage.public), None)
        if best is not None and each.assessment.strength is not Strength.NONE:
            votes[best.article_id] += 1
    if not votes:
        return None
    article_id, count = votes.most_common(1)[0]
    return article_id if count * 2 > len(measured) else None


def _published(session: Session, article_id: int) -> tuple[Article, Revision] | None:
    """An article for everybody, with the revision that is found."""
    row = session.execute(
        select(Article, Revision)
        .join(Revision, (Revision.article_id == Article.id) & (Revision.state == RevisionState.PUBLISHED))
        .where(Article.id == article_id, Article.state == ArticleState.PUBLISHED, Article.audience == Audience.PUBLIC)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def _passages(measured: Sequence[Measured]) -> list[Passage]:
    """The best passages over all questions, each once. What speaks to a model instead of a reader is none."""
    best: dict[int, Passage] = {}
    weight: dict[int, float] = {}
    for each in measured:
        for place, passage in enumerate(each.results.passages, start=1):
            if passage.public and not speaks_to_a_model(passage):
                best.setdefault(passage.chunk_id, passage)
                weight[passage.chunk_id] = weight.get(passage.chunk_id, 0.0) + 1 / place
    return sorted(best.values(), key=lambda passage: (-weight[passage.chunk_id], passage.chunk_id))


def _cases(session: Session, task: Task, measured: Sequence[Measured]) -> list[Source]:
    """How the team answered these questions: where they were asked, then in conversations like these."""
    found = _replies(session, task.conversation_id) if task.conversation_id is not None else []
    alike: list[SimilarCase] = sorted(
        (case for each in measured for case in each.results.cases), key=lambda case: -case.similarity
    )
    wanted = list(dict.fromkeys([*task.conversations, *(case.conversation_id for case in alike)]))
    if not wanted:
        return found
    rows = session.scalars(select(ResolvedCase).where(ResolvedCase.conversation_id.in_(wanted)))
    by_id = {row.conversation_id: row for row in rows}
    cases = [by_id[number] for number in wanted if number in by_id and number != task.conversation_id]
    return [
        *found,
        *(_of_case(row.title, row.resolution, row.conversation_id) for row in cases[: CASES - len(found)]),
    ]


def _replies(session: Session, conversation_id: int) -> list[Source]:
    """What the team has said in a conversation so far, redacted."""
    row = session.execute(
        select(Conversation.subject, CustomerRecord)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Conversation.id == conversation_id)
    ).one_or_none()
    if row is None:
        return []
    person: CustomerRecord = row[1]
    names = names_of(ref=person.ref, name=person.name, email=person.email, organization=person.organization)
    said = session.scalars(
        select(Message.body)
        .where(Message.conversation_id == conversation_id, Message.kind == MessageKind.REPLY, Message.body != "")
        .order_by(Message.sequence.desc())
        .limit(REPLIES)
    ).all()
    words = "\n\n".join(redact(body, names=names) for body in reversed(said))
    return [_of_case(redact(row[0], names=names), words, conversation_id)] if words else []


def _of_case(title: str, words: str, conversation_id: int) -> Source:
    return Source(0, SourceKind.CASE, title, "", words[:CASE_LENGTH], conversation_id=conversation_id)


def _slugs(session: Session, articles: Sequence[int]) -> dict[int, str]:
    rows = session.execute(select(Article.id, Article.slug).where(Article.id.in_(articles)))
    return {row.id: row.slug for row in rows}


def _of_passage(passage: Passage, slug: str) -> Source:
    return Source(
        0,
        SourceKind.ARTICLE,
        passage.title,
        passage.heading,
        passage.content,
        article_id=passage.article_id,
        revision_id=passage.revision_id,
        chunk_id=passage.chunk_id,
        slug=slug,
    )
