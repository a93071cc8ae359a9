"""Search over a hundred thousand passages, without the embedding of the question, beside bare SQL on the same rows.

Words are drawn as in a language (Zipf), vectors lie in clusters. Bare is what an index costs by itself: the fifty
nearest vectors by HNSW, and the passages with two rare words by GIN.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
from flask import Flask
from sqlalchemy import text
from sqlalchemy.engine import Engine, make_url

from bench.setting import Place, percentile, place, report, table, timed
from flask_cairnloop import search
from flask_cairnloop.retrieval import ann, vectors

PASSAGES = 100_000
OF_ARTICLE = 5
DIMENSIONS = 384
CLUSTERS = 400
WORDS = 50_000
LENGTH = 120  # words of a passage
QUESTIONS = 200
ASKED = 12  # words of a question


class Given:
    """An embedder that has every vector ready: what is measured is search."""

    model = "bench-given"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self.vectors: dict[str, list[float]] = {}

    def embed(self, texts: Sequence[str], *, kind: str) -> list[list[float]]:  # noqa: ARG002
        return [self.vectors[words] for words in texts]


class Made:
    """Texts and vectors that look like those of a knowledge base."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.centres = self.random.normal(size=(CLUSTERS, DIMENSIONS)).astype(np.float32)
        weights = 1 / np.arange(1, WORDS + 1)
        self.words = np.array([_word(number) for number in range(WORDS)])
        self.shares = weights / weights.sum()

    def texts(self, count: int, length: int) -> list[str]:
        drawn = self.random.choice(WORDS, size=(count, length), p=self.shares)
        return [" ".join(row) for row in self.words[drawn]]

    def points(self, count: int) -> np.ndarray[Any, Any]:
        near = self.centres[self.random.integers(CLUSTERS, size=count)]
        found = near + 0.8 * self.random.normal(size=(count, DIMENSIONS)).astype(np.float32)
        unit: np.ndarray[Any, Any] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit


def _word(number: int) -> str:
    """A word that no stemmer and no list of stop words touches."""
    letters = "bdfgklmnprtvz"
    found = ""
    while True:
        number, rest = divmod(number, len(letters))
        found += letters[rest] + "aou"[rest % 3]
        if not number:
            return found + "k"


def fill(database_url: str, made: Made) -> None:
    """Put so many passages into an empty database, as the index job would."""
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    articles = PASSAGES // OF_ARTICLE
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO cairnloop.articles (slug, title, state, audience, tags, created_at, updated_at)"
            " SELECT 'a-' || n, 'Article ' || n, 'published', 'public', '{}', now(), now()"
            f" FROM generate_series(1, {articles}) AS n"
        )
        connection.execute(
            "INSERT INTO cairnloop.revisions (article_id, number, state, title, body, digest, author_id, author_name,"
            " created_at, published_at)"
            " SELECT id, 1, 'published', title, 'x', repeat('0', 64), 'a', 'A', now(), now() FROM cairnloop.articles"
        )
        connection.execute("CREATE TEMPORARY TABLE drawn (number bigint, content text)")
        with connection.cursor().copy("COPY drawn FROM STDIN") as copy:
            for number, content in enumerate(_batches(made.texts, LENGTH)):
                copy.write_row((number, content))
        connection.execute(
            "INSERT INTO cairnloop.chunks (article_id, revision_id, ordinal, title, heading, content, terms)"
            " SELECT revisions.article_id, revisions.id, drawn.number %% %(of)s, title, '', content,"
            " setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', content), 'C')"
            " FROM drawn JOIN cairnloop.revisions ON revisions.article_id = 1 + drawn.number / %(of)s"
            " ORDER BY drawn.number",
            {"of": OF_ARTICLE},
        )
        with connection.cursor().copy("COPY cairnloop.chunk_embeddings FROM STDIN") as copy:
            for number, vector in enumerate(_batches(lambda count, _: list(made.points(count)), 0), 1):
                copy.write_row((number, Given.model, "[" + ",".join(f"{value:.5f}" for value in vector) + "]"))
        connection.execute(
            "WITH taken AS (DELETE FROM cairnloop.term_changes RETURNING lexeme, passages, octets)"
            " INSERT INTO cairnloop.terms SELECT lexeme, sum(passages), sum(octets) FROM taken GROUP BY lexeme"
            " ON CONFLICT (lexeme) DO UPDATE SET passages = excluded.passages, octets = excluded.octets"
        )
        connection.execute("VACUUM ANALYZE")


