"""Builds and drops the HNSW index of a model while search and writers go on.

PostgreSQL builds it outside a transaction. A build that breaks off leaves an index behind that is not valid: search
does not use it, and the next build drops it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import quote, quoted_schema, schema_name
from flask_cairnloop.retrieval import vector_lane
from flask_cairnloop.retrieval.models import ChunkEmbedding, EmbeddingModel, ModelState
from flask_cairnloop.retrieval.vectors import home

NEEDED: Final = (0, 8, 4)  # of pgvector: before it, vacuum could corrupt an HNSW index
LONGEST: Final = 2000  # dimensions that it can index
BUILD_MEMORY: Final = "512MB"  # of the database; a graph that does not fit is built many times slower
FEWER: Final = 2  # an index goes only when there are so many times fewer vectors than call for one


def outgrown(session: Session, model: str) -> bool:
    """Whether a model has more vectors than are best compared one by one. Reads no more of them than that."""
    some = select(ChunkEmbedding.chunk_id).where(ChunkEmbedding.model == model).limit(vector_lane.EXACT_LIMIT + 1)
    return (session.scalar(select(func.count()).select_from(some.subquery())) or 0) > vector_lane.EXACT_LIMIT


def keep(engine: Engine, model: str) -> bool:
    """Build the index of a model where its vectors call for one, or drop it where they no longer do.

    Returns:
        Whether another process is at it: ask again later.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused, or went away.
    """
    with _alone(engine, model) as connection:
        if connection is None:
            return True
        with Session(connection) as session:
            row = session.get(EmbeddingModel, model)
            vectors = home(session)
            if row is None or vectors is None:
                return False
            dimensions, recorded = row.dimensions, row.ann_index
            count = select(func.count()).where(ChunkEmbedding.model == model)
            amount = session.scalar(count) or 0
            valid = _is_valid(connection, vector_lane.index_name(model))
            if amount > vector_lane.EXACT_LIMIT and not valid and _possible(connection, dimensions):
                _record(session, model, None)
                _drop(connection, model)
                _build(connection, vector_lane.index_definition(session, model, dimensions, vectors))
                valid = True
            if amount * FEWER < vector_lane.EXACT_LIMIT and (recorded or valid is not None):
                _record(session, model, None)
                _drop(connection, model)
            elif valid:
                _record(session, model, vector_lane.index_name(model))
    return False


def build(engine: Engine, name: str, definition: str, dimensions: int) -> bool | None:
    """Build an HNSW index of another table, unless it is there and valid.

    Args:
        name: of the index.
        definition: the statement that builds it; not inside a transaction.

    Returns:
        Whether it can be used now; ``None`` where another process is at it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused, or went away.
    """
    with _alone(engine, name) as connection:
        if connection is None:
            return None
        if _is_valid(connection, name):
            return True
        if not _possible(connection, dimensions):
            return False
        _drop_index(connection, name)
        _build(connection, definition)
    return True


def drop(engine: Engine, model: str) -> bool:
    """Drop the index of a retired model. Returns whether another process is at it, as :func:`keep` does."""
    with _alone(engine, model) as connection:
        if connection is None:
            return True
        with Session(connection) as session:
            row = session.get(EmbeddingModel, model)
            if row is None or row.state is not ModelState.RETIRED:
                return False
            _record(session, model, None)
        _drop(connection, model)
    return False


@contextmanager
def _alone(engine: Engine, model: str) -> Iterator[Connection | None]:
    """A connection in autocommit on which nobody else works at this model's index; ``None`` where somebody does.

    A server process goes on with what a killed client has asked of it, and holds the lock until that is done.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = {"name": f"flask_cairnloop.ann.{schema_name(connection)}.{model}"}
        if not connection.scalar(text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), name):
            yield None
            return
        try:
            yield connection
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), name)


def _possible(connection: Connection, dimensions: int) -> bool:
    version = connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    numbers = tuple(int(part) for part in str(version).split(".")[:3] if part.isdigit())
    return numbers >= NEEDED and dimensions <= LONGEST


def _is_valid(connection: Connection, name: str) -> bool | None:
    """Whether an index can be used; ``None`` where there is none of this name."""
    found: bool | None = connection.scalar(
        text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"),
        {"name": f"{quoted_schema(connection)}.{quote(name)}"},
    )
    return found


def _build(connection: Connection, definition: str) -> None:
    # One process: several would need more shared memory than a container usually has.
    connection.execute(text("SET max_parallel_maintenance_workers = 0"))
    connection.execute(text(f"SET maintenance_work_mem = '{BUILD_MEMORY}'"))
    try:
        connection.execute(text(definition))
    finally:
        connection.execute(text("RESET maintenance_work_mem"))
        connection.execute(text("RESET max_parallel_maintenance_workers"))


def _drop(connection: Connection, model: str) -> None:
    _drop_index(connection, vector_lane.index_name(model))


def _drop_index(connection: Connection, name: str) -> None:
    connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted_schema(connection)}.{quote(name)}"))


def _record(session: Session, model: str, name: str | None) -> None:
    values = {"ann_index": name, "centroid": None if name is None else _centroid(session, model)}
    statement = update(EmbeddingModel).where(EmbeddingModel.model == model).values(values)
    session.execute(statement.execution_options(synchronize_session=False))
    session.commit()


def _centroid(session: Session, model: str) -> list[float] | None:
    """Mean direction of a model's vectors of public passages."""
    vectors = home(session)
    statement = (
        f"SELECT CAST({vectors}.avg({vectors}.l2_normalize(embedding)) AS real[])"  # noqa: S608 - quoted names
        f" FROM {quoted_schema(session)}.chunk_embeddings"
        f" JOIN {quoted_schema(session)}.chunks ON chunks.id = chunk_embeddings.chunk_id"
        f" JOIN {quoted_schema(session)}.articles ON articles.id = chunks.article_id"
        " WHERE model = :model AND articles.audience = 'public'"
    )
    found: list[float] | None = session.scalar(text(statement), {"model": model})
    return found


def refused(fault: ProgrammingError) -> bool:
    """Whether the role of this app may not build indexes on our tables: asking again does not help."""
    return getattr(fault.orig, "sqlstate", None) == "42501"
