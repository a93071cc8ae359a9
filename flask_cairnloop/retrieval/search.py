"""Finds passages of published articles that may answer a question: by words, by meaning, by what was asked before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_cairnloop.context import current
from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.knowledge import votes
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.retrieval import fusion, keyword_lane, memory, vector_lane, vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.fusion import Candidate
from flask_cairnloop.retrieval.types import Embedder, Lane, LaneState, Passage, SearchResults
from flask_cairnloop.retrieval.vector_lane import LiveModel
from flask_cairnloop.retrieval.visibility import Scope
from flask_cairnloop.telemetry import SEARCH, span

log = logging.getLogger(__name__)

CANDIDATES: Final = 100  # articles the vector lane brings
QUESTION_LIMIT: Final = 20_000  # characters; no embedding reads further
COLLAPSED: Final = 2  # so many times the passages wanted are looked at, as some say the same

PASSAGES = """
SELECT chunks.id AS chunk_id, chunks.article_id, chunks.revision_id, chunks.title, chunks.heading, chunks.content,
       articles.audience = 'public' AS public,
       (SELECT min(published_at) FROM {schema}.revisions WHERE revisions.article_id = articles.id) AS since
FROM {schema}.chunks JOIN {schema}.articles ON articles.id = chunks.article_id AND articles.state = 'published'
WHERE chunks.id = ANY(:chunks)
"""

LaneName = Literal["keyword", "vector", "memory"]


@dataclass(slots=True)
class Found:
    """All candidates, with the state of each lane and what each says of the question as a whole."""

    candidates: dict[int, Candidate] = field(default_factory=dict)
    lanes: dict[LaneName, Lane] = field(default_factory=dict)
    known: float = 0.0
    domain: float | None = None
    recall: memory.Recall = field(default_factory=memory.Recall)

    def candidate(self, article_id: int) -> Candidate:
        if article_id not in self.candidates:
            self.candidates[article_id] = Candidate(article_id)
        return self.candidates[article_id]

    def in_order(self) -> list[Candidate]:
        """The candidates, best first."""
        return fusion.in_order(self.candidates.values())


@dataclass(frozen=True, slots=True)
class _Asked:
    """The question as it is looked for.

    Args:
        model: fingerprint of the model it was embedded with.
        vector: ``None`` where there is no model, or it failed; ``lane`` says which.
    """

    words: str
    scope: Scope
    besides: int | None
    model: str | None
    vector: list[float] | None
    lane: Lane


def search(
    session: Session,
    query: str,
    *,
    limit: int = 8,
    audience: Audience | None = None,
    tags: Collection[str] | None = None,
    besides: int | None = None,
) -> SearchResults:
    """Find what published articles say about a question, one passage an article, best first.

    The question is embedded before the session's first statement here; call this with no transaction open where the
    embedder is slow. A lane that cannot work is reported in the answer and never raises.

    Args:
        query: a question in the asker's own words, of any length, or an exact identifier.
        limit: most passages to answer with.
        audience: only articles for these readers; all when left out.
        tags: only articles with one of these tags, as ``CAIRNLOOP_ARTICLE_SCOPE`` says; all when left out. An empty
            collection is an answer of its own: refused.
        besides: a conversation whose own earlier questions do not count.
    """
    scope = Scope(audience, tags)
    query = query.replace("\x00", "")[:QUESTION_LIMIT].strip()
    if not query or scope.is_empty:
        return SearchResults(query, (), (Lane("keyword", LaneState.OK),), refused=scope.is_empty)
    with span(SEARCH) as note:
        found = explore(session, query, scope, besides)
        chosen = passages(session, found, limit)
        for lane in found.lanes.values():
            note(f"search.{lane.name}", lane.state.value)
        note("search.passages", len(chosen))
    return SearchResults(
        query,
        chosen,
        tuple(found.lanes.values()),
        found.known,
        found.domain,
        found.recall.answered,
        found.recall.missed(_since(chosen)),
        found.recall.cases,
    )


def _since(chosen: Sequence[Passage]) -> datetime | None:
    """When the article that would be quoted was published first."""
    best = next((passage for passage in chosen if passage.public), None)
    return None if best is None else best.since


def explore(session: Session, query: str, scope: Scope, besides: int | None = None) -> Found:
    """Everything the lanes bring, before a choice is made. For :func:`search` and the evaluation."""
    embedder = vectors.likely(current().hooks)
    vector, lane = _embed_question(embedder, query)
    asked = _Asked(query, scope, besides, embedder.model if embedder else None, vector, lane)
    found = Found()
    found.lanes["keyword"] = _working(session, "keyword", lambda: _by_words(session, asked, found))
    found.lanes["vector"] = lane
    found.lanes["memory"] = Lane("memory", lane.state, lane.reason)
    if embedder is not None:
        # What both have in common fails both, and each alone only itself.
        found.lanes["vector"] = _working(session, "vector", lambda: _by_vectors(session, asked, found))
    _ask_readers(session, found)
    return found


def _ask_readers(session: Session, found: Found) -> None:
    """What visitors said of the candidates. Without it the order is by the lanes alone."""
    try:
        with session.begin_nested():
            standings = votes.counts(session, list(found.candidates))
    except SQLAlchemyError as fault:
        log.warning("What readers said could not be read: %s", type(fault).__name__)
        return
    for article_id, of_readers in standings.items():
        found.candidate(article_id).standing = of_readers.standing


def _embed_question(embedder: Embedder | None, query: str) -> tuple[list[float] | None, Lane]:
    if embedder is None:
        return None, Lane("vector", LaneState.OFF, vectors.NO_MODEL)
    try:
        return embed(embedder, [query], "query")[0], Lane("vector", LaneState.OK)
    except EmbeddingFailed as fault:
        log.warning("The question could not be embedded: %s", fault)
        return None, Lane("vector", LaneState.DOWN, str(fault))


def _working(session: Session, name: LaneName, lane: Callable[[], Lane]) -> Lane:
    """A lane's answer. In a savepoint, so that one that fails leaves the caller's transaction usable."""
    try:
        with session.begin_nested():
            return lane()
    except SQLAlchemyError as fault:
        log.warning("The %s lane failed: %s", name, type(fault).__name__)
        return Lane(name, LaneState.DOWN, f"The database refused the {name} search ({type(fault).__name__}).")


def _by_words(session: Session, asked: _Asked, found: Found) -> Lane:
    rows = keyword_lane.find(session, asked.words, current().settings.search_language, asked.scope)
    for row in rows:
        found.candidate(row.article_id).keyword[row.id] = float(row.score)
        found.known = float(row.known)
    return Lane("keyword", LaneState.OK)


def _by_vectors(session: Session, asked: _Asked, found: Found) -> Lane:
    """Ask the passages and the earlier questions near to it, by the model that is live."""
    live = vectors.live(session, current().hooks)
    if isinstance(live, str):
        lane = asked.lane if asked.vector is None else Lane("vector", LaneState.OFF, live)
        found.lanes["memory"] = Lane("memory", lane.state, lane.reason)
        return lane
    embedder, model = live
    # Once a process and switch the guess is wrong; only then is a question embedded with a transaction open.
    right = model.model == asked.model
    vector, lane = (asked.vector, asked.lane) if right else _embed_question(embedder, asked.words)
    found.lanes["memory"] = Lane("memory", lane.state, lane.reason)
    if vector is None:
        return lane
    found.lanes["memory"] = _working(session, "memory", lambda: _by_memory(session, asked, vector, model, found))
    _by_meaning(session, asked, vector, model, found)
    return lane


def _by_memory(session: Session, asked: _Asked, vector: list[float], model: LiveModel, found: Found) -> Lane:
    found.recall = memory.recall(session, vector, model, asked.scope, asked.besides)
    for article_id, weight in found.recall.votes.items():
        candidate = found.candidate(article_id)
        candidate.votes, candidate.answered = weight, found.recall.counts[article_id]
    return Lane("memory", LaneState.OK)


def _by_meaning(session: Session, asked: _Asked, vector: list[float], model: LiveModel, found: Found) -> None:
    rows = vector_lane.nearest(
        session,
        vector,
        model,
        scope=asked.scope,
        candidates=CANDIDATES,
        also_articles=list(found.candidates),
        also_chunks=[chunk for candidate in found.candidates.values() for chunk in candidate.keyword],
    )
    for chunk_id, article_id, similarity, breadth, domain in rows:
        candidate = found.candidate(article_id)
        candidate.similarity[chunk_id] = similarity
        candidate.breadth = breadth
        found.domain = domain


def passages(session: Session, found: Found, limit: int) -> tuple[Passage, ...]:
    """The best passage of each of the best articles; of those that say nearly the same, the best."""
    best = found.in_order()[: limit * COLLAPSED]
    rows = _texts(session, [candidate.passage for candidate in best])
    shown = [candidate for candidate in best if candidate.passage in rows]
    kept = fusion.collapse([rows[candidate.passage].content for candidate in shown])
    ranks = {
        lane: {article: place for place, article in enumerate(order, 1)}
        for lane, order in fusion.by_lane(list(found.candidates.values())).items()
    }
    return tuple(
        _passage(shown[place], rows, ranks, [shown[twin] for twin in twins])
        for place, twins in list(kept.items())[:limit]
    )


def _texts(session: Session, chunks: Sequence[int | None]) -> dict[int | None, Any]:
    statement = raw(PASSAGES, quoted_schema(session))
    return {row.chunk_id: row for row in session.execute(statement, {"chunks": list(chunks)})}


def _passage(
    candidate: Candidate, rows: dict[int | None, Any], ranks: dict[str, dict[int, int]], twins: Sequence[Candidate]
) -> Passage:
    row, article_id = rows[candidate.passage], candidate.article_id
    return Passage(
        **row._mapping,
        score=candidate.score,
        similarity=candidate.similarity.get(row.chunk_id),
        keyword_score=candidate.keyword.get(row.chunk_id),
        keyword_rank=ranks["keyword"].get(article_id),
        vector_rank=ranks["vector"].get(article_id),
        memory_rank=ranks["memory"].get(article_id),
        answered=candidate.answered,
        parts={name: round(value, 4) for name, value in candidate.parts.items()},
        also_in=tuple(twin.article_id for twin in twins),
    )
