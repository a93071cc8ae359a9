"""What one more question without an answer costs, by how many there are.

What is behind it is put into the tables as gathering would have left it: topics of a hundred events, half of them in
words of their own, each with its vector and its links. What is measured comes the product's own way.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from bench.setting import Place, percentile, place, report, table
from flask_cairnloop.actors import Actor
from flask_cairnloop.retrieval import ann, vector_lane
from flask_cairnloop.retrieval.vectors import home
from flask_cairnloop.upkeep import clustering, likeness
from flask_cairnloop.upkeep.likeness import Embedded
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import keep

MODEL = "synthetic"
DIMENSIONS = 384
TOPIC = 100  # events of one
WORDINGS = 50  # of them, with words of their own
LINKS = 12
COME = 120  # events that are measured
BEFORE = 10  # that are not
NEAR, AWAY = 0.85, 0.53  # of a question's direction: its topic's, and its own
VISITOR = Actor.system("bench")

CANDIDATES = """
INSERT INTO cairnloop.gap_candidates (state, shelf, questions, events, askers, kinds, rank, first_at, last_at, changed,
    by_hand, version, events_then, created_at)
SELECT 'open', 'asking', :wordings, :topic, :topic, jsonb_build_object('not_covered', CAST(:topic AS int)), n, now(),
    now(), 0, false, 1, 0, now() FROM generate_series(1, :topics) AS n
"""
QUESTIONS = """
INSERT INTO cairnloop.gap_questions (candidate_id, question, fingerprint, terms, events, kinds, first_at, last_at)
SELECT c.id, 'topic ' || c.id || ' wording ' || n, md5(c.id || '-' || n), ARRAY[c.id, 1000000 + n], 2,
    '{"not_covered": 2}', now(), now()
FROM cairnloop.gap_candidates AS c CROSS JOIN generate_series(1, :wordings) AS n ORDER BY c.id, n
"""
EVENTS = """
INSERT INTO cairnloop.gap_events (occurred_at, last_at, times, source, reason, question, fingerprint, asker,
    question_id)
SELECT now(), now(), 1, 'help_search', 'not_covered', question, fingerprint, md5(id || '-' || n), id
FROM cairnloop.gap_questions CROSS JOIN generate_series(1, 2) AS n
"""
ASKERS = "INSERT INTO cairnloop.gap_askers (question_id, asker) SELECT question_id, asker FROM cairnloop.gap_events"
LINKED = """
INSERT INTO cairnloop.gap_links (question_id, other_id, likeness)
SELECT q.id, q.id + ((q.id - 1 - first.id + 1 + n * 3) % :wordings) - (q.id - first.id), 0.6
FROM cairnloop.gap_questions AS q
JOIN (SELECT candidate_id, min(id) AS id FROM cairnloop.gap_questions GROUP BY candidate_id) AS first
    USING (candidate_id)
CROSS JOIN generate_series(1, :links) AS n
ON CONFLICT DO NOTHING
"""
TERMS = """
INSERT INTO cairnloop.gap_terms (term, questions)
SELECT term, count(*) FROM cairnloop.gap_questions CROSS JOIN unnest(terms) AS term GROUP BY term
UNION ALL SELECT 0, count(*) FROM cairnloop.gap_questions
"""


def fill(session: Session, size: int) -> Any:
    """What so many events leave behind. Returns the directions of the topics."""
    topics = size // TOPIC
    values = {"topics": topics, "topic": TOPIC, "wordings": WORDINGS, "links": LINKS}
    session.execute(text("SET LOCAL synchronous_commit = off"))
    for statement in (CANDIDATES, QUESTIONS, EVENTS, ASKERS, LINKED, TERMS):
        wanted = {name: value for name, value in values.items() if f":{name}" in statement}
        session.execute(text(statement), wanted)
    random = np.random.default_rng(7)
    directions = _unit(random.normal(size=(topics, DIMENSIONS)))
    ids = session.scalars(text("SELECT id FROM cairnloop.gap_questions ORDER BY id")).all()
    driver: Any = session.connection().connection.driver_connection
    total = np.zeros(DIMENSIONS)
    with driver.cursor().copy(
        "COPY cairnloop.gap_question_embeddings (question_id, model, embedding) FROM STDIN"
    ) as copy:
        for place_, question_id in enumerate(ids):
            vector = one_of(random, directions[place_ // WORDINGS])
            total += vector
            copy.write_row((question_id, MODEL, "[" + ",".join(f"{number:.5f}" for number in vector) + "]"))
    session.execute(
        text("INSERT INTO cairnloop.gap_models (model, dimensions, questions, total) VALUES (:m, :d, :n, :t)"),
        {"m": MODEL, "d": DIMENSIONS, "n": likeness.MEAN_OF, "t": list(total / len(ids) * likeness.MEAN_OF)},
    )
    session.commit()
    return directions


def one_of(random: Any, direction: Any) -> Any:
    """The vector of a question of a topic."""
    return _unit(direction * NEAR + _unit(random.normal(size=DIMENSIONS)) * AWAY)


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def measure(here: Place, size: int) -> list[float]:
    """Milliseconds that events take to be counted, with that many behind them."""
    app = here.app()
    with app.app_context():
        cairnloop, session = app.extensions["cairnloop"], app.extensions["sqlalchemy"].session()
        directions = fill(session, size)
        with cairnloop.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        vectors = home(session) or ""
        if likeness.outgrown(session, MODEL):
            definition = vector_lane.index_definition(session, MODEL, DIMENSIONS, vectors, likeness.TABLE)
            session.rollback()
            began = time.perf_counter()
            ann.build(cairnloop.engine, vector_lane.index_name(MODEL, likeness.TABLE), definition, DIMENSIONS)
            likeness.use_index(session, MODEL)
            session.commit()
            print(f"{size:,}: HNSW index built in {time.perf_counter() - began:,.0f} s")
        random, times = np.random.default_rng(11), []
        for number in range(COME + BEFORE):
            vector = [float(one) for one in one_of(random, directions[number * 7 % len(directions)])]
            event = keep(
                session,
                f"Something new {number} that somebody asks",
                source=GapSource.HELP_SEARCH,
                reason=GapReason.NOT_COVERED,
                actor=VISITOR,
                visitor=str(number),
            )
            assert event is not None
            event_id = event.id
            session.commit()
            began = time.perf_counter()
            clustering.join(session, event_id, Embedded(MODEL, vector, vectors))
            session.commit()
            times.append((time.perf_counter() - began) * 1000)
    return times[BEFORE:]


def run(sizes: Sequence[int], *, write: bool) -> None:
    """Measure and report, each size beside the first."""
    found = {}
    for size in sizes:
        with place() as here:
            found[size] = measure(here, size)
    first = statistics.median(found[sizes[0]])
    rows = [
        [
            f"{size:,}",
            f"{statistics.median(times):,.1f}",
            f"{percentile(times, 0.95):,.1f}",
            f"{statistics.median(times) / first:.2f} ×",
        ]
        for size, times in found.items()
    ]
    report("gaps", table(["Events behind", "median, ms", "p95, ms", "median beside the first"], rows), write=write)
