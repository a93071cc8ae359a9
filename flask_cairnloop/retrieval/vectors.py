"""Whether this database can keep vectors, and making the place for them."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quoted_schema
from flask_cairnloop.database.migrations.v0001 import VECTORS


def is_ready(session: Session) -> bool:
    """Whether the table for vectors exists. It does not where pgvector was missing when the schema was made."""
    name = f"{quoted_schema(session)}.chunk_embeddings"
    return bool(session.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}).scalar_one())


def prepare(session: Session) -> bool:
    """Make the table for vectors where pgvector has come since the install; changes nothing where it is there already.

    Returns:
        Whether vectors can be kept now.
    """
    session.connection().exec_driver_sql(VECTORS.replace("{schema}", quoted_schema(session)))
    return is_ready(session)
