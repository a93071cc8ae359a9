"""How alike questions are, and which are nearest to a new one.

Two questions are alike by what they mean, and by the words they share. What all questions of a desk have in common says
nothing: the mean direction of their vectors is taken off each, and a word weighs the less the more questions hold it.
Without a vector only the words are compared.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.retrieval.vector_lane import EF_SEARCH, index_name, literal
from flask_cairnloop.upkeep.models import GapModel, GapQuestionEmbedding, GapTerm

TABLE: Final = "gap_question_embeddings"
NEAR: Final = 50  # questions that a new one is compared with closely
WORDS: Final = 0.3  # how much shared words weigh beside meaning
EXACT_LIMIT: Final = 10_000  # vectors up to which all are compared; beyond it an HNSW index proposes the nearest
MEAN_OF: Final = 5_000  # questions whose mean is taken; more would change nothing
STEADY: Final = 20  # questions' worth of "no common direction" that the mean begins with: few questions share little
ALL: Final = 0  # the term that stands for all questions
RARE: Final = 8  # of a question's rarest words, by which others are looked for where there is no vector
SOME: Final = 400  # questions that hold one of them

_NEAREST = """
WITH probed AS MATERIALIZED (
    SELECT question_id, {embedding} AS embedding FROM {schema}.gap_question_embeddings
    WHERE model = {model} AND question_id <> :besides
    ORDER BY {embedding} OPERATOR({vectors}.<=>) {asked} LIMIT :near
)
SELECT id, candidate_id, terms, 1 - (
    (probed.embedding OPERATOR({vectors}.-) {mean}) OPERATOR({vectors}.<=>) ({asked} OPERATOR({vectors}.-) {mean})
) AS meaning
FROM probed JOIN {schema}.gap_questions ON gap_questions.id = probed.question_id
"""
_SHARING = """
SELECT id, candidate_id, terms, CAST(NULL AS double precision) AS meaning FROM {schema}.gap_questions
WHERE terms && CAST(:rare AS bigint[]) AND question IS NOT NULL AND id <> :besides LIMIT :some
"""
_WIDELY = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', :wide, true)"
)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vector of a question, and what knows what it means.

    Args:
        vectors: quoted name of the schema that pgvector lives in.
    """

    model: str
    vector: Sequence[float]
    vectors: str


@dataclass(frozen=True, slots=True)
class Near:
    """A question near to a new one. ``likeness`` is 1 for the same."""

    id: int
    candidate_id: int
    likeness: float


def nearest(session: Session, terms: Sequence[int], embedded: Embedded | None, *, besides: int = 0) -> list[Near]:
    """The questions nearest to one, most alike first; those that are not alike at all are left out.

    Args:
        terms: its words.
        embedded: its vector; without, others are found and compared by their words.
        besides: a question that is not meant.
    """
    rows = _by_meaning(session, embedded, besides) if embedded else _by_words(session, terms, besides)
    held = holding(session, {ALL, *terms, *(term for row in rows for term in row.terms)})
    weights = {term: weight(held, term) for term in held}
    alike = [Near(row.id, row.candidate_id, _likeness(terms, row, weights)) for row in rows]
    alike.sort(key=lambda near: (-near.likeness, near.id))
    return [near for near in alike[:NEAR] if near.likeness > 0]


def _likeness(terms: Sequence[int], row: Any, weights: Mapping[int, float]) -> float:
    shared = overlap(terms, row.terms, weights)
    if row.meaning is None:
        return shared
    meaning = float(row.meaning)
    if not math.isfinite(meaning):  # one of the two is just what all have in common
        meaning = 0.0
    return (meaning + WORDS * shared) / (1 + WORDS)


def overlap(one: Collection[int], other: Collection[int], weights: Mapping[int, float]) -> float:
    """Cosine of two sets of words, each weighed by how rare it is."""
    both = sum(weights[term] ** 2 for term in set(one) & set(other))
    lengths = math.sqrt(sum(weights[term] ** 2 for term in one) * sum(weights[term] ** 2 for term in other))
    return both / lengths if lengths else 0.0


