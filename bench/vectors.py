"""The vector lane at several sizes, compared one by one and through the HNSW index, beside the bare index.

Vectors are synthetic: topics, articles around them, eight passages around each article.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from bench.setting import Place, percentile, place, report, table
from flask_cairnloop.database.base import schema_name
from flask_cairnloop.retrieval import ann, vector_lane
from flask_cairnloop.retrieval.vector_lane import LiveModel, nearest
from flask_cairnloop.retrieval.vectors import home, register
from flask_cairnloop.retrieval.visibility import Scope

MODEL = "synthetic"
DIMENSIONS = 384
PASSAGES = 8  # of an article
TOPIC = 250  # passages of one
QUESTIONS = 100
COMPARED = 40  # questions whose answers are held against the exact ones
CANDIDATES = 100
FIRST = 10

ARTICLES = """
INSERT INTO cairnloop.articles (slug, title, state, audience, tags, created_at, updated_at)
SELECT 'a' || n, 'A', 'published', CASE WHEN n % 10 = 0 THEN 'internal' ELSE 'public' END, '{}', now(), now()
FROM generate_series(1, :articles) AS n
"""
REVISIONS = """
INSERT INTO cairnloop.revisions
    (article_id, number, state, title, body, digest, author_id, author_name, created_at)
SELECT id, 1, 'published', 'A', 'B', 'D', 'bench', 'Bench', now() FROM cairnloop.articles
"""
CHUNKS = """
INSERT INTO cairnloop.chunks (article_id, revision_id, ordinal, title, heading, content, terms)
SELECT article_id, id, n, 'A', '', repeat('word ', 200), to_tsvector('simple', 'word')
FROM cairnloop.revisions CROSS JOIN generate_series(0, :passages - 1) AS n ORDER BY id, n
"""
BARE = """
SELECT chunk_id FROM cairnloop.chunk_embeddings WHERE model = 'synthetic'
ORDER BY CAST(embedding AS vector(384)) <=> CAST(:vector AS vector(384)) LIMIT 50
"""


def fill(session: Session, size: int) -> list[list[float]]:
    """Passages with vectors. Returns questions: each near one of them."""
    session.execute(text("SET LOCAL synchronous_commit = off"))
    session.execute(text(ARTICLES), {"articles": size // PASSAGES})
    session.execute(text(REVISIONS))
    session.execute(text(CHUNKS), {"passages": PASSAGES})
    register(session, MODEL, DIMENSIONS)
    random = np.random.default_rng(7)
    topics = random.normal(size=(size // TOPIC, DIMENSIONS))
    ids = session.scalars(text("SELECT id FROM cairnloop.chunks ORDER BY id")).all()
    driver: Any = session.connection().connection.driver_connection
    asked = []
    with driver.cursor().copy("COPY cairnloop.chunk_embeddings (chunk_id, model, embedding) FROM STDIN") as copy:
        for start in range(0, len(ids), PASSAGES):
            article = topics[random.integers(len(topics))] * 0.7 + random.normal(size=DIMENSIONS) * 0.6
            for chunk_id in ids[start : start + PASSAGES]:
                vector = article + random.normal(size=DIMENSIONS) * 0.7
                copy.write_row((chunk_id, MODEL, _words(vector)))
            if start % (len(ids) // QUESTIONS // PASSAGES * PASSAGES) == 0:
                asked.append(_unit(_unit(vector) * 0.8 + _unit(random.normal(size=DIMENSIONS)) * 0.6))
    session.commit()
    return [[round(float(number), 6) for number in vector] for vector in asked]


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def _words(vector: Any) -> str:
    return "[" + ",".join(f"{number:.6f}" for number in _unit(vector)) + "]"


def timed(ways: dict[str, Callable[[list[float]], object]], asked: Sequence[list[float]]) -> dict[str, list[float]]:
    """Milliseconds of each way for each question, turn by turn, so that whatever else runs hits all alike."""
    for vector in asked[:5]:
        for way in ways.values():
            way(vector)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for vector in asked:
        for name, way in ways.items():
            start = time.perf_counter()
            way(vector)
            found[name].append((time.perf_counter() - start) * 1000)
    return found


def measure(here: Place, size: int) -> list[list[object]]:
    app = here.app()
    with app.app_context():
        session: Session = app.extensions["sqlalchemy"].session()
        assert schema_name(session) == "cairnloop"  # the statements above say so
        asked = fill(session, size)
        engine = app.extensions["cairnloop"].engine
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        vector_lane.EXACT_LIMIT = 0  # type: ignore[misc] - the index is wanted at every size here
        began = time.perf_counter()
        ann.keep(engine, MODEL)
        print(f"{size:,}: HNSW index built in {time.perf_counter() - began:,.0f} s")
        vectors = home(session) or ""
        exact = LiveModel(MODEL, DIMENSIONS, vectors)
        indexed = LiveModel(MODEL, DIMENSIONS, vectors, vector_lane.index_name(MODEL))

        def lane(model: LiveModel, vector: list[float]) -> Sequence[Any]:
            rows = nearest(session, vector, model, scope=Scope(), candidates=CANDIDATES)
            session.rollback()
            return rows

        def bare(vector: list[float]) -> None:
            session.execute(text(BARE), {"vector": str(vector)}).all()
            session.rollback()

        times = timed(
            {
                "bare HNSW, top 50": bare,
                "the lane, through HNSW": lambda vector: lane(indexed, vector),
                "the lane, one by one": lambda vector: lane(exact, vector),
            },
            asked,
        )
        recalls, same = [], []
        for vector in asked[:COMPARED]:
            right, found = lane(exact, vector), lane(indexed, vector)
            best = sorted(right, key=lambda row: -row.similarity)[:50]
            recalls.append(len({row.id for row in best} & {row.id for row in found}) / len(best))
            same.append(_first(right) == _first(found))
    base = percentile(times["bare HNSW, top 50"], 0.95)
    notes = {"the lane, through HNSW": f"{statistics.mean(recalls):.3f}, {statistics.mean(same):.0%}"}
    return [
        [
            f"{size:,}: {name}",
            f"{statistics.median(values):,.1f}",
            f"{percentile(values, 0.95):,.1f}",
            f"{percentile(values, 0.95) / base:.1f} ×",
            notes.get(name, ""),
        ]
        for name, values in times.items()
    ]


def _first(rows: Sequence[Any]) -> list[int]:
    """The first articles, as they would be ranked by this lane alone."""
    best: dict[int, float] = {}
    for row in rows:
        best[row.article_id] = max(best.get(row.article_id, 0.0), row.similarity + 0.8 * float(row.breadth))
    return sorted(best, key=lambda article: (-best[article], article))[:FIRST]


def run(sizes: Sequence[int], *, write: bool) -> None:
    rows = []
    for size in sizes:
        with place() as here:
            rows += measure(here, size)
    head = ["Passages", "median, ms", "p95, ms", "p95 of bare", "50 nearest found, first ten the same"]
    report("vectors", table(head, rows), write=write)
