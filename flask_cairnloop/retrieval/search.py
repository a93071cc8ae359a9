"""Finds the passages of published articles that may answer a question: by words, by meaning, fused by weight."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_cairnloop.context import current
from flask_cairnloop.database.base import quoted_schema
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.types import Embedder, Lane, LaneState, Passage, SearchResults
from flask_cairnloop.retrieval.vector_lane import nearest
from flask_cairnloop.telemetry import SEARCH, span

log = logging.getLogger(__name__)

# Weights of the fused score, fitted on the questions before 2025 of the Thunderbird set (docs/evaluation.md); keyword
# scores are shares of the best score the question allows, so a weak keyword match adds little to a good vector match.
KEYWORD_WEIGHT: Final = 0.6
ARTICLE_WEIGHT: Final = 0.8  # of the mean similarity of an article's three nearest passages: one lucky passage is less
CANDIDATES: Final = 100  # articles a lane brings
TERMS: Final = 32  # the question's most telling words that are looked up
QUESTION_LIMIT: Final = 20_000  # characters; no embedding reads further

# BM25 over passages. The question's own repetitions count; a word of the title counts four times, once.
# First by which telling words occur at all (index only), then exactly for the best two hundred.
KEYWORD = """
WITH asked AS MATERIALIZED (
    SELECT lexeme,
           1 + ln(greatest(coalesce(cardinality(positions), 1), 1)) AS weight,
           CAST('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''' AS tsquery) AS wanted
    FROM unnest(to_tsvector(CAST(:language AS regconfig), :question))
), whole AS MATERIALIZED (
    SELECT count(*) AS passages, greatest(avg(octet_length(content)), 1) AS size FROM {schema}.chunks
), counted AS MATERIALIZED (
    SELECT lexeme, wanted, weight, seen, ln(1 + (passages - seen + 0.5) / (seen + 0.5)) AS rarity
    FROM asked CROSS JOIN whole
    CROSS JOIN LATERAL (SELECT count(*) AS seen FROM {schema}.chunks WHERE terms @@ wanted) AS found
), picked AS MATERIALIZED (
    SELECT lexeme, wanted, weight * rarity AS worth FROM counted
    WHERE seen > 0 ORDER BY weight * rarity DESC LIMIT :terms
), matched AS MATERIALIZED (
    SELECT chunks.id, chunks.article_id, chunks.revision_id, sum(worth) AS rough
    FROM picked
    JOIN {schema}.chunks ON chunks.terms @@ picked.wanted
    JOIN {schema}.revisions ON revisions.id = chunks.revision_id AND revisions.state = 'published'
    JOIN {schema}.articles ON articles.id = chunks.article_id AND articles.state = 'published'
    WHERE CAST(:audience AS text) IS NULL OR articles.audience = :audience
    GROUP BY chunks.id ORDER BY rough DESC, chunks.id LIMIT 200
), scored AS (
    SELECT matched.id, matched.article_id,
           sum(worth * tf * 2.6 / (tf + 1.6 * (0.25 + 0.75 * octet_length(content) / size))) AS score
    FROM matched
    JOIN {schema}.chunks ON chunks.id = matched.id
    CROSS JOIN whole
    CROSS JOIN LATERAL unnest(chunks.terms) AS term
    JOIN picked ON picked.lexeme = term.lexeme
    CROSS JOIN LATERAL (
        SELECT CASE WHEN 'A' = ANY(term.weights) THEN 4 ELSE 0 END
             + cardinality(array_remove(term.weights, 'A')) AS tf
    ) AS frequency
    GROUP BY matched.id, matched.article_id
)
SELECT id, article_id, score / (SELECT sum(worth) * 2.6 FROM picked) AS score,
       (SELECT coalesce(sum(weight * rarity) FILTER (WHERE seen > 0) / nullif(sum(weight * rarity), 0), 0) FROM counted)
           AS known
FROM scored ORDER BY score DESC, id
"""

PASSAGES = """
SELECT chunks.id AS chunk_id, chunks.article_id, chunks.revision_id, chunks.title, chunks.heading, chunks.content,
       articles.audience = 'public' AS public
