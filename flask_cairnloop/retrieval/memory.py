"""What earlier questions teach: the third lane.

Whoever asked before describes best what an article answers. Every reply that cites an article makes its question a view
of that article; a conversation that was resolved without a citation, or a draft that an operator called wrong or
incomplete, makes its question one that no article answers.
Questions are redacted before they are stored or embedded, fade with age, weigh once a customer, and go when the
customer is forgotten. They point at articles and never stand for one: only what is published is found through them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.errors import NotFound
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.retrieval.models import PastAnswer, PastQuestion, PastQuestionEmbedding, ResolvedCase
from flask_cairnloop.retrieval.types import SimilarCase
from flask_cairnloop.retrieval.vector_lane import LiveModel
from flask_cairnloop.retrieval.visibility import ALLOWED, Scope

EMBED: Final = "retrieval.embed_questions"
NEIGHBOURS: Final = 50  # earlier questions that are asked
SHARPNESS: Final = 0.1  # a question this much less alike weighs 1/e as much; fitted with the weights of the fusion
HALF_LIFE: Final = timedelta(days=365)  # after so long a question weighs half
CUSTOMER_LIMIT: Final = 50  # questions kept of one customer
LIMIT: Final = 20_000  # questions kept: all are compared, and older ones have faded
CASES: Final = 3  # similar cases that are shown
CASE_LIKENESS: Final = 0.5  # cosine from which a case is called similar
QUESTION_LENGTH: Final = 2_000
RESOLUTION_LENGTH: Final = 4_000

_NEAR = """
WITH near AS MATERIALIZED (
    SELECT past_questions.id, past_questions.conversation_id, past_questions.customer_id, past_questions.asked_at,
           1 - (embedding OPERATOR({vectors}.<=>) CAST(:vector AS {vectors}.vector)) AS similarity
    FROM {schema}.past_question_embeddings
    JOIN {schema}.past_questions ON past_questions.id = past_question_embeddings.question_id
    WHERE past_question_embeddings.model = :model
        AND past_questions.conversation_id IS DISTINCT FROM CAST(:besides AS bigint)
    ORDER BY similarity DESC, past_questions.id DESC LIMIT :neighbours
)
SELECT near.*, answered.article_id, resolved_cases.conversation_id IS NOT NULL AS is_case
FROM near
LEFT JOIN {schema}.resolved_cases ON resolved_cases.question_id = near.id
LEFT JOIN LATERAL (
    SELECT articles.id AS article_id
    FROM {schema}.past_answers JOIN {schema}.articles ON articles.id = past_answers.article_id
    WHERE past_answers.question_id = near.id AND past_answers.rejected_at IS NULL AND {allowed}
) AS answered ON true
""".replace("{allowed}", ALLOWED)


@dataclass(slots=True)
class Recall:
    """What earlier questions say about this one.

    Args:
        votes: weight of the questions that each article answered.
        counts: how many questions these are.
        answered: weight of the questions that some article answered.
        misses: those that no article did: when, of which customer, and their weight.
    """

    votes: dict[int, float] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    answered: float = 0.0
    misses: tuple[tuple[datetime, int, float], ...] = ()
    cases: tuple[SimilarCase, ...] = ()

    def missed(self, since: datetime | None = None) -> float:
        """Weight of the questions that no article answered, each customer's best one.

        Args:
            since: when what may answer now was published first: that nothing answered before says nothing of it.
        """
        best: dict[int, float] = {}
        for asked_at, customer_id, weight in self.misses:
            if since is None or asked_at >= since:
                best[customer_id] = max(best.get(customer_id, 0.0), weight)
        return sum(best.values())


@dataclass(frozen=True, slots=True)
class View:
    """A question that an article answered, as the console shows it."""

    answer_id: int
    question: str
    conversation_id: int
    asked_at: datetime
    rejected: bool


# --- asking -------------------------------------------------------------------------------------------------------


def recall(
    session: Session, vector: Sequence[float], model: LiveModel, scope: Scope, besides: int | None = None
) -> Recall:
    """Ask the earlier questions nearest to a new one.

    Args:
        vector: of the question, by the live model.
        besides: a conversation whose own questions do not count.
    """
    statement = raw(_NEAR.replace("{vectors}", model.vectors), quoted_schema(session))
    values = {
        "vector": str(list(vector)),
        "model": model.model,
        "neighbours": NEIGHBOURS,
        "besides": besides,
        **scope.values(),
    }
    return weigh(session.execute(statement, values).all(), now())


def weigh(rows: Sequence[Any], moment: datetime) -> Recall:
    """Turn earlier questions into votes; each customer's best one counts for an article.

    Args:
        rows: ``id``, ``conversation_id``, ``customer_id``, ``asked_at``, ``similarity``, ``article_id`` or ``None``,
            and ``is_case``; a row for each article that a question was answered with.
    """
    best: dict[int, dict[int, float]] = {}
    misses: list[tuple[datetime, int, float]] = []
    counts: dict[int, set[int]] = {}
    answered: dict[int, float] = {}  # by question
    cases: dict[int, SimilarCase] = {}
    for row in rows:
        weight = _weight(float(row.similarity), moment - row.asked_at)
        if weight > 0 and row.article_id is None:
            misses.append((row.asked_at, row.customer_id, weight))
        elif weight > 0:
            of_customer = best.setdefault(row.article_id, {})
            of_customer[row.customer_id] = max(of_customer.get(row.customer_id, 0.0), weight)
            counts.setdefault(row.article_id, set()).add(row.id)
            answered[row.id] = weight
        if row.is_case and row.similarity >= CASE_LIKENESS:
            cases.setdefault(row.conversation_id, SimilarCase(row.conversation_id, round(float(row.similarity), 4)))
    votes = {article: sum(by.values()) for article, by in best.items()}
    return Recall(
        votes=votes,
        counts={article: len(questions) for article, questions in counts.items()},
        answered=sum(answered.values()),
        misses=tuple(misses),
        cases=tuple(cases.values())[:CASES],
    )


def _weight(similarity: float, age: timedelta) -> float:
    """What an earlier question weighs: nothing where it is not alike at all."""
    if similarity <= 0:
        return 0.0
    faded = 0.5 ** (max(age, timedelta(0)) / HALF_LIFE)
    return float(math.exp((similarity - 1) / SHARPNESS) * faded)


# --- learning -----------------------------------------------------------------------------------------------------


def remember(
    session: Session, conversation_id: int, customer_id: int, sequence: int, question: str, articles: Sequence[int]
) -> int:
    """Keep a question and the articles that its answer cited. Doing it again adds what is new.

    Args:
        sequence: of the customer's last words in the question.
        question: redacted already.
        articles: those cited; unknown ones are left out.

    Returns:
        The id of the :class:`PastQuestion`.
    """
    row = upsert(PastQuestion).values(
        conversation_id=conversation_id,
        customer_id=customer_id,
        sequence=sequence,
        question=question[:QUESTION_LENGTH],
        asked_at=now(),
    )
    same = {"question": row.excluded.question}
    keep = row.on_conflict_do_update(index_elements=[PastQuestion.conversation_id, PastQuestion.sequence], set_=same)
    question_id = session.execute(keep.returning(PastQuestion.id)).scalar_one()
    known = session.scalars(select(Article.id).where(Article.id.in_(articles))).all() if articles else []
    for article_id in known:
        values = {"question_id": question_id, "article_id": article_id, "created_at": now()}
        session.execute(upsert(PastAnswer).values(values).on_conflict_do_nothing())
    _bound(session, customer_id)
    return question_id


def keep_vectors(session: Session, vectors: Mapping[str, Sequence[tuple[int, list[float]]]]) -> None:
    """Store vectors of questions by model; of a question that is gone by now, nothing."""
    for model, found in vectors.items():
        there = set(session.scalars(select(PastQuestion.id).where(PastQuestion.id.in_([key for key, _ in found]))))
        rows = [{"question_id": key, "model": model, "embedding": vector} for key, vector in found if key in there]
        if rows:
            row = upsert(PastQuestionEmbedding)
            same = {"embedding": row.excluded.embedding}
            unique = [PastQuestionEmbedding.question_id, PastQuestionEmbedding.model]
            session.execute(row.on_conflict_do_update(index_elements=unique, set_=same), rows)


def without_vector(session: Session, model: str, limit: int) -> Sequence[tuple[int, str]]:
    """The newest questions that have no vector of a model: id and words."""
    embedded = select(PastQuestionEmbedding.question_id).where(
        PastQuestionEmbedding.question_id == PastQuestion.id, PastQuestionEmbedding.model == model
    )
    wanted = select(PastQuestion.id, PastQuestion.question).where(~embedded.exists())
    rows = session.execute(wanted.order_by(PastQuestion.id.desc()).limit(limit)).all()
    return [(row.id, row.question) for row in rows]


def ask_for_vectors(session: Session, wait: timedelta) -> None:
    """Ask for questions without a vector to be embedded, after a while. Many requests make one."""
    enqueue(session, EMBED, {}, delay=wait, unique_key=EMBED, keep_earlier=True)


def keep_case(
    session: Session, conversation_id: int, question_id: int, title: str, resolution: str, resolved_at: datetime
) -> None:
    """Keep how a resolved conversation was answered.

    Args:
        title, resolution: redacted already.
    """
    values = {
        "question_id": question_id,
        "title": title[:200],
        "resolution": resolution[:RESOLUTION_LENGTH],
        "resolved_at": resolved_at,
    }
    row = upsert(ResolvedCase).values(conversation_id=conversation_id, **values)
    session.execute(row.on_conflict_do_update(index_elements=[ResolvedCase.conversation_id], set_=values))


def withdraw_case(session: Session, conversation_id: int) -> None:
    """A conversation goes on: it is no case any more, and whether an article answers it is open again."""
    session.execute(delete(ResolvedCase).where(ResolvedCase.conversation_id == conversation_id))
    answered = select(PastAnswer.id).where(PastAnswer.question_id == PastQuestion.id)
    session.execute(
        delete(PastQuestion).where(PastQuestion.conversation_id == conversation_id, ~answered.exists()),
        execution_options={"synchronize_session": False},
    )


def answered_from(session: Session, conversation_id: int, sequence: int) -> bool:
    """Whether an article has answered a conversation at these words of the customer, or at later ones."""
    asked = select(PastAnswer.id).join(PastQuestion, PastQuestion.id == PastAnswer.question_id)
    of_it = (PastQuestion.conversation_id == conversation_id, PastQuestion.sequence >= sequence)
    return session.scalar(asked.where(*of_it).limit(1)) is not None


def withdraw_misses(session: Session, conversation_id: int, sequence: int) -> None:
    """An article has answered a conversation after all: what was asked up to here and counts as unanswered goes."""
    answered = select(PastAnswer.id).where(PastAnswer.question_id == PastQuestion.id)
    kept = select(ResolvedCase.conversation_id).where(ResolvedCase.question_id == PastQuestion.id)
    of_it = (PastQuestion.conversation_id == conversation_id, PastQuestion.sequence <= sequence)
    session.execute(
        delete(PastQuestion).where(*of_it, ~answered.exists(), ~kept.exists()),
        execution_options={"synchronize_session": False},
    )


def settle_miss(session: Session, question_id: int, article_id: int) -> None:
    """An article that came since answers a question that nothing had answered. What did answer it stands."""
    answered = select(PastAnswer.id).where(PastAnswer.question_id == question_id)
    there = session.scalar(select(PastQuestion.id).where(PastQuestion.id == question_id, ~answered.exists()))
    if there is not None:
        values = {"question_id": question_id, "article_id": article_id, "created_at": now()}
        session.execute(upsert(PastAnswer).values(values).on_conflict_do_nothing())


def forget(session: Session, customer_id: int) -> int:
    """Delete everything that was learned from a customer. Returns how many questions that were."""
    gone = delete(PastQuestion).where(PastQuestion.customer_id == customer_id).returning(PastQuestion.id)
    return len(session.execute(gone, execution_options={"synchronize_session": False}).all())


def export(session: Session, customer_id: int) -> list[Any]:
    """What was learned from a customer, as plain values that JSON can carry."""
    asked = (
        select(PastQuestion, ResolvedCase.resolution, func.array_remove(func.array_agg(Article.title), None))
        .outerjoin(ResolvedCase, ResolvedCase.question_id == PastQuestion.id)
        .outerjoin(PastAnswer, PastAnswer.question_id == PastQuestion.id)
        .outerjoin(Article, Article.id == PastAnswer.article_id)
        .where(PastQuestion.customer_id == customer_id)
        .group_by(PastQuestion.id, ResolvedCase.resolution)
        .order_by(PastQuestion.id)
    )
    return [
        {
            "conversation": past.conversation_id,
            "question": past.question,
            "asked_at": past.asked_at.isoformat(),
            "articles": sorted(titles),
            "resolution": resolution,
        }
        for past, resolution, titles in session.execute(asked)
    ]


def _bound(session: Session, customer_id: int) -> None:
    """Keep the newest questions only, of a customer and of all."""
    newest = PastQuestion.asked_at.desc(), PastQuestion.id.desc()
    of_customer = select(PastQuestion.id).where(PastQuestion.customer_id == customer_id).order_by(*newest)
    of_all = select(PastQuestion.id).order_by(PastQuestion.id.desc())
    for beyond in (of_customer.offset(CUSTOMER_LIMIT), of_all.offset(LIMIT)):
        session.execute(
            delete(PastQuestion).where(PastQuestion.id.in_(beyond)), execution_options={"synchronize_session": False}
        )


# --- the console --------------------------------------------------------------------------------------------------


def views(session: Session, article_id: int, limit: int = 10) -> tuple[list[View], int]:
    """The newest questions that an article answered, and how many there are."""
    asked = (
        select(PastAnswer, PastQuestion)
        .join(PastQuestion, PastQuestion.id == PastAnswer.question_id)
        .where(PastAnswer.article_id == article_id)
        .order_by(PastAnswer.id.desc())
        .limit(limit)
    )
    counted = select(func.count()).select_from(PastAnswer).where(PastAnswer.article_id == article_id)
    found = [
        View(answer.id, past.question, past.conversation_id, past.asked_at, answer.rejected_at is not None)
        for answer, past in session.execute(asked)
    ]
    return found, session.scalar(counted) or 0


def reject(session: Session, article_id: int, answer_id: int, *, actor: Acting) -> None:
    """Say that an article did not answer a question: it is no view of it any more.

    Raises:
        NotFound: there is no such question of this article.
    """
    _judge(session, article_id, answer_id, actor, rejected=True)


def restore(session: Session, article_id: int, answer_id: int, *, actor: Acting) -> None:
    """Take :func:`reject` back. The arguments and errors are the same."""
    _judge(session, article_id, answer_id, actor, rejected=False)


def _judge(session: Session, article_id: int, answer_id: int, acting: Acting, *, rejected: bool) -> None:
    actor = as_actor(acting)
    values = {"rejected_at": now() if rejected else None, "rejected_by": actor.id if rejected else None}
    is_so = PastAnswer.rejected_at.is_not(None) if rejected else PastAnswer.rejected_at.is_(None)
    one = (PastAnswer.id == answer_id) & (PastAnswer.article_id == article_id)
    changed = session.execute(update(PastAnswer).where(one, ~is_so).values(values).returning(PastAnswer.question_id))
    question_id = changed.scalar_one_or_none()
    if question_id is not None:
        action = "memory.reject" if rejected else "memory.restore"
        record(session, actor, action, "article", article_id, question_id=question_id)
    elif session.scalar(select(PastAnswer.id).where(one)) is None:
        raise NotFound("There is no such question of this article.")


def cases(session: Session, wanted: Sequence[SimilarCase]) -> list[tuple[ResolvedCase, float]]:
    """The cases that are still there, in the order given, each with its likeness."""
    rows = session.scalars(
        select(ResolvedCase).where(ResolvedCase.conversation_id.in_([case.conversation_id for case in wanted]))
    )
    by_id = {row.conversation_id: row for row in rows}
    return [(by_id[case.conversation_id], case.similarity) for case in wanted if case.conversation_id in by_id]
