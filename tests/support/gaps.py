"""Gaps that a test has all to itself."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

TABLES = (
    *("gap_history", "gap_askers", "gap_links", "gap_question_embeddings", "gap_events", "gap_questions"),
    *("gap_candidates", "gap_terms", "gap_models"),
)


def clear(session: Session) -> None:
    """Put away what other tests have left behind, history included, and jobs that would bring it back."""
    session.execute(text("SET LOCAL session_replication_role = replica"))
    for table in (*TABLES, "jobs"):
        session.execute(text(f"DELETE FROM cairnloop.{table}"))