FROM {schema}.chunks JOIN {schema}.articles ON articles.id = chunks.article_id
WHERE chunks.id = ANY(:chunks)
"""


@dataclass(slots=True)
class Candidate:
    """An article on its way to a score."""

    article_id: int
    keyword: dict[int, float] = field(default_factory=dict)  # by passage
    similarity: dict[int, float] = field(default_factory=dict)
    breadth: float = 0.0

    @property
    def keyword_score(self) -> float:
        return max(self.keyword.values(), default=0.0)

    @property
    def best_similarity(self) -> float:
        return max(self.similarity.values(), default=0.0)

    @property
    def score(self) -> float:
        return self.best_similarity + KEYWORD_WEIGHT * self.keyword_score + ARTICLE_WEIGHT * self.breadth

    @property
    def passage(self) -> int:
        """The passage that speaks best for the article."""
        return max(
            {*self.keyword, *self.similarity},
            key=lambda chunk: (
                self.similarity.get(chunk, 0.0) + KEYWORD_WEIGHT * self.keyword.get(chunk, 0.0),
                -chunk,
            ),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """All candidates, best first, with what each lane thinks of them."""

    candidates: list[Candidate]
    lanes: tuple[Lane, Lane]
    known: float

    def by_keyword(self) -> list[int]:
        """Articles in the order of the keyword lane."""
        seen = [candidate for candidate in self.candidates if candidate.keyword]
        return [c.article_id for c in sorted(seen, key=lambda c: (-c.keyword_score, c.article_id))]

    def by_vector(self) -> list[int]:
        """Articles in the order of the vector lane."""
        seen = [candidate for candidate in self.candidates if candidate.similarity]
        return [c.article_id for c in sorted(seen, key=lambda c: (-c.best_similarity, c.article_id))]


def search(session: Session, query: str, *, limit: int = 8, audience: Audience | None = None) -> SearchResults:
    """Find what published articles say about a question, one passage an article, best first.

    The question is embedded before the session's first statement here; call this with no transaction open where the
    embedder is slow. A lane that cannot work is reported in the answer and never raises.

    Args:
        query: a question in the asker's own words, of any length, or an exact identifier.
        limit: most passages to answer with.
        audience: only articles for these readers; all when left out.
    """
    query = query.replace("\x00", "")[:QUESTION_LIMIT].strip()
    if not query:
        return SearchResults(query, (), (Lane("keyword", LaneState.OK), Lane("vector", LaneState.OK)))
    with span(SEARCH) as note:
        found = explore(session, query, audience)
        chosen = passages(session, found, limit)
        for lane in found.lanes:
            note(f"search.{lane.name}", lane.state.value)
        note("search.passages", len(chosen))
    return SearchResults(query, chosen, found.lanes, found.known)


def explore(session: Session, query: str, audience: Audience | None) -> Found:
    """Everything the lanes bring, before a choice is made. For :func:`search` and the evaluation."""
    embedder = vectors.likely(current().hooks)
    asked, vector_lane = _embed_question(embedder, query)
    candidates: dict[int, Candidate] = {}
    keyword_lane, known = _keyword_lane(session, query, audience, candidates)
    if embedder is not None:
        vector_lane = _vector_lane(session, query, embedder.model, (asked, vector_lane), audience, candidates)
    ordered = sorted(candidates.values(), key=lambda candidate: (-candidate.score, candidate.article_id))
    return Found(ordered, (keyword_lane, vector_lane), known)


def _embed_question(embedder: Embedder | None, query: str) -> tuple[list[float] | None, Lane]:
    if embedder is None:
        return None, Lane("vector", LaneState.OFF, "No embedding model is configured or installed.")
    try:
        return embed(embedder, [query], "query")[0], Lane("vector", LaneState.OK)
    except EmbeddingFailed as fault:
        log.warning("The question could not be embedded: %s", fault)
        return None, Lane("vector", LaneState.DOWN, str(fault))


def _keyword_lane(
    session: Session, query: str, audience: Audience | None, found: dict[int, Candidate]
) -> tuple[Lane, float]:
    values = {
        "language": current().settings.search_language,
        "question": query,
        "terms": TERMS,
        "audience": audience.value if audience else None,
    }
    try:
        rows = _rows(session, KEYWORD, values)
    except SQLAlchemyError as fault:
        return _down("keyword", fault), 0.0
    for row in rows:
        found.setdefault(row.article_id, Candidate(row.article_id)).keyword[row.id] = float(row.score)
    return Lane("keyword", LaneState.OK), float(rows[0].known) if rows else 0.0


def _vector_lane(
    session: Session,
    query: str,
    guess: str,
    asked: tuple[list[float] | None, Lane],
    audience: Audience | None,
    found: dict[int, Candidate],
) -> Lane:
    """Compare with the live model's vectors. ``asked`` is the question embedded by the one that was thought live."""
    try:
        with session.begin_nested():  # so that a lane that fails leaves the caller's transaction usable
            live = vectors.live(session, current().hooks)
            if isinstance(live, str):
                return asked[1] if asked[0] is None else Lane("vector", LaneState.OFF, live)
            embedder, model = live
            # Once a process and switch the guess is wrong; only then is a question embedded with a transaction open.
            vector, lane = asked if model.model == guess else _embed_question(embedder, query)
            if vector is None:
                return lane
            rows = nearest(
                session,
                vector,
                model,
                audience=audience,
                candidates=CANDIDATES,
                also_articles=list(found),
                also_chunks=[chunk for candidate in found.values() for chunk in candidate.keyword],
            )
    except SQLAlchemyError as fault:
        return _down("vector", fault)
    for row in rows:
        candidate = found.setdefault(row.article_id, Candidate(row.article_id))
        candidate.similarity[row.id] = float(row.similarity)
        candidate.breadth = float(row.breadth)
    return Lane("vector", LaneState.OK)


def _rows(session: Session, statement: str, values: dict[str, Any]) -> Sequence[Any]:
    # In a savepoint, so that a lane that fails leaves the caller's transaction usable.
    with session.begin_nested():
        return session.execute(text(statement.replace("{schema}", quoted_schema(session))), values).all()


def _down(name: Any, fault: SQLAlchemyError) -> Lane:
    log.warning("The %s lane failed: %s", name, type(fault).__name__)
    return Lane(name, LaneState.DOWN, f"The database refused the {name} search ({type(fault).__name__}).")


def passages(session: Session, found: Found, limit: int) -> tuple[Passage, ...]:
    """The best passage of each of the best articles."""
    by_keyword = {article: place for place, article in enumerate(found.by_keyword(), 1)}
    by_vector = {article: place for place, article in enumerate(found.by_vector(), 1)}
    chosen = [(candidate, candidate.passage) for candidate in found.candidates[:limit]]
    rows = {row.chunk_id: row for row in _rows(session, PASSAGES, {"chunks": [chunk for _, chunk in chosen]})}
    return tuple(
        Passage(
            **rows[chunk]._mapping,
            score=candidate.score,
            similarity=candidate.similarity.get(chunk),
            keyword_score=candidate.keyword.get(chunk),
            keyword_rank=by_keyword.get(candidate.article_id),
            vector_rank=by_vector.get(candidate.article_id),
        )
        for candidate, chunk in chosen
        if chunk in rows
    )