def weight(held: Mapping[int, int], term: int) -> float:
    """How much a word says: the rarer, the more."""
    return math.log((1 + held[ALL]) / (1 + held[term])) + 1


def holding(session: Session, terms: Collection[int]) -> dict[int, int]:
    """How many questions hold each of these words. One query."""
    rows = session.execute(select(GapTerm.term, GapTerm.questions).where(GapTerm.term.in_(terms)))
    known = {row.term: row.questions for row in rows}
    return {term: known.get(term, 0) for term in terms}


def count_terms(session: Session, terms: Sequence[int], by: int = 1) -> None:
    """Count the words of a question that came, or with ``-1`` of one that went."""
    rows = [{"term": term, "questions": by} for term in sorted({ALL, *terms})]
    row = insert(GapTerm)
    counted = func.greatest(GapTerm.questions + row.excluded.questions, 0)
    session.execute(row.on_conflict_do_update(index_elements=[GapTerm.term], set_={"questions": counted}), rows)


# --- meaning ----------------------------------------------------------------------------------------------------------


def note_vector(session: Session, embedded: Embedded) -> None:
    """Take a vector into the mean of its model, while that still moves."""
    model = session.get(GapModel, embedded.model)
    if model is None:
        session.add(
            GapModel(model=embedded.model, dimensions=len(embedded.vector), questions=1, total=list(embedded.vector))
        )
    elif model.questions < MEAN_OF:
        model.questions += 1
        model.total = [a + b for a, b in zip(model.total, embedded.vector, strict=True)]
    session.flush()


def keep_vector(session: Session, question_id: int, embedded: Embedded) -> None:
    """Keep the vector of a question, in place of another model's."""
    kept = {"model": embedded.model, "embedding": list(embedded.vector)}
    row = insert(GapQuestionEmbedding).values(question_id=question_id, **kept)
    session.execute(row.on_conflict_do_update(index_elements=[GapQuestionEmbedding.question_id], set_=kept))


def outgrown(session: Session, model: str) -> bool:
    """Whether there are more questions than are best compared one by one, and no index yet."""
    row = session.get(GapModel, model)
    return row is not None and row.ann_index is None and holding(session, [ALL])[ALL] > EXACT_LIMIT


def use_index(session: Session, model: str) -> None:
    """Know that the index of a model can be used."""
    row = session.get(GapModel, model)
    if row is not None:
        row.ann_index = index_name(model, TABLE)
        session.flush()


def _by_meaning(session: Session, embedded: Embedded, besides: int) -> Sequence[Any]:
    model = session.get(GapModel, embedded.model)
    common = [0.0] * len(embedded.vector)
    if model is not None:
        common = [number / (model.questions + STEADY) for number in model.total]
        if model.ann_index is not None:
            session.execute(_WIDELY, {"wide": str(EF_SEARCH)})
    values = {"asked": str(list(embedded.vector)), "mean": str(common), "near": NEAR, "besides": besides}
    return session.execute(raw(_written(embedded), quoted_schema(session)), values).all()


def _written(embedded: Embedded) -> str:
    # The model is part of the words, not a value: a partial index is chosen by them.
    sized = f"{embedded.vectors}.vector({len(embedded.vector)})"
    parts = {
        "{embedding}": f"CAST(embedding AS {sized})",
        "{asked}": f"CAST(:asked AS {sized})",
        "{mean}": f"CAST(:mean AS {sized})",
        "{model}": literal(embedded.model),
        "{vectors}": embedded.vectors,
    }
    statement = _NEAREST
    for part, words in parts.items():
        statement = statement.replace(part, words)
    return statement


# --- words ------------------------------------------------------------------------------------------------------------


def _by_words(session: Session, terms: Sequence[int], besides: int) -> Sequence[Any]:
    held = holding(session, terms) if terms else {}
    rare = sorted((term for term in terms if held[term]), key=lambda term: (held[term], term))[:RARE]
    if not rare:
        return []
    values = {"rare": rare, "some": SOME, "besides": besides}
    return session.execute(raw(_SHARING, quoted_schema(session)), values).all()
