"""The passages that share a question's telling words: BM25 with statistics kept in the database.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; k1 = 1.6, b = 0.75. How often a
term occurs is read from a table (:mod:`flask_cairnloop.retrieval.statistics`), so that no common word is ever scanned:
passages are found by the question's rarest words and only then weighed by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.retrieval.visibility import VISIBLE, Scope

TERMS: Final = 32  # the question's most telling words that are weighed
POSTINGS: Final = 2_000  # occurrences that are looked up for a question, the rarest words first
CANDIDATES: Final = 100  # passages that are weighed exactly

# The question's own repetitions count; a word of the title counts four times, once. Rarity and length come from the
# kept statistics and from what changed since they were folded. Where even the rarest word is common, passages with the
# two rarest are looked for, as many as may be shown. Else all with a rare word are found, and the likeliest looked at
# one by one until enough may be shown: so few rows are quicker to look up than two whole tables to join.
STATEMENT = """
WITH asked AS MATERIALIZED (
    SELECT lexeme,
           1 + ln(greatest(coalesce(cardinality(positions), 1), 1)) AS weight,
           CAST('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''' AS tsquery) AS wanted
    FROM unnest(to_tsvector(CAST(:language AS regconfig), :question))
), whole AS MATERIALIZED (
    SELECT greatest(sum(passages), 1) AS passages, greatest(sum(octets) / greatest(sum(passages), 1), 1) AS size
    FROM (
        SELECT passages, octets FROM {schema}.terms WHERE lexeme = ''
        UNION ALL
        SELECT passages, octets FROM {schema}.term_changes WHERE lexeme = ''
    ) AS counts
), counted AS MATERIALIZED (
    SELECT lexeme, wanted, seen, weight * ln(1 + (passages - seen + 0.5) / (seen + 0.5)) AS worth
    FROM asked CROSS JOIN whole CROSS JOIN LATERAL (
        SELECT least(greatest(coalesce(sum(counts.passages), 0), 0), whole.passages) AS seen FROM (
            SELECT terms.passages FROM {schema}.terms WHERE terms.lexeme = asked.lexeme
            UNION ALL
            SELECT term_changes.passages FROM {schema}.term_changes WHERE term_changes.lexeme = asked.lexeme
        ) AS counts
    ) AS known
), picked AS MATERIALIZED (
    SELECT lexeme, wanted, seen, worth, sum(seen) OVER (ORDER BY seen, lexeme) AS reach
    FROM (SELECT * FROM counted WHERE seen > 0 ORDER BY worth DESC, lexeme LIMIT :terms) AS best
), drivers AS MATERIALIZED (
    SELECT wanted, worth, false AS common FROM picked WHERE reach <= :postings
    UNION ALL
    SELECT coalesce(rarest[1] && rarest[2], rarest[1]), 1, true
    FROM (SELECT array_agg(wanted ORDER BY seen, lexeme) AS rarest, min(reach) AS least FROM picked) AS rarest_two
    WHERE least > :postings
), found AS MATERIALIZED (
    SELECT hits.id, hits.article_id, sum(worth) AS rough
    FROM drivers CROSS JOIN LATERAL (
        SELECT id, article_id FROM {schema}.chunks WHERE NOT drivers.common AND terms @@ drivers.wanted
        UNION ALL (
            SELECT chunks.id, chunks.article_id {visible}
            WHERE drivers.common AND chunks.terms @@ drivers.wanted LIMIT :postings
        )
    ) AS hits
    GROUP BY hits.id, hits.article_id
), matched AS MATERIALIZED (
    SELECT likely.id, likely.article_id
    FROM (SELECT * FROM found ORDER BY rough DESC, id) AS likely CROSS JOIN LATERAL (
        SELECT true {visible} WHERE chunks.id = likely.id LIMIT 1
    ) AS visible
    ORDER BY rough DESC, likely.id LIMIT :candidates
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
       (SELECT coalesce(sum(worth) FILTER (WHERE seen > 0) / nullif(sum(worth), 0), 0) FROM counted) AS known
FROM scored ORDER BY score DESC, id
""".replace("{visible}", VISIBLE)


def find(session: Session, question: str, language: str, scope: Scope) -> Sequence[Any]:
    """The passages that share a question's telling words, best first.

    Args:
        language: the text search configuration that the passages were indexed with.
        scope: whose articles may be found.

    Returns:
        Rows of ``id`` (of the passage), ``article_id``, ``score`` (0 to 1: share of the best score that the question
        allows) and ``known`` (0 to 1: how much of what the question's words say occurs anywhere).
    """
    values = {
        "language": language,
        "question": question,
        "terms": TERMS,
        "postings": POSTINGS,
        "candidates": CANDIDATES,
        **scope.values(),
    }
    return session.execute(raw(STATEMENT, quoted_schema(session)), values).all()
