"""The passages nearest to a question: compared one by one while they are few, found through an HNSW index beyond that.

Both ways answer the same rows. The index only proposes articles; what they are worth is always reckoned exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quote, quoted_schema, raw
from flask_cairnloop.retrieval.visibility import PUBLISHED, VISIBLE, Scope

EXACT_LIMIT: Final = 20_000  # vectors of a model up to which all are compared; docs/performance.md has both ways
PROBES: Final = 200  # nearest passages that the index is asked for
EF_SEARCH: Final = 100  # how widely the index looks around; more finds more and takes longer
TABLE: Final = "chunk_embeddings"
NEAREST: Final = 3  # passages whose mean similarity stands for an article


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The model whose vectors questions are compared with.

    Args:
        model: its fingerprint.
        vectors: quoted name of the schema that pgvector lives in.
        ann_index: name of its HNSW index, where there is a valid one.
    """

    model: str
    dimensions: int
    vectors: str
    ann_index: str | None = None


# Names of pgvector are found in `{vectors}` whatever the search path of this connection is.
_DISTANCE = "CAST(embedding AS {vectors}.vector({dimensions})) OPERATOR({vectors}.<=>) {asked}"

_ALL = """
    SELECT chunks.article_id, articles.audience, {distance} AS distance
    {visible} JOIN {schema}.chunk_embeddings ON chunk_embeddings.chunk_id = chunks.id
    WHERE chunk_embeddings.model = {model}
"""

# The index walks outwards from the question until enough passages are found that may be shown: an iterative scan.
_PROBED = "{all} ORDER BY distance LIMIT {probes}"

# Whichever way articles were proposed, all their passages are compared: an article stands for its three nearest.
_NEAREST = """
WITH probed AS MATERIALIZED (
    {probed}
), proposed AS MATERIALIZED (
    (SELECT article_id FROM probed GROUP BY article_id ORDER BY min(distance), article_id LIMIT :candidates)
    UNION
    SELECT unnest(CAST(:articles AS bigint[]))
), ranked AS MATERIALIZED (
    SELECT proposed.article_id, near.*
    FROM proposed CROSS JOIN LATERAL ({published}) AS words CROSS JOIN LATERAL (
        SELECT id, similarity, row_number() OVER (ORDER BY similarity DESC, id) AS place
        FROM (
            SELECT chunks.id, 1 - ({distance}) AS similarity
            FROM {schema}.chunks JOIN {schema}.chunk_embeddings ON chunk_embeddings.chunk_id = chunks.id
            WHERE chunk_embeddings.model = {model} AND chunks.article_id = proposed.article_id
                AND chunks.revision_id = words.revision_id
        ) AS compared
    ) AS near
), broad AS (
    SELECT article_id, avg(similarity) AS breadth FROM ranked WHERE place <= {nearest} GROUP BY article_id
)
SELECT id, article_id, similarity, breadth, {domain} AS domain FROM ranked JOIN broad USING (article_id)
WHERE place <= {nearest} OR id = ANY(:chunks)
"""
# Of public passages: what a customer cannot be told says nothing of what they may ask. The mean of cosines is the
# product with the mean direction, which is kept where not all passages are compared.
_MEAN = "(SELECT 1 - avg(distance) FROM probed WHERE audience = 'public')"
_KEPT_MEAN = """-(
    {vectors}.l2_normalize({asked}) OPERATOR({vectors}.<#>) (
        SELECT CAST(centroid AS {vectors}.vector) FROM {schema}.embedding_models
        WHERE embedding_models.model = {model}
    )
)"""

# Both until the end of the transaction, as `SET LOCAL` has it.
_WIDELY = text(
    "SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', :wide, true)"
)


def nearest(
    session: Session,
    vector: Sequence[float],
    model: LiveModel,
    *,
    scope: Scope,
    candidates: int,
    also_articles: Sequence[int] = (),
    also_chunks: Sequence[int] = (),
) -> Sequence[Any]:
    """The three nearest passages of each of the nearest published articles.

    Args:
        vector: the question's, by the same model.
        scope: whose articles may be found.
        candidates: how many articles.
        also_articles: further articles whose three nearest passages are wanted.
        also_chunks: further passages of any of these articles.

    Returns:
        Rows of ``id`` (of the passage), ``article_id``, ``similarity`` (cosine, -1 to 1), ``breadth`` (mean similarity
        of the article's three nearest) and ``domain`` (mean similarity of all public passages; ``None`` where there is
        none), in no order.
    """
    values = {
        "vector": str(list(vector)),
        **scope.values(),
        "candidates": candidates,
        "articles": list(also_articles),
        "chunks": list(also_chunks),
    }
    if model.ann_index is not None:
        session.execute(_WIDELY, {"wide": str(EF_SEARCH)})
    return session.execute(statement(session, model), values).all()


def statement(session: Session, model: LiveModel) -> TextClause:
    """What :func:`nearest` asks. The model is part of it, not a value: a partial index is chosen by its words."""
    return raw(_written(model, PROBES), quoted_schema(session))


@lru_cache(maxsize=64)
def _written(model: LiveModel, probes: int) -> str:
    parts = {
        "{probed}": _ALL if model.ann_index is None else _PROBED,
        "{all}": _ALL,
        "{probes}": str(probes),
        "{distance}": _DISTANCE,
        "{visible}": VISIBLE,
        "{published}": PUBLISHED.replace("{article}", "proposed.article_id"),
        "{nearest}": str(NEAREST),
        "{domain}": _MEAN if model.ann_index is None else _KEPT_MEAN,
        "{asked}": "CAST(:vector AS {vectors}.vector({dimensions}))",
        "{dimensions}": str(model.dimensions),
        "{vectors}": model.vectors,
        "{model}": literal(model.model),
    }
    asked = _NEAREST
    for part, words in parts.items():
        asked = asked.replace(part, words)
    return asked


def index_name(model: str, table: str = TABLE) -> str:
    """What the HNSW index over a model's vectors in a table of ours is called."""
    return f"ix_{table}_hnsw_{hashlib.sha256(model.encode()).hexdigest()[:16]}"


def index_definition(session: Session, model: str, dimensions: int, vectors: str, table: str = TABLE) -> str:
    """The statement that builds it, while writers go on. Not inside a transaction."""
    return (
        f"CREATE INDEX CONCURRENTLY {quote(index_name(model, table))} ON {quoted_schema(session)}.{table}"
        f" USING hnsw ((CAST(embedding AS {vectors}.vector({dimensions}))) {vectors}.vector_cosine_ops)"
        f" WHERE model = {literal(model)}"
    )


def literal(words: str) -> str:
    """Words as they stand inside SQLAlchemy's ``text()``, where a colon would begin a parameter."""
    return "'" + words.replace("'", "''").replace(":", "\\:") + "'"
