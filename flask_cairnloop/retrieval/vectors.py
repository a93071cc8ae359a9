"""Whether this database can keep vectors, and making the place for them."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quoted_schema
from flask_cairnloop.database.migrations.v0001 import VECTORS


def home(session: Session) -> str | None:
    """The quoted name of the schema that pgvector's type and operators live in, which need not be on the search path.

    ``None`` where there is no table for vectors: pgvector was missing when our schema was made.
    """
    found: str | None = session.execute(
        text(
            "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace"
            " WHERE extname = 'vector' AND to_regclass(:name) IS NOT NULL"
        ),
        {"name": f"{quoted_schema(session)}.chunk_embeddings"},
    ).scalar_one_or_none()
    return found


def is_ready(session: Session) -> bool:
    """Whether vectors can be kept and compared."""
    return home(session) is not None


def prepare(session: Session) -> bool:
    """Make the table for vectors where pgvector has come since the install.

    Where it is there already nothing is tried: an app's role often may not create tables.

    Returns:
        Whether vectors can be kept now.
    """
    if is_ready(session):
        return True
    session.connection().exec_driver_sql(VECTORS.replace("{schema}", quoted_schema(session)))
    return is_ready(session)