def _batches(draw: Callable[[int, int], Sequence[Any]], length: int) -> Iterator[Any]:
    for _ in range(PASSAGES // 10_000):
        yield from draw(10_000, length)


def questions(made: Made, embedder: Given) -> list[str]:
    """Questions of common and rare words, each with a vector near some cluster."""
    chosen = random.Random(3)  # noqa: S311 - nothing secret
    points = made.points(QUESTIONS)
    asked = []
    for number, words in enumerate(made.texts(QUESTIONS, ASKED - 2)):
        rare = " ".join(made.words[chosen.randrange(2_000, 20_000)] for _ in range(2))
        asked.append(f"{words} {rare}")
        embedder.vectors[asked[-1]] = [float(value) for value in points[number]]
    return asked


def bare(engine: Engine, asked: Sequence[str], embedder: Given, namespace: str) -> list[float]:
    """Seconds for the fifty nearest vectors, and all passages with the two rare words."""
    distance = f"CAST(embedding AS {namespace}.vector({DIMENSIONS})) OPERATOR({namespace}.<=>) "
    near = text(
        f"SELECT chunk_id FROM cairnloop.chunk_embeddings WHERE model = '{Given.model}'"
        f" ORDER BY {distance} CAST(:vector AS {namespace}.vector({DIMENSIONS})) LIMIT 50"
    )
    rare = text("SELECT id FROM cairnloop.chunks WHERE terms @@ to_tsquery('english', :words)")
    found = []
    with engine.connect() as connection:
        for question in asked:
            values = {"vector": str(embedder.vectors[question])}
            words = {"words": " | ".join(question.split()[-2:])}

            def once(values: dict[str, str] = values, words: dict[str, str] = words) -> None:
                connection.execute(near, values).all()
                connection.execute(rare, words).all()

            found.append(timed(once, 3, before=1)[1])
    return found


def ours(app: Flask, asked: Sequence[str]) -> list[float]:
    """Seconds of the product's own search, the question's vector given."""
    found = []
    with app.app_context():
        session = app.extensions["cairnloop"].session()
        for question in asked:

            def once(question: str = question) -> None:
                search(session, question)
                session.rollback()

            found.append(timed(once, 3, before=1)[1])
    return found


def build(app: Flask) -> str:
    """Make the model live and its index valid. Returns the quoted name of pgvector's schema."""
    with app.app_context():
        cairnloop = app.extensions["cairnloop"]
        session = cairnloop.session()
        vectors.register(session, Given.model, DIMENSIONS)
        session.commit()
        ann.keep(cairnloop.engine, Given.model)
        live = vectors.live(session, cairnloop.hooks)
        if isinstance(live, str) or live[1].ann_index is None:
            raise SystemExit("The index was not built.")
        return live[1].vectors


def run(*, write: bool) -> None:
    """Measure both on the same questions, and print the 50th and 95th percentile."""
    made, embedder = Made(), Given()
    with place() as here:
        fill(here.database_url, made)
        asked = questions(made, embedder)
        app = _app(here, embedder)
        namespace = build(app)
        with app.app_context():
            engine = app.extensions["cairnloop"].engine
        plain = bare(engine, asked, embedder, namespace)
        desk = ours(app, asked)
    ratio = percentile(desk, 0.95) / percentile(plain, 0.95)
    rows = [
        ["bare: HNSW top 50, GIN of two rare words", *_cells(plain), ""],
        ["search", *_cells(desk), f"{ratio:.1f} ×"],
    ]
    report("search", table([f"{PASSAGES:,} passages", "median, ms", "p95, ms", "p95 of bare"], rows), write=write)


def _cells(values: list[float]) -> tuple[str, str]:
    return f"{percentile(values, 0.5) * 1000:,.1f}", f"{percentile(values, 0.95) * 1000:,.1f}"


def _app(here: Place, embedder: Given) -> Flask:
    return here.app(EMBEDDER=embedder)
