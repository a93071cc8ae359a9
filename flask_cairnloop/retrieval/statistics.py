"""Folds what passages changed into the statistics of terms, so that a search reads few rows.

Search adds both up, so it is right before and after; folding only keeps the list of changes short.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quoted_schema
from flask_cairnloop.jobs import enqueue

FOLD: Final = "retrieval.fold_terms"
DELAY: Final = 60.0  # seconds: an import's articles come in one after the other

_FOLD = """
WITH taken AS (
    DELETE FROM {schema}.term_changes RETURNING lexeme, passages, octets
), summed AS (
    SELECT lexeme, sum(passages) AS passages, sum(octets) AS octets FROM taken GROUP BY lexeme ORDER BY lexeme
)
INSERT INTO {schema}.terms AS terms (lexeme, passages, octets) SELECT lexeme, passages, octets FROM summed
ON CONFLICT (lexeme) DO UPDATE
SET passages = terms.passages + excluded.passages, octets = terms.octets + excluded.octets
"""
_FORGET = "DELETE FROM {schema}.terms WHERE passages <= 0 AND lexeme <> ''"


def request(session: Session) -> None:
    """Ask for a fold, soon. Many requests make one."""
    enqueue(session, FOLD, {}, delay=timedelta(seconds=DELAY), unique_key=FOLD, keep_earlier=True)


def fold(session: Session) -> None:
    """Take the changes into the totals."""
    for statement in (_FOLD, _FORGET):
        session.execute(text(statement.replace("{schema}", quoted_schema(session))))
